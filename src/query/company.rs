//! What the compiler's tests ask about: tables without files, an analyst who may read all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, Utc};
use paravent_udfs::{Delta, Epsilon};

use super::{Context, Functions, KnownTable};
use crate::policy::{
    Access, Bounds, Class, Column, ForeignKey, Format, Grant, Location, Mechanism, Policies, Role, Table, UniqueKey,
};

fn column(name: &str, data_type: &str, class: Class, bounds: Option<(f64, f64)>) -> Column {
    let bounds = bounds.map(|(lower, upper)| Bounds::new(lower, upper).unwrap());
    Column {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: false,
        class: Some(class),
        bounds,
        domain: None,
        rules: Default::default(),
        form: None,
    }
}

fn table(name: &str, columns: Vec<Column>, keys: &[&[&str]], max_rows: Option<u64>, access: Access) -> KnownTable {
    let fields: Vec<Field> =
        columns.iter().map(|c| Field::new(&c.name, c.data_type.parse::<DataType>().unwrap(), c.nullable)).collect();
    let key =
        |columns: &&[&str]| UniqueKey { columns: columns.iter().map(|c| (*c).to_owned()).collect(), primary: true };
    let unique_keys: Vec<UniqueKey> = keys.iter().map(key).collect();
    let table = Table {
        name: name.to_owned(),
        location: Location { format: Format::Parquet, url: String::new(), options: BTreeMap::new() },
        columns,
        unique_keys: unique_keys.clone(),
        foreign_keys: vec![],
        access,
        max_rows_per_person: max_rows,
        max_groups_per_person: None,
        purpose_required: false,
        manager_key: None,
        row_policies: vec![],
    };
    KnownTable {
        table,
        schema: Arc::new(Schema::new(fields)),
        proven_keys: unique_keys,
        snapshot: "s".to_owned(),
        statistics: None,
    }
}

/// What a statement begins with that is asked under the Laplace mechanism.
pub(crate) const LAPLACE: &str = "/* laplace */";

/// A company: `person` (one row each), `week` (many), `mail` (many, no key), `chat` (declared values), `calendar` (public);
/// `part → item → purchase.buyer` and `door → badge.id`, linked.
pub(crate) fn context(text: &str) -> Context {
    let people = || Access::Protected { policy: "people".to_owned(), person_key: "id".to_owned() };
    let linked = |column: &str, table: &str, key: &str| Access::Linked {
        policy: "people".to_owned(),
        by: ForeignKey { column: column.to_owned(), table: table.to_owned(), key: key.to_owned() },
    };
    let id = || column("id", "Int64", Class::Identifier, None);
    let tables = [
        table(
            "person",
            vec![
                id(),
                column("boss", "Int64", Class::Identifier, None),
                column("country", "Utf8", Class::Attribute, None),
            ],
            &[&["id"]],
            None,
            people(),
        ),
        table(
            "week",
            vec![
                id(),
                column("week", "Int32", Class::Attribute, None),
                column("hours", "Float64", Class::Measure, Some((0.0, 80.0))),
            ],
            &[&["id", "week"]],
            Some(53),
            people(),
        ),
        table(
            "mail",
            vec![id(), column("size", "Int64", Class::Measure, Some((0.0, 1000.0)))],
            &[],
            Some(100),
            people(),
        ),
        table(
            "chat",
            vec![
                id(),
                Column {
                    domain: Some(vec!["call".to_owned(), "text".to_owned()]),
                    ..column("kind", "Utf8", Class::Attribute, None)
                },
                column("n", "Int64", Class::Measure, Some((0.0, 9.0))),
            ],
            &[&["id", "kind"]],
            Some(7),
            people(),
        ),
        table(
            "purchase",
            vec![
                column("order_id", "Int64", Class::Identifier, None),
                column("buyer", "Int64", Class::Identifier, None),
                column("shop", "Utf8", Class::Attribute, None),
            ],
            &[&["order_id"]],
            Some(20),
            Access::Protected { policy: "people".to_owned(), person_key: "buyer".to_owned() },
        ),
        table(
            "item",
            vec![
                column("order_id", "Int64", Class::Identifier, None),
                column("line", "Int64", Class::Identifier, None),
                column("item_id", "Int64", Class::Identifier, None),
                column("price", "Float64", Class::Measure, Some((0.0, 100.0))),
                column("week", "Int32", Class::Attribute, None),
            ],
            &[&["order_id", "line"], &["item_id"]],
            Some(50),
            linked("order_id", "purchase", "order_id"),
        ),
        table(
            "part",
            vec![
                column("item", "Int64", Class::Identifier, None),
                column("grams", "Float64", Class::Measure, Some((0.0, 9.0))),
            ],
            &[],
            Some(99),
            linked("item", "item", "item_id"),
        ),
        table(
            "badge",
            vec![column("number", "Int64", Class::Identifier, None), column("id", "Int64", Class::Identifier, None)],
            &[&["number"], &["id"]],
            None,
            people(),
        ),
        table(
            "door",
            vec![
                column("badge", "Int64", Class::Identifier, None),
                column("week", "Int32", Class::Attribute, None),
                column("entries", "Float64", Class::Measure, Some((0.0, 9.0))),
            ],
            &[&["badge", "week"]],
            Some(53),
            linked("badge", "badge", "number"),
        ),
        table(
            "calendar",
            vec![column("week", "Int32", Class::Public, None), column("season", "Utf8", Class::Public, None)],
            &[&["week"]],
            None,
            Access::Public,
        ),
    ];
    let mut policies = Policies::new_with_built_ins();
    let analyst = Role { login: true, member_of: ["insights_analyst".to_owned()].into(), ..Role::default() };
    policies.roles.insert("ann".to_owned(), analyst);
    for known in &tables {
        policies.grants.push(Grant {
            role: "insights_analyst".to_owned(),
            table: known.table.name.clone(),
            columns: None,
        });
        policies.tables.insert(known.table.name.clone(), known.table.clone());
    }
    Context {
        purpose: None,
        scopes: Default::default(),
        principal: policies.principal("ann", 0).unwrap(),
        policies: Arc::new(policies),
        tables: tables.into_iter().map(|known| (known.table.name.clone(), known)).collect(),
        access: BTreeMap::new(),
        subjects: BTreeMap::new(),
        viewer: None,
        views: BTreeMap::new(),
        show_suppressed: false,
        functions: Arc::new(Functions::new()),
        epsilon: Epsilon::new(1.0).unwrap(),
        mechanism: if text.starts_with(LAPLACE) { Mechanism::Laplace } else { Mechanism::Gaussian },
        delta: Delta::new(1e-9).unwrap(),
        weights: Default::default(),
        now: DateTime::<Utc>::from_timestamp(0, 0).unwrap(),
        moment: DateTime::<Utc>::from_timestamp(0, 0).unwrap(),
        text: text.to_owned(),
    }
}
