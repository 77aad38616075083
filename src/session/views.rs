//! The product's own views, `privacy.…` and `audit.query_log`. Made when a statement names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast;

use super::answer::Rows;
use super::query_log::QueryLog;
use super::surroundings::relations;
use super::{Session, memberships};
use crate::catalog::system::{Moments, SystemSession, View};
use crate::error::{Error, Result, SqlState};
use crate::ledger::{Limits, budget_batch, integrity_schema};
use crate::policy::{Capability, Principal, Setting};
use crate::query::Verified;

/// The views that the server fills, and who may read each.
const VIEWS: [(&str, &str); 15] = [
    ("privacy", "budget"),
    ("privacy", "settings"),
    ("privacy", "memberships"),
    ("privacy", "grants"),
    ("privacy", "purposes"),
    ("privacy", "purpose_report"),
    ("privacy", "data_categories"),
    ("privacy", "metrics"),
    ("privacy", "column_risk"),
    ("privacy", "row_policies"),
    ("privacy", "warnings"),
    ("privacy", "running_queries"),
    ("audit", "query_log"),
    ("audit", "changes"),
    ("audit", "integrity"),
];

impl Session {
    /// What the catalog's queries see of this session.
    pub(super) async fn system_session(&self, query: &ast::Query) -> Result<SystemSession> {
        let principal = self.principal()?;
        let relations = relations(query)?;
        let lists = |name: &TableReference| match name.schema() {
            Some(schema) => ["pg_catalog", "information_schema"].contains(&schema),
            None => name.table().starts_with("pg_"),
        };
        let browses = relations.iter().any(lists);
        let named: BTreeSet<(String, String)> =
            relations.iter().filter_map(|name| Some((name.schema()?.to_owned(), name.table().to_owned()))).collect();
        let (mut views, mut unread) = (Vec::new(), Vec::new());
        for (schema, name) in VIEWS {
            let asked = named.contains(&(schema.to_owned(), name.to_owned()));
            if asked {
                refuse_view(&principal, schema, name)?;
                views.push(self.view_table(&principal, schema, name).await?);
            } else if browses
                && refuse_view(&principal, schema, name).is_ok()
                && let Ok(columns) = self.view_columns(&principal, schema, name).await
            {
                unread.push(View::of_rows(schema, name, RecordBatch::new_empty(columns))?);
            }
        }
        if let Some((schema, name)) =
            named.iter().find(|(schema, _)| schema == "audit" || schema == "privacy").filter(|_| views.is_empty())
        {
            return Err(Error::new(SqlState::UndefinedTable, format!("relation \"{schema}.{name}\" does not exist"))
                .hint(format!("there are {}", VIEWS.map(|(schema, name)| format!("{schema}.{name}")).join(", "))));
        }
        // Those that the statement does not read are there to be listed.
        views.extend(unread);
        let activity = self.activity_rows(&principal, &relations);
        let signals = self.signals(&principal);
        Ok(SystemSession {
            database: self.client.database.clone(),
            user: self.client.user.clone(),
            policies: self.policies_seen(),
            principal,
            views,
            settings: self.all_settings(),
            backend_pid: self.seat.backend().pid(),
            activity,
            signals,
            moments: Moments {
                transaction: self.transaction.moment().timestamp_micros(),
                statement: self.seat.backend().now().0.statement_began.unwrap_or_default(),
            },
            cursors: self.cursors.rows(),
            settings_made: Arc::default(),
        })
    }

    /// The columns of a view, found once a server from what it gives.
    async fn view_columns(&self, principal: &Principal, schema: &'static str, name: &'static str) -> Result<SchemaRef> {
        let known = self.server.view_columns.lock().ok().and_then(|known| known.get(&(schema, name)).cloned());
        if let Some(columns) = known {
            return Ok(columns);
        }
        let columns = match (schema, name) {
            // Its rows take a walk through everything.
            ("audit", "integrity") => integrity_schema(),
            _ => self.view_table(principal, schema, name).await?.rows.schema(),
        };
        if let Ok(mut known) = self.server.view_columns.lock() {
            known.insert((schema, name), columns.clone());
        }
        Ok(columns)
    }

    async fn view_table(&self, principal: &Principal, schema: &'static str, name: &'static str) -> Result<View> {
        match (schema, name) {
            ("audit", "query_log") => {
                Ok(View { schema, name, rows: Arc::new(QueryLog::new(self.server.ledger.clone())) })
            }
            _ => View::of_rows(schema, name, self.view(principal, schema, name).await?),
        }
    }

    async fn view(&self, principal: &Principal, schema: &str, name: &str) -> Result<RecordBatch> {
        let policies = self.server.catalog.policies();
        match (schema, name) {
            ("privacy", "budget") => {
                let limits = Limits::new(&policies.settings)?;
                let mut lines = self.server.ledger.budget(&limits, &policies.policy_names()).await?;
                let sees_all = principal.can(Capability::Audit) || principal.can(Capability::Administer);
                lines.retain(|line| sees_all || line.principal.as_deref().is_none_or(|who| who == principal.name()));
                budget_batch(&lines)
            }
            ("privacy", "settings") => {
                let names: Vec<String> = Setting::ALL.iter().map(|setting| setting.name().to_owned()).collect();
                let values = Setting::ALL.iter().map(|setting| policies.settings.show(*setting)).collect();
                let rows = Rows::texts(&["name", "setting"], vec![names, values])?;
                rows.batches().first().cloned().ok_or_else(Error::internal)
            }
            ("privacy", "purposes") => self.purposes_view(principal),
            ("privacy", "purpose_report") => self.purpose_report().await,
            ("privacy", "data_categories") => self.data_categories(principal),
            ("privacy", "metrics") => self.metrics(principal),
            ("privacy", "column_risk") => self.column_risk().await,
            ("privacy", "memberships") => memberships::batch(&policies, principal),
            ("privacy", "row_policies") => self.row_policies(),
            ("privacy", "warnings") => self.warnings().await,
            ("privacy", "running_queries") => self.running_queries(principal),
            ("privacy", "grants") => self.grants_view(principal).await,
            ("audit", "changes") => self.server.catalog.changes().await,
            ("audit", "integrity") => self.server.ledger.integrity().await,
            _ => Err(Error::internal()),
        }
    }
}

impl Session {
    /// What is left of the budgets that a statement would be charged to, for EXPLAIN (PRIVACY).
    pub(super) async fn budget_lines(&self, verified: &Verified) -> Result<Vec<String>> {
        let policies = self.server.catalog.policies();
        let limits = Limits::new(&policies.settings)?;
        let touched: BTreeSet<String> = verified.price(|_| true)?.into_keys().collect();
        let lines = self.server.ledger.budget(&limits, &touched).await?;
        let mine = lines
            .iter()
            .filter(|line| touched.contains(&line.policy))
            .filter(|line| line.principal.as_deref().is_none_or(|who| who == self.client.user));
        Ok(mine
            .map(|line| {
                let whose = if line.principal.is_some() { "you" } else { "all principals" };
                format!(
                    "budget left of policy {}, {whose}: epsilon {:.3} of {}",
                    line.policy, line.epsilon_left, line.epsilon_budget
                )
            })
            .collect())
    }
}

fn refuse_view(principal: &Principal, schema: &str, name: &str) -> Result<()> {
    let allowed = match (schema, name) {
        ("audit", _) => principal.can(Capability::Audit),
        ("privacy", "purpose_report") => principal.can(Capability::Audit) || principal.can(Capability::Administer),
        ("privacy", "row_policies" | "warnings" | "column_risk") => principal.can(Capability::Administer),
        _ => true,
    };
    if allowed {
        return Ok(());
    }
    let (needed, why) = if schema == "privacy" {
        (
            Capability::Administer,
            "what was done for purposes, who is counted and what is wrong with the data is for those who answer for it: members of insights_admin",
        )
    } else {
        (
            Capability::Audit,
            "the logs hold what everybody asked and what administrators changed; only members of auditor read them",
        )
    };
    Err(principal.denied(needed, format!("permission denied for view {schema}.{name}")).detail(why))
}
