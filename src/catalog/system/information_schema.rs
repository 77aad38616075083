//! information_schema, as the SQL standard has it and Postgres fills it: types by their Postgres names.
//!
//! In: [`Objects`]. Out: one batch a view. Only what the session sees; nothing of the engine's own settings.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::objects::{Key, Objects, Relation};
use super::rows::Rows;
use super::types::column_type;

pub(super) const NAMES: [&str; 21] = [
    "applicable_roles",
    "character_sets",
    "check_constraints",
    "collations",
    "column_privileges",
    "columns",
    "constraint_column_usage",
    "domains",
    "enabled_roles",
    "key_column_usage",
    "parameters",
    "referential_constraints",
    "role_table_grants",
    "routines",
    "schemata",
    "sequences",
    "table_constraints",
    "table_privileges",
    "tables",
    "triggers",
    "views",
];

pub(super) fn build(name: &str, objects: &Objects) -> Result<Option<RecordBatch>> {
    let batch = match name {
        "applicable_roles" => applicable_roles(objects)?,
        "character_sets" => character_sets(objects)?,
        "check_constraints" => {
            nothing(&["constraint_catalog", "constraint_schema", "constraint_name", "check_clause"])?
        }
        "collations" => nothing(&["collation_catalog", "collation_schema", "collation_name", "pad_attribute"])?,
        "column_privileges" => column_privileges(objects)?,
        "columns" => columns(objects)?,
        "constraint_column_usage" => constraint_columns(objects)?,
        "domains" => nothing(&["domain_catalog", "domain_schema", "domain_name", "data_type", "udt_name"])?,
        "enabled_roles" => enabled_roles(objects)?,
        "key_column_usage" => key_columns(objects)?,
        "parameters" => {
            nothing(&["specific_catalog", "specific_schema", "specific_name", "ordinal_position", "parameter_name"])?
        }
        "referential_constraints" => references(objects)?,
        "role_table_grants" | "table_privileges" => table_privileges(objects)?,
        "routines" => nothing(&ROUTINES)?,
        "schemata" => schemata(objects)?,
        "sequences" => nothing(&["sequence_catalog", "sequence_schema", "sequence_name", "data_type"])?,
        "table_constraints" => constraints(objects)?,
        "tables" => tables(objects)?,
        "triggers" => nothing(&["trigger_catalog", "trigger_schema", "trigger_name", "event_object_table"])?,
        "views" => views(objects)?,
        _ => return Ok(None),
    };
    Ok(Some(batch))
}

fn relations(objects: &Objects) -> impl Iterator<Item = &Relation> {
    objects.relations.iter().filter(|r| r.kind != "i")
}

fn tables(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(relations(objects))
        .all_text("table_catalog", &objects.database)
        .text("table_schema", |r| r.schema.clone())
        .text("table_name", |r| r.name.clone())
        .text("table_type", |r| if r.kind == "v" { "VIEW" } else { "BASE TABLE" }.to_owned())
        .no_text("self_referencing_column_name")
        .no_text("reference_generation")
        .no_text("user_defined_type_catalog")
        .no_text("user_defined_type_schema")
        .no_text("user_defined_type_name")
        .all_text("is_insertable_into", "NO")
        .all_text("is_typed", "NO")
        .no_text("commit_action")
        .batch()
}

fn views(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(relations(objects).filter(|r| r.kind == "v"))
        .all_text("table_catalog", &objects.database)
        .text("table_schema", |r| r.schema.clone())
        .text("table_name", |r| r.name.clone())
        .some_text("view_definition", |r| r.definition.clone())
        .all_text("check_option", "NONE")
        .all_text("is_updatable", "NO")
        .all_text("is_insertable_into", "NO")
        .batch()
}

fn columns(objects: &Objects) -> Result<RecordBatch> {
    let columns: Vec<(&Relation, usize)> = relations(objects)
        .flat_map(|relation| (0..relation.fields.fields().len()).map(move |at| (relation, at)))
        .collect();
    let of = |(relation, at): &(&Relation, usize)| column_type(relation.fields.field(*at));
    Rows::of(&columns)
        .all_text("table_catalog", &objects.database)
        .text("table_schema", |(r, _)| r.schema.clone())
        .text("table_name", |(r, _)| r.name.clone())
        .text("column_name", |(r, at)| r.fields.field(*at).name().clone())
        .int("ordinal_position", |(_, at)| i32::try_from(at + 1).unwrap_or(i32::MAX))
        .no_text("column_default")
        .text("is_nullable", |(r, at)| {
            let nullable = r.fields.field(*at).is_nullable();
            if nullable { "YES" } else { "NO" }.to_owned()
        })
        .text("data_type", |c| match of(c).name {
            name if name.ends_with("[]") => "ARRAY".to_owned(),
            name => name.to_owned(),
        })
        .no_text("character_maximum_length")
        .no_text("numeric_precision")
        .no_text("numeric_scale")
        .no_text("datetime_precision")
        .no_text("collation_name")
        .no_text("domain_name")
        .all_text("udt_catalog", &objects.database)
        .all_text("udt_schema", "pg_catalog")
        .text("udt_name", |c| of(c).short.to_owned())
        .all_text("is_identity", "NO")
        .all_text("is_generated", "NEVER")
        .no_text("generation_expression")
        .all_text("is_updatable", "NO")
        .batch()
}

fn schemata(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.schemas)
        .all_text("catalog_name", &objects.database)
        .text("schema_name", |(name, _)| name.clone())
        .all_text("schema_owner", "insights_admin")
        .no_text("default_character_set_name")
        .batch()
}

/// Of a key or of a reference: its name and table, and what it is.
fn all_constraints(objects: &Objects) -> Vec<(&str, &str, &'static str)> {
    let keys = objects.keys.iter().map(|key| {
        let kind = if key.primary { "PRIMARY KEY" } else { "UNIQUE" };
        (key.name.as_str(), key.table.as_str(), kind)
    });
    let references = objects.references.iter().map(|r| (r.name.as_str(), r.table.as_str(), "FOREIGN KEY"));
    keys.chain(references).collect()
}

fn constraints(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&all_constraints(objects))
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |(name, _, _)| (*name).to_owned())
        .all_text("table_catalog", &objects.database)
        .all_text("table_schema", "public")
        .text("table_name", |(_, table, _)| (*table).to_owned())
        .text("constraint_type", |(_, _, kind)| (*kind).to_owned())
        .all_text("is_deferrable", "NO")
        .all_text("initially_deferred", "NO")
        .all_text("enforced", "YES")
        .batch()
}

/// A column of a constraint: the constraint, its table, the column, its place from 1, and its place in the key referred to.
type KeyColumn<'a> = (&'a str, &'a str, &'a str, usize, Option<i32>);

fn key_columns(objects: &Objects) -> Result<RecordBatch> {
    let keys = objects.keys.iter().flat_map(|key| {
        let columns = key.columns.iter().enumerate();
        columns.map(|(at, column)| (key.name.as_str(), key.table.as_str(), column.as_str(), at + 1, None))
    });
    let references = objects.references.iter();
    let references = references.map(|r| (r.name.as_str(), r.table.as_str(), r.column.as_str(), 1, Some(1)));
    let columns: Vec<KeyColumn> = keys.chain(references).collect();
    Rows::of(&columns)
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |(name, ..)| (*name).to_owned())
        .all_text("table_catalog", &objects.database)
        .all_text("table_schema", "public")
        .text("table_name", |(_, table, ..)| (*table).to_owned())
        .text("column_name", |(_, _, column, ..)| (*column).to_owned())
        .int("ordinal_position", |(.., at, _)| i32::try_from(*at).unwrap_or(i32::MAX))
        .maybe_int("position_in_unique_constraint", |(.., there)| *there)
        .batch()
}

/// The columns that constraints speak of: those of keys, and those that references refer to.
fn constraint_columns(objects: &Objects) -> Result<RecordBatch> {
    let keys = objects.keys.iter().flat_map(|key| {
        let columns = key.columns.iter();
        columns.map(|column| (key.table.as_str(), column.as_str(), key.name.as_str()))
    });
    let references = objects.references.iter();
    let references = references.map(|r| (r.to_table.as_str(), r.to_column.as_str(), r.name.as_str()));
    let columns: Vec<(&str, &str, &str)> = keys.chain(references).collect();
    Rows::of(&columns)
        .all_text("table_catalog", &objects.database)
        .all_text("table_schema", "public")
        .text("table_name", |(table, _, _)| (*table).to_owned())
        .text("column_name", |(_, column, _)| (*column).to_owned())
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |(_, _, name)| (*name).to_owned())
        .batch()
}

fn references(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.references)
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |r| r.name.clone())
        .all_text("unique_constraint_catalog", &objects.database)
        .all_text("unique_constraint_schema", "public")
        .some_text("unique_constraint_name", |r| r.to_key.as_ref().map(|(name, _)| name.clone()))
        .all_text("match_option", "NONE")
        .all_text("update_rule", "NO ACTION")
        .all_text("delete_rule", "NO ACTION")
        .batch()
}

/// What the session itself may read; who else may is not told.
fn table_privileges(objects: &Objects) -> Result<RecordBatch> {
    let granted: Vec<(&Relation, &str)> = relations(objects)
        .flat_map(|relation| {
            let select = relation.selectable.then_some((relation, "SELECT"));
            select.into_iter().chain(relation.loadable.then_some((relation, "INSERT")))
        })
        .collect();
    Rows::of(&granted)
        .all_text("grantor", "insights_admin")
        .all_text("grantee", &objects.user)
        .all_text("table_catalog", &objects.database)
        .text("table_schema", |(r, _)| r.schema.clone())
        .text("table_name", |(r, _)| r.name.clone())
        .text("privilege_type", |(_, privilege)| (*privilege).to_owned())
        .all_text("is_grantable", "NO")
        .all_text("with_hierarchy", "YES")
        .batch()
}

fn column_privileges(objects: &Objects) -> Result<RecordBatch> {
    let columns: Vec<(&Relation, usize)> = relations(objects)
        .filter(|relation| relation.selectable)
        .flat_map(|relation| (0..relation.fields.fields().len()).map(move |at| (relation, at)))
        .collect();
    Rows::of(&columns)
        .all_text("grantor", "insights_admin")
        .all_text("grantee", &objects.user)
        .all_text("table_catalog", &objects.database)
        .text("table_schema", |(r, _)| r.schema.clone())
        .text("table_name", |(r, _)| r.name.clone())
        .text("column_name", |(r, at)| r.fields.field(*at).name().clone())
        .all_text("privilege_type", "SELECT")
        .all_text("is_grantable", "NO")
        .batch()
}

fn character_sets(objects: &Objects) -> Result<RecordBatch> {
    Rows::of([&objects.database])
        .no_text("character_set_catalog")
        .no_text("character_set_schema")
        .all_text("character_set_name", "UTF8")
        .all_text("character_repertoire", "UCS")
        .all_text("form_of_use", "UTF8")
        .text("default_collate_catalog", |database| database.clone())
        .all_text("default_collate_schema", "pg_catalog")
        .all_text("default_collate_name", "C")
        .batch()
}

const ROUTINES: [&str; 8] = [
    "specific_catalog",
    "specific_schema",
    "specific_name",
    "routine_catalog",
    "routine_schema",
    "routine_name",
    "routine_type",
    "data_type",
];

/// A view of things that there are none of.
fn nothing(columns: &[&'static str]) -> Result<RecordBatch> {
    let rows = Rows::of(std::iter::empty::<&Key>());
    columns.iter().fold(rows, |rows, column| rows.no_text(column)).batch()
}

fn enabled_roles(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.roles).text("role_name", |role| role.name.clone()).batch()
}

fn applicable_roles(objects: &Objects) -> Result<RecordBatch> {
    let pairs: Vec<(&String, &String)> =
        objects.roles.iter().flat_map(|role| role.member_of.iter().map(move |group| (&role.name, group))).collect();
    Rows::of(&pairs)
        .text("grantee", |(role, _)| (*role).clone())
        .text("role_name", |(_, group)| (*group).clone())
        .all_text("is_grantable", "NO")
        .batch()
}
