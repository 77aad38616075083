//! `CREATE TABLE`: an empty table in a folder of the server's own, which goes with the table.
//!
//! In: a statement and the changes that it makes. Out: the folder, before the table is there; and its removal, after it is gone. Must
//! never touch a location that an administrator named.

use super::Session;
use super::admin::{declared_column, refuse_others};
use crate::error::{Error, Result};
use crate::policy::{Access, Change, Location, Policies, Principal, Table};
use crate::query::statement::Admin;

impl Session {
    pub(super) async fn create_own_table(&self, actor: &Principal, admin: &Admin) -> Result<Vec<Change>> {
        let Admin::CreateTable { name, columns, unique_keys, references, options, if_not_exists } = admin else {
            return Err(Error::internal());
        };
        refuse_others(actor)?;
        let exists = self.policies_seen().is_relation(name);
        let columns = columns.iter().map(declared_column).collect::<Result<Vec<_>>>()?;
        let create = |location| Change::CreateTable {
            name: name.clone(),
            location,
            columns: columns.clone(),
            unique_keys: unique_keys.clone(),
            references: references.clone(),
            if_not_exists: *if_not_exists,
        };
        let nowhere = Location::managed(String::new());
        let mut changes = vec![create(nowhere.clone())];
        if exists {
            return Ok(changes);
        }
        if !options.is_empty() {
            changes.push(Change::AlterTable { name: name.clone(), options: options.clone() });
        }
        // What cannot be made leaves no folder.
        let policies = self.policies_seen();
        changes.iter().try_fold(policies.as_ref().clone(), |policies, change| policies.apply(actor, change.clone()))?;
        let table = Table {
            name: name.clone(),
            location: nowhere,
            columns: columns.clone(),
            unique_keys: unique_keys.clone(),
            foreign_keys: vec![],
            access: Access::Unclassified,
            max_rows_per_person: None,
            max_groups_per_person: None,
            purpose_required: false,
            manager_key: None,
            row_policies: vec![],
        };
        changes[0] = create(self.server.files.create_folder(&table).await?);
        Ok(changes)
    }

    /// Folders of tables that were there, or were to be, and are not: `before` and `changes` name them.
    pub(super) async fn remove_unused_folders(&self, before: &Policies, changes: &[Change]) {
        let tried = changes.iter().filter_map(|change| match change {
            Change::CreateTable { location, .. } => Some(location),
            _ => None,
        });
        let held = before.tables.values().map(|table| &table.location);
        let now = self.server.catalog.policies();
        for location in held.chain(tried).filter(|location| location.is_managed()) {
            if !now.tables.values().any(|table| table.location == *location) {
                self.server.files.remove_folder(location).await;
            }
        }
    }
}
