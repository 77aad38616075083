//! What one session may see: relations, roles, keys, comments, each with an OID.
//!
//! In: policies, a principal and the views made for it. Out: plain data from which every catalog table is filled, so that
//! no table can show more than another. OIDs come from names, not from counters: they are the same in every session, and
//! tell nothing about objects that a session does not see.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::policies::{PolicyRow, policies};
use super::references::{Reference, references};
use super::{ActivityRow, CursorRow, SystemSession};
use crate::catalog::files::arrow_schema;
use crate::error::{Error, Result};
use crate::policy::{Access, Capability, Column, Policies, Principal, Table};

pub(super) const PG_CATALOG_OID: i32 = 11;
pub(super) const PUBLIC_OID: i32 = 2200;
const INFORMATION_SCHEMA_OID: i32 = 13_000;
pub(super) const HEAP: i32 = 2;
pub(super) const BTREE: i32 = 403;
/// The first OID that Postgres gives to an object a user made (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16_384;
/// The group that everything is shown as owned by: everyone may know of it.
const OWNER: &str = "insights_admin";

/// Relations that other catalog tables refer to by the OID Postgres ships them with.
const WELL_KNOWN: [(&str, i32); 9] = [
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_database", 1262),
    ("pg_constraint", 2606),
    ("pg_description", 2609),
    ("pg_namespace", 2615),
    ("pg_extension", 3079),
];

#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub oid: i32,
    pub schema: String,
    pub name: String,
    /// `r`, `v` or `i`.
    pub kind: &'static str,
    pub fields: SchemaRef,
    pub comment: Option<String>,
    /// In the order of `fields`; may be shorter.
    pub column_comments: Vec<Option<String>>,
    pub selectable: bool,
    /// Of a view: its query, for those who may see it.
    pub definition: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub index_oid: i32,
    pub constraint_oid: i32,
    pub table_oid: i32,
    pub table: String,
    pub name: String,
    pub columns: Vec<String>,
    /// Positions in the table, from 1.
    pub positions: Vec<i16>,
    pub primary: bool,
}

#[derive(Debug, Clone)]
pub(super) struct RoleRow {
    pub oid: i32,
    pub name: String,
    pub login: bool,
    pub createrole: bool,
    /// Microseconds since 1970.
    pub valid_until: Option<i64>,
    pub connection_limit: Option<u32>,
    pub member_of: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Objects {
    pub database: String,
    pub user: String,
    pub database_oid: i32,
    pub owner_oid: i32,
    pub schemas: Vec<(String, i32)>,
    /// Tables, views and indexes that are not part of pg_catalog or information_schema.
    pub relations: Vec<Relation>,
    pub keys: Vec<Key>,
    pub references: Vec<Reference>,
    pub policies: Vec<PolicyRow>,
    pub cursors: Vec<CursorRow>,
    pub activity: Vec<ActivityRow>,
    pub roles: Vec<RoleRow>,
    /// The roles that the session acts as at present: a membership whose training lapsed is one still, and gives nothing.
    pub acts_as: BTreeSet<String>,
    /// OIDs of types by their names in pg_type.
    pub types: Arc<HashMap<String, i32>>,
}

impl Objects {
    pub fn new(session: &SystemSession) -> Result<Self> {
        let (relations, keys) = tables(&session.policies, &session.principal)?;
        let mut objects = Self {
            database: session.database.clone(),
            user: session.user.clone(),
            database_oid: oid("database", &session.database),
            owner_oid: oid("role", OWNER),
            schemas: schemas(),
            references: references(&session.policies, &relations, &keys),
            policies: policies(&session.policies, &session.principal, &relations),
            relations,
            keys,
            cursors: session.cursors.clone(),
            activity: session.activity.clone(),
            roles: roles(&session.policies, &session.principal),
            acts_as: session.principal.roles().clone(),
            types: Arc::default(),
        };
        for key in &objects.keys {
            objects.relations.push(index(key));
        }
        objects.relations.extend(made_views(&session.policies, &session.principal)?);
        for view in &session.views {
            objects.relations.push(Relation {
                oid: oid("relation", &format!("{}.{}", view.schema, view.name)),
                schema: view.schema.to_owned(),
                name: view.name.to_owned(),
                kind: "v",
                fields: view.rows.schema(),
                comment: None,
                column_comments: vec![],
                selectable: true,
                definition: None,
            });
        }
        Ok(objects)
    }

    /// What is there for nobody: the frame for rows about the system's own relations.
    pub fn of_nobody() -> Self {
        Self {
            database: String::new(),
            user: String::new(),
            database_oid: 0,
            owner_oid: oid("role", OWNER),
            schemas: schemas(),
            relations: vec![],
            keys: vec![],
            references: vec![],
            policies: vec![],
            cursors: vec![],
            activity: vec![],
            roles: vec![],
            acts_as: BTreeSet::new(),
            types: Arc::default(),
        }
    }

    pub fn schema_oid(&self, name: &str) -> i32 {
        let found = self.schemas.iter().find(|(schema, _)| schema == name);
        found.map_or(0, |(_, oid)| *oid)
    }

    /// A relation by OID or by name, with or without its schema.
    pub fn relation(&self, text: &str) -> Option<&Relation> {
        if let Ok(oid) = text.parse::<i32>() {
            return self.relations.iter().find(|relation| relation.oid == oid);
        }
        let parts: Vec<String> = text
            .split('.')
            .map(|part| match part.strip_prefix('"') {
                Some(quoted) => quoted.trim_end_matches('"').to_owned(),
                None => part.to_lowercase(),
            })
            .collect();
        let in_schema = |schema: &str, name: &str| {
            let mut relations = self.relations.iter();
            relations.find(|relation| relation.schema == schema && relation.name == name)
        };
        match parts.as_slice() {
            [name] => in_schema("pg_catalog", name).or_else(|| in_schema("public", name)),
            [schema, name] => in_schema(schema, name),
            _ => None,
        }
    }
}

/// FNV-1a of kind and name, in the range of user objects.
pub(super) fn oid(kind: &str, name: &str) -> i32 {
    if kind == "relation"
        && let Some((_, known)) =
            name.strip_prefix("pg_catalog.").and_then(|name| WELL_KNOWN.iter().find(|(known, _)| *known == name))
    {
        return *known;
    }
    let mut hash: u32 = 0x811c_9dc5;
    for byte in kind.bytes().chain([0]).chain(name.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let range = i32::MAX as u32 - FIRST_USER_OID;
    i32::try_from(FIRST_USER_OID + hash % range).unwrap_or(i32::MAX)
}

fn schemas() -> Vec<(String, i32)> {
    let made = |name: &str| (name.to_owned(), oid("schema", name));
    vec![
        ("pg_catalog".to_owned(), PG_CATALOG_OID),
        ("public".to_owned(), PUBLIC_OID),
        ("information_schema".to_owned(), INFORMATION_SCHEMA_OID),
        made("privacy"),
        made("audit"),
    ]
}

fn tables(policies: &Policies, principal: &Principal) -> Result<(Vec<Relation>, Vec<Key>)> {
    let mut relations = Vec::new();
    let mut keys = Vec::new();
    for table in policies.tables.values() {
        if !policies.may_see(principal, &table.name) {
            continue;
        }
        let visible = visible_columns(policies, principal, table);
        let part = Table { columns: visible.iter().map(|column| (*column).clone()).collect(), ..table.clone() };
        let relation = Relation {
            oid: oid("relation", &format!("public.{}", table.name)),
            schema: "public".to_owned(),
            name: table.name.clone(),
            kind: "r",
            fields: arrow_schema(&part)?,
            comment: Some(table_comment(table, &part)),
            column_comments: visible.iter().map(|column| column_comment(column)).collect(),
            selectable: principal.may_ask()
                && policies.has_scope(principal, table)
                && table.columns.iter().any(|column| policies.may_read(principal, &table.name, &column.name)),
            definition: None,
        };
        keys.extend(visible_keys(table, &relation));
        relations.push(relation);
    }
    Ok((relations, keys))
}

/// Views that administrators made.
fn made_views(policies: &Policies, principal: &Principal) -> Result<Vec<Relation>> {
    let seen = policies.views.values().filter(|view| policies.may_see(principal, &view.name));
    seen.map(|view| {
        let column = |(name, data_type): &(String, String)| {
            let data_type = data_type.parse::<DataType>().map_err(|_| Error::internal())?;
            Ok(Field::new(name, data_type, true))
        };
        let fields = view.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let rights = if view.security_invoker { "the rights of who asks" } else { "rights of its own" };
        Ok(Relation {
            oid: oid("relation", &format!("public.{}", view.name)),
            schema: "public".to_owned(),
            name: view.name.clone(),
            kind: "v",
            fields: Arc::new(Schema::new(fields)),
            comment: Some(format!("a view with {rights}")),
            column_comments: vec![],
            selectable: principal.may_ask() && policies.may_read(principal, &view.name, ""),
            // The text may name tables and columns that were not granted.
            definition: principal.can(Capability::Administer).then(|| view.definition.clone()),
        })
    })
    .collect()
}

/// Administrators see every column; others those they were granted.
fn visible_columns<'a>(policies: &Policies, principal: &Principal, table: &'a Table) -> Vec<&'a Column> {
    let all = principal.can(Capability::Administer);
    table.columns.iter().filter(|column| all || policies.may_read(principal, &table.name, &column.name)).collect()
}

/// Keys all of whose columns are visible: a key of three columns of which two are shown would be a false one.
fn visible_keys(table: &Table, relation: &Relation) -> Vec<Key> {
    let mut names = BTreeSet::new();
    let mut keys = Vec::new();
    for key in &table.unique_keys {
        let positions: Option<Vec<i16>> = key
            .columns
            .iter()
            .map(|name| {
                let index = relation.fields.index_of(name).ok()?;
                i16::try_from(index + 1).ok()
            })
            .collect();
        let Some(positions) = positions else { continue };
        let mut name = if key.primary {
            format!("{}_pkey", table.name)
        } else {
            format!("{}_{}_key", table.name, key.columns.join("_"))
        };
        while !names.insert(name.clone()) {
            name.push('1');
        }
        keys.push(Key {
            index_oid: oid("relation", &format!("public.{name}")),
            constraint_oid: oid("constraint", &format!("public.{name}")),
            table_oid: relation.oid,
            table: table.name.clone(),
            name,
            columns: key.columns.clone(),
            positions,
            primary: key.primary,
        });
    }
    keys
}

fn index(key: &Key) -> Relation {
    let fields: Vec<Field> = key.columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    Relation {
        oid: key.index_oid,
        schema: "public".to_owned(),
        name: key.name.clone(),
        kind: "i",
        fields: Arc::new(Schema::new(fields)),
        comment: None,
        column_comments: vec![],
        selectable: false,
        definition: None,
    }
}

/// Administrators see every role; others the built-in groups and themselves with their own groups.
fn roles(policies: &Policies, principal: &Principal) -> Vec<RoleRow> {
    let all = principal.can(Capability::ManageRoles) || principal.can(Capability::Administer);
    // Of its own groups too those that give nothing for want of a training: it is told so, and may see which.
    let mut own = principal.roles().clone();
    own.extend(policies.roles.get(principal.name()).into_iter().flat_map(|role| role.member_of.iter().cloned()));
    let shown: BTreeMap<_, _> = policies
        .roles
        .iter()
        .filter(|(name, role)| all || (role.built_in && !role.login) || own.contains(*name))
        .collect();
    shown
        .iter()
        .map(|(name, role)| RoleRow {
            oid: oid("role", name),
            name: (*name).clone(),
            login: role.login,
            createrole: role.createrole,
            valid_until: role.valid_until.map(|seconds| seconds.saturating_mul(1_000_000)),
            connection_limit: role.connection_limit,
            member_of: role.member_of.iter().filter(|group| shown.contains_key(group)).cloned().collect(),
        })
        .collect()
}

/// Names the person key only to those who see that column.
fn table_comment(table: &Table, visible: &Table) -> String {
    match &table.access {
        Access::Unclassified => "unclassified: nobody can read it".to_owned(),
        Access::Public => "public".to_owned(),
        Access::Directory => "directory: rows are shown behind masks".to_owned(),
        Access::Protected { policy, person_key } if visible.column(person_key).is_some() => {
            format!("protected: person key {person_key}, privacy policy {policy}")
        }
        Access::Linked { policy, by } if visible.column(&by.column).is_some() => {
            format!("protected: person key of table {} through {}, privacy policy {policy}", by.table, by.column)
        }
        Access::Protected { policy, .. } | Access::Linked { policy, .. } => {
            format!("protected: privacy policy {policy}")
        }
    }
}

fn column_comment(column: &Column) -> Option<String> {
    let class = column.class?.name();
    Some(match column.bounds {
        Some(bounds) => format!("{class}, {} to {}", bounds.lower(), bounds.upper()),
        None => class.to_owned(),
    })
}
