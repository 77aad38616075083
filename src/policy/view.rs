//! Views: queries with a name, made by administrators.
//!
//! A view adds no rights to anybody but those that are granted on it: with the definer's rights (the default) whoever may read
//! the view needs no grant on what it reads; with `security_invoker` they do. Whose rows they are, what classes and bounds
//! say, what an answer costs: all of that is as if the view's query stood in its place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::look_alike::refuse_relation_name;
use super::{Grant, Policies};
use crate::error::{Error, Result, SqlState};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub name: String,
    /// Names and Arrow data types, as found when it was made.
    pub columns: Vec<(String, String)>,
    /// The query, as written.
    pub definition: String,
    /// Reads with the rights of who asks, not on its own.
    pub security_invoker: bool,
    /// The tables and views that its query names.
    pub reads: BTreeSet<String>,
}

impl Policies {
    pub(super) fn create_view(&mut self, view: View, or_replace: bool) -> Result<()> {
        if self.tables.contains_key(&view.name) {
            let error = if or_replace {
                Error::new(SqlState::WrongObjectType, format!("\"{}\" is not a view", view.name))
            } else {
                already_there(&view.name)
            };
            return Err(error);
        }
        if self.views.contains_key(&view.name) && !or_replace {
            return Err(already_there(&view.name));
        }
        refuse_relation_name(&view.name)?;
        for name in &view.reads {
            if !self.tables.contains_key(name) && !self.views.contains_key(name) {
                return Err(Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist")));
            }
        }
        if reads(&self.views, &view.reads).contains(&view.name) {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("view \"{}\" would read itself", view.name),
            ));
        }
        self.views.insert(view.name.clone(), view);
        Ok(())
    }

    pub(super) fn drop_view(&mut self, name: &str, if_exists: bool) -> Result<()> {
        if self.views.remove(name).is_none() {
            return match (if_exists, self.tables.contains_key(name)) {
                (_, true) => Err(Error::new(SqlState::WrongObjectType, format!("\"{name}\" is not a view"))
                    .hint("use DROP TABLE to remove a table")),
                (true, false) => Ok(()),
                (false, false) => Err(Error::new(SqlState::UndefinedTable, format!("view \"{name}\" does not exist"))),
            };
        }
        self.refuse_read_by_view(name)?;
        self.grants.retain(|grant: &Grant| grant.table != name);
        Ok(())
    }

    /// What a view reads is not dropped under it.
    pub(super) fn refuse_read_by_view(&self, gone: &str) -> Result<()> {
        match self.views.values().find(|view| view.reads.contains(gone)) {
            None => Ok(()),
            Some(view) => Err(Error::new(
                SqlState::DependentObjectsStillExist,
                format!("view \"{}\" depends on \"{gone}\"", view.name),
            )
            .hint(format!("DROP VIEW {} first", view.name))),
        }
    }

    /// A view is granted whole.
    pub(super) fn refuse_columns_of_view(&self, name: &str, columns: Option<&BTreeSet<String>>) -> Result<bool> {
        match (self.views.contains_key(name), columns) {
            (false, _) => Ok(false),
            (true, None) => Ok(true),
            (true, Some(_)) => {
                Err(Error::new(SqlState::FeatureNotSupported, "columns of a view are not granted one by one")
                    .hint("make a view of the columns that are wanted, and grant that"))
            }
        }
    }
}

/// Everything that is read, however far below.
fn reads(views: &BTreeMap<String, View>, first: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = first.iter().cloned().collect();
    while let Some(name) = open.pop() {
        if found.insert(name.clone()) {
            open.extend(views.get(&name).into_iter().flat_map(|view| view.reads.iter().cloned()));
        }
    }
    found
}

fn already_there(name: &str) -> Error {
    Error::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists"))
}
