//! Foreign keys as constraints: what an administrator declared, and the steps by which rows reach their person.
//!
//! In: policies and the relations that a session sees. Out: the references both of whose ends it sees; others do not exist.

use std::collections::BTreeSet;

use super::objects::{Key, Relation, oid};
use super::tables::quoted;
use crate::policy::{ForeignKey, Policies};

#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub constraint_oid: i32,
    pub name: String,
    pub table_oid: i32,
    pub table: String,
    pub column: String,
    /// Positions in the tables, from 1.
    pub position: i16,
    pub to_oid: i32,
    pub to_table: String,
    pub to_column: String,
    pub to_position: i16,
    /// The unique constraint that it refers to, and its index.
    pub to_key: Option<(String, i32)>,
}

pub(super) fn references(policies: &Policies, relations: &[Relation], keys: &[Key]) -> Vec<Reference> {
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for relation in relations.iter().filter(|relation| relation.kind == "r") {
        let Some(table) = policies.tables.get(&relation.name) else { continue };
        let link = table.link().filter(|link| !table.foreign_keys.contains(link));
        for declared in table.foreign_keys.iter().chain(link) {
            if let Some(mut reference) = reference(relation, declared, relations, keys) {
                while !names.insert(reference.name.clone()) {
                    reference.name.push('1');
                }
                reference.constraint_oid = oid("constraint", &format!("public.{}", reference.name));
                found.push(reference);
            }
        }
    }
    found
}

fn reference(from: &Relation, declared: &ForeignKey, relations: &[Relation], keys: &[Key]) -> Option<Reference> {
    let to = relations.iter().find(|relation| relation.kind == "r" && relation.name == declared.table)?;
    let key = keys.iter().find(|key| key.table_oid == to.oid && key.columns == [declared.key.clone()]);
    Some(Reference {
        constraint_oid: 0,
        name: format!("{}_{}_fkey", from.name, declared.column),
        table_oid: from.oid,
        table: from.name.clone(),
        column: declared.column.clone(),
        position: position(from, &declared.column)?,
        to_oid: to.oid,
        to_table: to.name.clone(),
        to_column: declared.key.clone(),
        to_position: position(to, &declared.key)?,
        to_key: key.map(|key| (key.name.clone(), key.index_oid)),
    })
}

fn position(relation: &Relation, column: &str) -> Option<i16> {
    i16::try_from(relation.fields.index_of(column).ok()? + 1).ok()
}

impl Reference {
    /// As `pg_get_constraintdef` writes it.
    pub fn definition(&self) -> String {
        let (column, table, key) = (quoted(&self.column), quoted(&self.to_table), quoted(&self.to_column));
        format!("FOREIGN KEY ({column}) REFERENCES {table}({key})")
    }
}
