//! Laws of tables that reach their person through others.

use super::*;

fn table(name: &str, columns: &[&str], key: &[&str], references: &[(&str, &str)]) -> Change {
    let key = UniqueKey { columns: key.iter().map(|name| (*name).to_owned()).collect(), primary: true };
    Change::CreateTable {
        name: name.to_owned(),
        location: Location { format: Format::Parquet, url: "x".to_owned(), options: BTreeMap::new() },
        columns: columns.iter().map(|name| column(name, "Int64")).collect(),
        unique_keys: if key.columns.is_empty() { vec![] } else { vec![key] },
        references: references.iter().map(|(column, table)| reference(column, table, None)).collect(),
        if_not_exists: false,
    }
}

fn reference(column: &str, table: &str, key: Option<&str>) -> Reference {
    Reference { column: column.to_owned(), table: table.to_owned(), key: key.map(str::to_owned) }
}

/// customer ← orders ← item ← part, none of them classified but the first two.
fn shop() -> Policies {
    let mut policies = company();
    for change in [
        table("customer", &["c"], &["c"], &[]),
        table("orders", &["o", "c", "x"], &["o"], &[("c", "customer")]),
        table("item", &["o", "line", "i"], &["i"], &[("o", "orders")]),
        table("part", &["i", "part"], &[], &[]),
        alter("customer", &[("person_key", "c"), ("privacy_policy", "buyers")]),
        alter("orders", &[("person_key", "c"), ("privacy_policy", "buyers")]),
    ] {
        policies = apply(&policies, "carol", change).unwrap();
    }
    policies
}

fn by(column: &str, table: &str, key: &str) -> ForeignKey {
    ForeignKey { column: column.to_owned(), table: table.to_owned(), key: key.to_owned() }
}

#[test]
fn a_path_names_each_step() {
    let policies = shop();
    for path in ["o → orders.c", "o->orders.c", "o → orders.c → customer.c"] {
        let linked = apply(&policies, "carol", alter("item", &[("person_key", path)])).unwrap();
        let item = &linked.tables["item"];
        assert_eq!(item.link(), Some(&by("o", "orders", "o")), "{path}");
        assert_eq!((item.policy(), item.protection()), (Some("buyers"), None));
        assert_eq!(item.column("o").unwrap().class, Some(Class::Identifier));
        let deeper = apply(&linked, "carol", alter("part", &[("person_key", "i → item.o → orders.c")])).unwrap();
        assert_eq!(deeper.tables["part"].link(), Some(&by("i", "item", "i")));
        // Other options leave the path alone.
        let more = apply(&deeper, "carol", alter("part", &[("max_rows_per_person", "9")])).unwrap();
        assert_eq!(more.tables["part"].access, deeper.tables["part"].access);
    }
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    let policies = shop();
    for (path, state) in [
        ("o → orders.o", SqlState::InvalidParameterValue),
        ("o → orders.nothing", SqlState::UndefinedColumn),
        ("nothing → orders.c", SqlState::UndefinedColumn),
        ("o → nothing.c", SqlState::UndefinedTable),
        ("o → orders", SqlState::InvalidParameterValue),
        ("→ orders.c", SqlState::InvalidParameterValue),
        ("o → orders.c → person.id", SqlState::InvalidParameterValue),
        ("i → part.i", SqlState::InvalidForeignKey),
        ("i → item.i", SqlState::InvalidParameterValue),
        ("o → person.id", SqlState::InvalidForeignKey),
    ] {
        refused(&policies, "carol", alter("item", &[("person_key", path)]), state);
    }
    let other = [("person_key", "o → orders.c"), ("privacy_policy", "people")];
    refused(&policies, "carol", alter("item", &other), SqlState::InvalidParameterValue);
}

#[test]
fn a_declared_foreign_key_leads_to_the_person() {
    let policies = shop();
    let linked = apply(&policies, "carol", alter("item", &[("privacy_policy", "buyers")])).unwrap();
    assert_eq!(linked.tables["item"].link(), Some(&by("o", "orders", "o")));
    // Who refers to a person by the person key holds it.
    let mut direct = apply(&policies, "carol", alter("orders", &[("person_key", "RESET")])).unwrap();
    direct = apply(&direct, "carol", alter("orders", &[("privacy_policy", "buyers")])).unwrap();
    assert_eq!(direct.tables["orders"].protection(), Some(("buyers", "c")));
    let invalid = SqlState::InvalidParameterValue;
    refused(&policies, "carol", alter("item", &[("privacy_policy", "people")]), invalid);
    refused(&policies, "carol", alter("part", &[("privacy_policy", "buyers")]), invalid);
    let second = Change::AddReference { table: "item".to_owned(), reference: reference("line", "customer", Some("c")) };
    let two_ways = apply(&policies, "carol", second).unwrap();
    refused(&two_ways, "carol", alter("item", &[("privacy_policy", "buyers")]), invalid);
}

#[test]
fn what_others_depend_on_stays() {
    let mut policies = shop();
    for change in
        [alter("item", &[("person_key", "o → orders.c")]), alter("part", &[("person_key", "i → item.o → orders.c")])]
    {
        policies = apply(&policies, "carol", change).unwrap();
    }
    let depends = SqlState::DependentObjectsStillExist;
    let drop = |name: &str| Change::DropTable { name: name.to_owned(), if_exists: false };
    refused(&policies, "carol", drop("orders"), depends);
    refused(&policies, "carol", alter("orders", &[("person_key", "RESET")]), depends);
    refused(&policies, "carol", alter("orders", &[("privacy_policy", "others")]), depends);
    refused(
        &policies,
        "carol",
        alter("item", &[("person_key", "RESET"), ("public", "true")]),
        SqlState::InvalidParameterValue,
    );
    let domain = |table: &str, column: &str| Change::AlterColumn {
        table: table.to_owned(),
        column: column.to_owned(),
        options: options(&[("domain", "{1,2}")]),
    };
    refused(&policies, "carol", domain("orders", "o"), depends);
    refused(&policies, "carol", domain("item", "o"), SqlState::InvalidParameterValue);
    for name in ["part", "item", "orders"] {
        policies = apply(&policies, "carol", drop(name)).unwrap();
    }
}
