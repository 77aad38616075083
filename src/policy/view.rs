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
    /// A metric: reads hidden columns, and shows them through aggregates only.
    #[serde(default)]
    pub metric: bool,
    /// The tables and views that its query names.
    pub reads: BTreeSet<String>,
}

impl Policies {
    pub(super) fn create_view(&mut self, view: View, or_replace: bool) -> Result<()> {
        if view.metric && view.security_invoker {
            return Err(Error::new(SqlState::InvalidParameterValue, "a metric reads with rights of its own")
                .detail("hidden columns are nobody's to read but the metric's")
                .hint("leave security_invoker out"));
        }
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

    /// `cascade`: and the views that read it, and those that read them.
    pub(super) fn drop_view(&mut self, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        if self.views.remove(name).is_none() {
            return match (if_exists, self.tables.contains_key(name)) {
                (_, true) => Err(Error::new(SqlState::WrongObjectType, format!("\"{name}\" is not a view"))
                    .hint("use DROP TABLE to remove a table")),
                (true, false) => Ok(()),
                (false, false) => Err(no_view(name)),
            };
        }
        while let Some(reader) = self.read_by(name).filter(|_| cascade) {
            let reader = reader.name.clone();
            self.drop_view(&reader, true, true)?;
        }
        self.refuse_read_by_view(name)?;
        self.grants.retain(|grant: &Grant| grant.table != name);
        self.comments.remove(name);
        Ok(())
    }

    /// Grants, comments and the views that read it follow. `readers`: how their definitions change; whoever makes the change has
    /// found that out from what they were, so if they are not that any more, nothing is changed.
    pub(super) fn rename_view(
        &mut self,
        name: &str,
        to: String,
        if_exists: bool,
        readers: &BTreeMap<String, (String, String)>,
    ) -> Result<()> {
        if self.tables.contains_key(name) {
            return Err(Error::new(SqlState::FeatureNotSupported, "tables are not renamed")
                .detail("grants, row policies, purposes and the ledger know a table by its name")
                .hint(format!("make a view of the other name: CREATE VIEW {to} AS SELECT …")));
        }
        if !self.views.contains_key(name) {
            return if if_exists { Ok(()) } else { Err(no_view(name)) };
        }
        if self.is_relation(&to) {
            return Err(already_there(&to));
        }
        refuse_relation_name(&to)?;
        for view in self.views.values_mut().filter(|view| view.reads.contains(name)) {
            let (_, after) = readers
                .get(&view.name)
                .filter(|(before, _)| *before == view.definition)
                .ok_or_else(|| changed_meanwhile(&view.name))?;
            view.definition = after.clone();
            view.reads.remove(name);
            view.reads.insert(to.clone());
        }
        if let Some(view) = self.views.remove(name) {
            self.views.insert(to.clone(), View { name: to.clone(), ..view });
        }
        for grant in self.grants.iter_mut().filter(|grant| grant.table == name) {
            grant.table.clone_from(&to);
        }
        if let Some(comments) = self.comments.remove(name) {
            self.comments.insert(to, comments);
        }
        Ok(())
    }

    /// A view that reads this table or view.
    fn read_by(&self, name: &str) -> Option<&View> {
        self.views.values().find(|view| view.reads.contains(name))
    }

    /// What a view reads is not dropped under it.
    pub(super) fn refuse_read_by_view(&self, gone: &str) -> Result<()> {
        match self.read_by(gone) {
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

impl Policies {
    /// Does a metric, or what it stands on, read this table? `views`: those that a statement names.
    pub fn in_metric<'a>(&self, mut views: impl Iterator<Item = &'a String>, table: &str) -> bool {
        views.any(|name| {
            self.views.get(name).is_some_and(|view| view.metric && reads(&self.views, &view.reads).contains(table))
        })
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

fn no_view(name: &str) -> Error {
    Error::new(SqlState::UndefinedTable, format!("view \"{name}\" does not exist"))
}

fn changed_meanwhile(name: &str) -> Error {
    Error::new(SqlState::SerializationFailure, format!("view \"{name}\" was changed by another session meanwhile"))
        .hint("try again")
}

fn already_there(name: &str) -> Error {
    Error::new(SqlState::DuplicateTable, format!("relation \"{name}\" already exists"))
}
