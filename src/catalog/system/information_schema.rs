//! information_schema, as the SQL standard has it and Postgres fills it: types by their Postgres names.
//!
//! In: [`Objects`]. Out: one batch a view. Only what the session sees; nothing of the engine's own settings.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::objects::{Key, Objects, Relation};
use super::rows::Rows;
use super::types::pg_type;

pub(super) const NAMES: [&str; 10] = [
    "applicable_roles",
    "columns",
    "enabled_roles",
    "key_column_usage",
    "referential_constraints",
    "routines",
    "schemata",
    "table_constraints",
    "tables",
    "views",
];

pub(super) fn build(name: &str, objects: &Objects) -> Result<Option<RecordBatch>> {
    let batch = match name {
        "applicable_roles" => applicable_roles(objects)?,
        "columns" => columns(objects)?,
        "enabled_roles" => enabled_roles(objects)?,
        "key_column_usage" => key_columns(objects)?,
        "referential_constraints" => references()?,
        "routines" => routines()?,
        "schemata" => schemata(objects)?,
        "table_constraints" => constraints(objects)?,
        "tables" => tables(objects)?,
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
    let of = |(relation, at): &(&Relation, usize)| pg_type(relation.fields.field(*at).data_type());
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

fn constraints(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.keys)
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |k| k.name.clone())
        .all_text("table_catalog", &objects.database)
        .all_text("table_schema", "public")
        .text("table_name", |k| k.table.clone())
        .text("constraint_type", |k| if k.primary { "PRIMARY KEY" } else { "UNIQUE" }.to_owned())
        .all_text("is_deferrable", "NO")
        .all_text("initially_deferred", "NO")
        .all_text("enforced", "YES")
        .batch()
}

fn key_columns(objects: &Objects) -> Result<RecordBatch> {
    let columns: Vec<(&Key, usize)> =
        objects.keys.iter().flat_map(|key| (0..key.columns.len()).map(move |at| (key, at))).collect();
    Rows::of(&columns)
        .all_text("constraint_catalog", &objects.database)
        .all_text("constraint_schema", "public")
        .text("constraint_name", |(k, _)| k.name.clone())
        .all_text("table_catalog", &objects.database)
        .all_text("table_schema", "public")
        .text("table_name", |(k, _)| k.table.clone())
        .text("column_name", |(k, at)| k.columns[*at].clone())
        .int("ordinal_position", |(_, at)| i32::try_from(at + 1).unwrap_or(i32::MAX))
        .no_text("position_in_unique_constraint")
        .batch()
}

fn references() -> Result<RecordBatch> {
    Rows::of(std::iter::empty::<&Key>())
        .no_text("constraint_catalog")
        .no_text("constraint_schema")
        .no_text("constraint_name")
        .no_text("unique_constraint_catalog")
        .no_text("unique_constraint_schema")
        .no_text("unique_constraint_name")
        .no_text("match_option")
        .no_text("update_rule")
        .no_text("delete_rule")
        .batch()
}

fn routines() -> Result<RecordBatch> {
    Rows::of(std::iter::empty::<&Key>())
        .no_text("specific_catalog")
        .no_text("specific_schema")
        .no_text("specific_name")
        .no_text("routine_catalog")
        .no_text("routine_schema")
        .no_text("routine_name")
        .no_text("routine_type")
        .no_text("data_type")
        .batch()
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
