//! The tables of pg_catalog that depend on the session.
//!
//! In: [`Objects`]. Out: one batch a table, with the columns of PostgreSQL 16 that clients ask for. Row counts, sizes and
//! statistics are unknown here and stay so: they would say something about data.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::activity;
use super::objects::{BTREE, HEAP, Key, Objects, Relation, RoleRow, oid};
use super::policies;
use super::references::Reference;
use super::rows::Rows;
use super::types::pg_type;

/// What [`build`] knows.
pub(super) const NAMES: [&str; 21] = [
    "pg_attribute",
    "pg_auth_members",
    "pg_available_extensions",
    "pg_class",
    "pg_constraint",
    "pg_cursors",
    "pg_database",
    "pg_description",
    "pg_group",
    "pg_index",
    "pg_indexes",
    "pg_namespace",
    "pg_policies",
    "pg_policy",
    "pg_prepared_statements",
    "pg_roles",
    "pg_settings",
    "pg_stat_activity",
    "pg_tables",
    "pg_user",
    "pg_views",
];

pub(super) fn build(name: &str, objects: &Objects, settings: &BTreeMap<String, String>) -> Result<Option<RecordBatch>> {
    let batch = match name {
        "pg_attribute" => attributes(&objects.relations)?,
        "pg_auth_members" => memberships(objects)?,
        "pg_available_extensions" => extensions()?,
        "pg_class" => classes(objects, &objects.relations)?,
        "pg_constraint" => constraints(objects)?,
        "pg_cursors" => cursors(objects)?,
        "pg_database" => databases(objects)?,
        "pg_description" => descriptions(objects)?,
        "pg_group" => groups(objects)?,
        "pg_index" => indexes(objects)?,
        "pg_indexes" => index_definitions(objects)?,
        "pg_namespace" => namespaces(objects)?,
        "pg_policies" => policies::pg_policies(objects)?,
        "pg_policy" => policies::pg_policy(objects)?,
        "pg_prepared_statements" => prepared_statements()?,
        "pg_roles" => roles(objects)?,
        "pg_settings" => shown_settings(settings)?,
        "pg_stat_activity" => activity::table(objects)?,
        "pg_tables" => tables(objects)?,
        "pg_user" => users(objects)?,
        "pg_views" => views(objects)?,
        _ => return Ok(None),
    };
    Ok(Some(batch))
}

pub(super) fn classes(objects: &Objects, relations: &[Relation]) -> Result<RecordBatch> {
    let indexed = |relation: &Relation| objects.keys.iter().any(|k| k.table_oid == relation.oid);
    Rows::of(relations)
        .int("oid", |r| r.oid)
        .text("relname", |r| r.name.clone())
        .int("relnamespace", |r| objects.schema_oid(&r.schema))
        .all_int("reltype", 0)
        .all_int("reloftype", 0)
        .all_int("relowner", objects.owner_oid)
        .int("relam", |r| match r.kind {
            "r" => HEAP,
            "i" => BTREE,
            _ => 0,
        })
        .int("relfilenode", |r| r.oid)
        .all_int("reltablespace", 0)
        .all_int("relpages", 0)
        .unknown_count("reltuples")
        .all_int("relallvisible", 0)
        .all_int("reltoastrelid", 0)
        .flag("relhasindex", indexed)
        .all_flag("relisshared", false)
        .all_text("relpersistence", "p")
        .text("relkind", |r| r.kind.to_owned())
        .small("relnatts", |r| small(r.fields.fields().len()))
        .all_small("relchecks", 0)
        .all_flag("relhasrules", false)
        .all_flag("relhastriggers", false)
        .all_flag("relhassubclass", false)
        .flag("relrowsecurity", |r| policies::has_policies(objects, r))
        .flag("relforcerowsecurity", |r| policies::has_policies(objects, r))
        .all_flag("relispopulated", true)
        .all_text("relreplident", "d")
        .all_flag("relispartition", false)
        .all_int("relrewrite", 0)
        .all_int("relfrozenxid", 0)
        .all_int("relminmxid", 0)
        .no_texts("relacl")
        .no_texts("reloptions")
        .no_text("relpartbound")
        .batch()
}

pub(super) fn attributes(relations: &[Relation]) -> Result<RecordBatch> {
    let columns: Vec<(&Relation, usize)> = relations
        .iter()
        .flat_map(|relation| (0..relation.fields.fields().len()).map(move |at| (relation, at)))
        .collect();
    let of = |(relation, at): &(&Relation, usize)| pg_type(relation.fields.field(*at).data_type());
    Rows::of(&columns)
        .int("attrelid", |(r, _)| r.oid)
        .text("attname", |(r, at)| r.fields.field(*at).name().clone())
        .int("atttypid", |c| of(c).oid)
        .all_int("attstattarget", -1)
        .small("attlen", |c| of(c).length)
        .small("attnum", |(_, at)| small(at + 1))
        .all_int("attndims", 0)
        .all_int("attcacheoff", -1)
        .all_int("atttypmod", -1)
        .flag("attbyval", |c| of(c).by_value)
        .text("attalign", |c| of(c).align.to_owned())
        .text("attstorage", |c| of(c).storage.to_owned())
        .all_text("attcompression", "")
        .flag("attnotnull", |(r, at)| !r.fields.field(*at).is_nullable())
        .all_flag("atthasdef", false)
        .all_flag("atthasmissing", false)
        .all_text("attidentity", "")
        .all_text("attgenerated", "")
        .all_flag("attisdropped", false)
        .all_flag("attislocal", true)
        .all_int("attinhcount", 0)
        .all_int("attcollation", 0)
        .no_texts("attacl")
        .no_texts("attoptions")
        .no_texts("attfdwoptions")
        .no_text("attmissingval")
        .batch()
}

fn namespaces(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.schemas)
        .int("oid", |(_, oid)| *oid)
        .text("nspname", |(name, _)| name.clone())
        .all_int("nspowner", objects.owner_oid)
        .no_texts("nspacl")
        .batch()
}

fn databases(objects: &Objects) -> Result<RecordBatch> {
    Rows::of([&objects.database])
        .all_int("oid", objects.database_oid)
        .text("datname", String::clone)
        .all_int("datdba", objects.owner_oid)
        .all_int("encoding", UTF8)
        .all_text("datlocprovider", "c")
        .all_flag("datistemplate", false)
        .all_flag("datallowconn", true)
        .all_int("datconnlimit", -1)
        .all_int("datfrozenxid", 0)
        .all_int("datminmxid", 0)
        .all_int("dattablespace", 1663)
        .all_text("datcollate", "C")
        .all_text("datctype", "C")
        .no_text("daticulocale")
        .no_text("daticurules")
        .no_text("datcollversion")
        .no_texts("datacl")
        .batch()
}

fn roles(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.roles)
        .text("rolname", |r| r.name.clone())
        .all_flag("rolsuper", false)
        .all_flag("rolinherit", true)
        .flag("rolcreaterole", |r| r.createrole)
        .all_flag("rolcreatedb", false)
        .flag("rolcanlogin", |r| r.login)
        .all_flag("rolreplication", false)
        .int("rolconnlimit", |r| r.connection_limit.map_or(-1, |limit| i32::try_from(limit).unwrap_or(i32::MAX)))
        .all_text("rolpassword", "********")
        .moment("rolvaliduntil", |r| r.valid_until)
        .all_flag("rolbypassrls", false)
        .no_texts("rolconfig")
        .int("oid", |r| r.oid)
        .batch()
}

fn users(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(objects.roles.iter().filter(|role| role.login))
        .text("usename", |r| r.name.clone())
        .int("usesysid", |r| r.oid)
        .all_flag("usecreatedb", false)
        .all_flag("usesuper", false)
        .all_flag("userepl", false)
        .all_flag("usebypassrls", false)
        .all_text("passwd", "********")
        .moment("valuntil", |r| r.valid_until)
        .no_texts("useconfig")
        .batch()
}

fn groups(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(objects.roles.iter().filter(|role| !role.login))
        .text("groname", |r| r.name.clone())
        .int("grosysid", |r| r.oid)
        .batch()
}

fn memberships(objects: &Objects) -> Result<RecordBatch> {
    let pairs: Vec<(&RoleRow, &String)> =
        objects.roles.iter().flat_map(|role| role.member_of.iter().map(move |group| (role, group))).collect();
    Rows::of(&pairs)
        .int("oid", |(role, group)| oid("member", &format!("{} {group}", role.name)))
        .int("roleid", |(_, group)| oid("role", group))
        .int("member", |(role, _)| role.oid)
        .all_int("grantor", objects.owner_oid)
        .all_flag("admin_option", false)
        .all_flag("inherit_option", true)
        .all_flag("set_option", false)
        .batch()
}

fn indexes(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.keys)
        .int("indexrelid", |k| k.index_oid)
        .int("indrelid", |k| k.table_oid)
        .small("indnatts", |k| small(k.columns.len()))
        .small("indnkeyatts", |k| small(k.columns.len()))
        .all_flag("indisunique", true)
        .all_flag("indnullsnotdistinct", false)
        .flag("indisprimary", |k| k.primary)
        .all_flag("indisexclusion", false)
        .all_flag("indimmediate", true)
        .all_flag("indisclustered", false)
        .all_flag("indisvalid", true)
        .all_flag("indcheckxmin", false)
        .all_flag("indisready", true)
        .all_flag("indislive", true)
        .all_flag("indisreplident", false)
        .smalls("indkey", |k| k.positions.clone())
        .smalls("indcollation", |k| vec![0; k.positions.len()])
        .smalls("indclass", |k| vec![0; k.positions.len()])
        .smalls("indoption", |k| vec![0; k.positions.len()])
        .no_text("indexprs")
        .no_text("indpred")
        .batch()
}

/// A row of pg_constraint: a key, or a reference to one.
enum Constraint<'a> {
    Key(&'a Key),
    Reference(&'a Reference),
}

fn constraints(objects: &Objects) -> Result<RecordBatch> {
    use Constraint as C;
    let keys = objects.keys.iter().map(C::Key);
    let all: Vec<Constraint> = keys.chain(objects.references.iter().map(C::Reference)).collect();
    let action = |c: &Constraint| if matches!(c, C::Reference(_)) { "a" } else { " " }.to_owned();
    Rows::of(&all)
        .int("oid", |c| match c {
            C::Key(key) => key.constraint_oid,
            C::Reference(reference) => reference.constraint_oid,
        })
        .text("conname", |c| match c {
            C::Key(key) => key.name.clone(),
            C::Reference(reference) => reference.name.clone(),
        })
        .all_int("connamespace", objects.schema_oid("public"))
        .text("contype", |c| {
            let kind = match c {
                C::Key(key) if key.primary => "p",
                C::Key(_) => "u",
                C::Reference(_) => "f",
            };
            kind.to_owned()
        })
        .all_flag("condeferrable", false)
        .all_flag("condeferred", false)
        .all_flag("convalidated", true)
        .int("conrelid", |c| match c {
            C::Key(key) => key.table_oid,
            C::Reference(reference) => reference.table_oid,
        })
        .all_int("contypid", 0)
        .int("conindid", |c| match c {
            C::Key(key) => key.index_oid,
            C::Reference(reference) => reference.to_key.as_ref().map_or(0, |(_, index)| *index),
        })
        .all_int("conparentid", 0)
        .int("confrelid", |c| match c {
            C::Key(_) => 0,
            C::Reference(reference) => reference.to_oid,
        })
        .text("confupdtype", action)
        .text("confdeltype", action)
        .text("confmatchtype", |c| if matches!(c, C::Reference(_)) { "s" } else { " " }.to_owned())
        .all_flag("conislocal", true)
        .all_small("coninhcount", 0)
        .all_flag("connoinherit", true)
        .smalls("conkey", |c| match c {
            C::Key(key) => key.positions.clone(),
            C::Reference(reference) => vec![reference.position],
        })
        .smalls("confkey", |c| match c {
            C::Key(_) => vec![],
            C::Reference(reference) => vec![reference.to_position],
        })
        .no_text("conbin")
        .batch()
}

fn cursors(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.cursors)
        .text("name", |c| c.name.clone())
        .text("statement", |c| c.statement.clone())
        .flag("is_holdable", |c| c.holdable)
        .flag("is_binary", |c| c.binary)
        .flag("is_scrollable", |c| c.scrollable)
        .moment("creation_time", |c| Some(c.declared_at))
        .batch()
}

/// None can be added.
fn extensions() -> Result<RecordBatch> {
    Rows::of(std::iter::empty::<&Key>())
        .no_text("name")
        .no_text("default_version")
        .no_text("installed_version")
        .no_text("comment")
        .batch()
}

/// None are made in SQL, and those of the protocol are its own.
fn prepared_statements() -> Result<RecordBatch> {
    Rows::of(std::iter::empty::<&Key>())
        .no_text("name")
        .no_text("statement")
        .moment("prepare_time", |_| None)
        .no_texts("parameter_types")
        .no_texts("result_types")
        .all_flag("from_sql", true)
        .int("generic_plans", |_| 0)
        .int("custom_plans", |_| 0)
        .batch()
}

fn descriptions(objects: &Objects) -> Result<RecordBatch> {
    let pg_class = oid("relation", "pg_catalog.pg_class");
    let comments: Vec<(i32, i32, &String)> = objects
        .relations
        .iter()
        .flat_map(|r| {
            let columns = r.column_comments.iter().enumerate();
            let of_columns =
                columns.filter_map(|(at, comment)| Some((r.oid, i32::from(small(at + 1)), comment.as_ref()?)));
            let of_table = r.comment.iter().map(|comment| (r.oid, 0, comment));
            of_table.chain(of_columns)
        })
        .collect();
    Rows::of(&comments)
        .int("objoid", |(oid, _, _)| *oid)
        .all_int("classoid", pg_class)
        .int("objsubid", |(_, at, _)| *at)
        .text("description", |(_, _, comment)| (*comment).clone())
        .batch()
}

fn tables(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(objects.relations.iter().filter(|r| r.kind == "r"))
        .text("schemaname", |r| r.schema.clone())
        .text("tablename", |r| r.name.clone())
        .all_text("tableowner", &owner(objects))
        .no_text("tablespace")
        .flag("hasindexes", |r| objects.keys.iter().any(|key| key.table_oid == r.oid))
        .all_flag("hasrules", false)
        .all_flag("hastriggers", false)
        .flag("rowsecurity", |r| policies::has_policies(objects, r))
        .batch()
}

fn views(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(objects.relations.iter().filter(|r| r.kind == "v"))
        .text("schemaname", |r| r.schema.clone())
        .text("viewname", |r| r.name.clone())
        .all_text("viewowner", &owner(objects))
        .some_text("definition", |r| r.definition.clone())
        .batch()
}

fn index_definitions(objects: &Objects) -> Result<RecordBatch> {
    Rows::of(&objects.keys)
        .all_text("schemaname", "public")
        .text("tablename", |k| k.table.clone())
        .text("indexname", |k| k.name.clone())
        .no_text("tablespace")
        .text("indexdef", index_definition)
        .batch()
}

fn shown_settings(settings: &BTreeMap<String, String>) -> Result<RecordBatch> {
    let settings: Vec<(&String, &String)> = settings.iter().collect();
    Rows::of(&settings)
        .text("name", |(name, _)| (*name).clone())
        .text("setting", |(_, value)| (*value).clone())
        .no_text("unit")
        .all_text("category", "")
        .all_text("short_desc", "")
        .no_text("extra_desc")
        .all_text("context", "user")
        .all_text("vartype", "string")
        .all_text("source", "session")
        .no_text("min_val")
        .no_text("max_val")
        .no_texts("enumvals")
        .no_text("boot_val")
        .text("reset_val", |(_, value)| (*value).clone())
        .no_text("sourcefile")
        .no_text("sourceline")
        .all_flag("pending_restart", false)
        .batch()
}

/// As `pg_get_indexdef` writes it; psql shows what follows `USING`.
pub(super) fn index_definition(key: &Key) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
        quoted(&key.name),
        quoted(&key.table),
        columns_of(key)
    )
}

/// As `pg_get_constraintdef` writes it.
pub(super) fn constraint_definition(key: &Key) -> String {
    let kind = if key.primary { "PRIMARY KEY" } else { "UNIQUE" };
    format!("{kind} ({})", columns_of(key))
}

fn columns_of(key: &Key) -> String {
    let names: Vec<String> = key.columns.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

/// A name as it must be written to be read back: in double quotes where folding would change it.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn owner(objects: &Objects) -> String {
    let owner = objects.roles.iter().find(|r| r.oid == objects.owner_oid);
    owner.map(|role| role.name.clone()).unwrap_or_default()
}

fn small(number: usize) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// `pg_char_to_encoding('UTF8')`.
const UTF8: i32 = 6;
