//! Laws of tables and columns: what is protected, what is public, which options go together.

use super::*;

#[test]
fn a_table_is_unclassified_until_it_is_protected_or_public() {
    let policies = company();
    assert_eq!(policies.tables["person"].access, Access::Unclassified);
    let protected = apply(&policies, "carol", alter("person", &[("person_key", "id")])).unwrap();
    let table = &protected.tables["person"];
    assert_eq!(table.protection(), Some(("people", "id")));
    assert_eq!(table.column("id").unwrap().class, Some(Class::Identifier));
    assert_eq!(table.rows_per_person(), None);
    assert_eq!(protected.release_epoch, protected.epoch);
    assert_eq!(protected.policy_names(), BTreeSet::from(["people".to_owned()]));

    let key = UniqueKey { columns: vec!["id".to_owned()], primary: true };
    let add = Change::AddUniqueKey { table: "person".to_owned(), key };
    let keyed = apply(&protected, "carol", add).unwrap();
    assert_eq!(keyed.tables["person"].rows_per_person(), Some(1));

    let invalid = SqlState::InvalidParameterValue;
    refused(&protected, "carol", alter("person", &[("public", "true")]), invalid);
    refused(&protected, "carol", alter_column("id", &[("class", "attribute")]), invalid);
    refused(&protected, "carol", alter_column("id", &[("class", "RESET")]), invalid);
    refused(&policies, "carol", alter("person", &[("privacy_policy", "staff")]), invalid);
    let bare = alter("person", &[("person_key", "RESET"), ("public", "true")]);
    refused(&protected, "carol", bare, invalid);
    for value in ["0", "1000001", "-1", "1.5", "many"] {
        let rows = alter("person", &[("max_rows_per_person", value)]);
        refused(&protected, "carol", rows, invalid);
    }
    refused(&protected, "carol", alter("person", &[("max_row", "1")]), invalid);

    let named = [("privacy_policy", "staff"), ("person_key", "id"), ("max_rows_per_person", "53")];
    let named = apply(&policies, "carol", alter("person", &named)).unwrap();
    assert_eq!(named.tables["person"].protection(), Some(("staff", "id")));
    assert_eq!(named.tables["person"].rows_per_person(), Some(53));
}

#[test]
fn a_public_table_holds_public_columns_only() {
    let policies = company();
    let public = apply(&policies, "carol", alter("person", &[("public", "true")])).unwrap();
    assert_eq!(public.tables["person"].access, Access::Public);
    let invalid = SqlState::InvalidParameterValue;
    refused(&public, "carol", alter_column("name", &[("class", "attribute")]), invalid);
    refused(&public, "carol", alter("person", &[("person_key", "id")]), invalid);
    apply(&public, "carol", alter_column("name", &[("class", "public")])).unwrap();
    let back = alter("person", &[("public", "false"), ("person_key", "id")]);
    apply(&public, "carol", back).unwrap();
}

#[test]
fn column_options_are_checked_together() {
    let policies = company();
    let both = alter_column("salary", &[("class", "measure"), ("upper", "9e4"), ("lower", "0")]);
    let bounded = apply(&policies, "carol", both).unwrap();
    let salary = bounded.tables["person"].column("salary").unwrap().clone();
    assert_eq!(salary.class, Some(Class::Measure));
    assert_eq!(salary.bounds, Some(Bounds::new(0.0, 9e4).unwrap()));
    apply(&bounded, "carol", alter_column("salary", &[("lower", "10")])).unwrap();
    apply(&bounded, "carol", alter_column("salary", &[("lower", "RESET"), ("upper", "RESET")])).unwrap();

    let invalid = SqlState::InvalidParameterValue;
    for set in [
        &[("class", "content")][..],
        &[("class", "secret")],
        &[("lower", "0")],
        &[("lower", "2"), ("upper", "1")],
        &[("lower", "0"), ("upper", "inf")],
        &[("lower", "NaN"), ("upper", "1")],
        &[("middle", "0")],
    ] {
        refused(&policies, "carol", alter_column("salary", set), invalid);
    }
    refused(&bounded, "carol", alter_column("salary", &[("upper", "RESET")]), invalid);
    refused(&bounded, "carol", alter_column("salary", &[("upper", "-1")]), invalid);
    let text = alter_column("name", &[("lower", "0"), ("upper", "1")]);
    refused(&policies, "carol", text, SqlState::DatatypeMismatch);
}
