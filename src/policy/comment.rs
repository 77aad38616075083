//! Comments on tables, views and columns: what data is there and why, and how metrics are computed (requirements R4, W12).
//!
//! In: prose of administrators. Out: the same. A comment changes nothing that is released, so it lies beside the tables, not in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Policies;
use crate::error::{Error, Result, SqlState};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comments {
    /// On the table or view itself.
    pub text: Option<String>,
    /// On its columns.
    pub columns: BTreeMap<String, String>,
}

impl Policies {
    /// `None` takes a comment away.
    pub(super) fn comment_on(&mut self, relation: &str, column: Option<String>, text: Option<String>) -> Result<()> {
        if !self.is_relation(relation) {
            return Err(
                super::apply_table::unknown_table(relation).hint("a comment is on a table or view that there is")
            );
        }
        let view = self.views.get(relation);
        let has = |name: &String| match view {
            Some(view) => view.columns.iter().any(|(column, _)| column == name),
            None => self.tables.get(relation).is_some_and(|table| table.column(name).is_some()),
        };
        if let Some(missing) = column.as_ref().filter(|name| !has(name)) {
            return Err(Error::new(
                SqlState::UndefinedColumn,
                format!("column \"{missing}\" of relation \"{relation}\" does not exist"),
            )
            .hint("write COMMENT ON COLUMN table.column IS '…'"));
        }
        let comments = self.comments.entry(relation.to_owned()).or_default();
        match (column, text) {
            (None, text) => comments.text = text,
            (Some(column), Some(text)) => drop(comments.columns.insert(column, text)),
            (Some(column), None) => drop(comments.columns.remove(&column)),
        }
        if *comments == Comments::default() {
            self.comments.remove(relation);
        }
        Ok(())
    }

    pub fn comment(&self, relation: &str) -> Option<String> {
        self.comments.get(relation)?.text.clone()
    }

    pub fn column_comment(&self, relation: &str, column: &str) -> Option<String> {
        self.comments.get(relation)?.columns.get(column).cloned()
    }
}
