//! Scans of rows that are shown: the plan that makes them, and the names of rows that travel behind the visible columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan};

use super::{Rewriter, public};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, Level};
use crate::query::context::{KnownTable, Source, SourceKind};
use crate::query::facts::{Node, Public, built};
use crate::query::opened::{Opened, OpenedKind, ROW, RowRecipe, keeps_rows};
use crate::query::{directory, position};

impl Rewriter<'_> {
    /// The rows themselves are made below, from the policies alone; what the asker sees of them are the columns of `source`.
    pub(super) fn opened_scan(&mut self, scan: &TableScan, source: &Source, name: &str) -> Result<Node> {
        let opened = match self.opened.iter().find(|opened| opened.table == name) {
            Some(opened) => opened.clone(),
            None => {
                let opened = self.open(name)?;
                self.opened.push(opened.clone());
                opened
            }
        };
        let whole = Source { schema: opened.schema.clone(), ..source.clone() };
        let whole = built(
            LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::new(whole), None)
                .and_then(LogicalPlanBuilder::build),
        )?;
        let shown = source.schema.fields().iter();
        let shown = shown.map(|field| Expr::Column(Column::new(Some(scan.table_name.clone()), field.name())));
        let plan = built(
            LogicalPlanBuilder::from(whole).project(shown.collect::<Vec<_>>()).and_then(LogicalPlanBuilder::build),
        )?;
        Ok(public(plan, Public::default()))
    }

    fn open(&mut self, name: &str) -> Result<Opened> {
        let known = self.known(name)?.clone();
        match &known.table.access {
            Access::Directory => directory::open(self.context, &known),
            Access::Protected { .. } | Access::Linked { .. } => self.open_granted(&known),
            Access::Unclassified | Access::Public => Err(Error::internal()),
        }
    }

    /// The table's rows as every question reads them (of this principal's scope, with their persons), or those of the one person whose
    /// request is served; and nothing of the statement.
    fn open_granted(&mut self, known: &KnownTable) -> Result<Opened> {
        let name = &known.table.name;
        let grant = self.context.access.get(name).ok_or_else(Error::internal)?;
        let recipe = RowRecipe::of(self.context, known, grant)?;
        if recipe.columns.is_empty() {
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("permission denied for rows of table {name}"),
            )
            .detail(format!("no column of access {} can be shown in rows", grant.id))
            .hint("CALL privacy.request_access(…) for other columns")
            .at(position::of_word(&self.context.text, name)));
        }
        let source = Source::new(SourceKind::Protected(name.clone()), known.schema.clone());
        let scan = LogicalPlanBuilder::scan(name.as_str(), Arc::new(source), None);
        self.subject = match grant.level {
            Level::Deidentified => None,
            Level::Direct => Some(self.context.subjects.get(name).cloned().ok_or_else(Error::internal)?),
        };
        let node = self.protected_scan(known, built(scan.and_then(LogicalPlanBuilder::build))?, (true, false))?;
        let node = self.closed(node)?;
        self.subject = None;
        let at = |column: &str| -> Result<Expr> {
            let index = known.schema.index_of(column).map_err(|_| Error::internal())?;
            Ok(Expr::Column(node.column(index)))
        };
        let shown: Vec<&str> = recipe.columns.iter().map(|column| column.name.as_str()).collect();
        let identity = match known.proven_keys.first() {
            Some(key) => key.columns.iter().map(String::as_str).collect(),
            None => shown.clone(),
        };
        let mut wanted = Vec::new();
        for (number, column) in shown.iter().enumerate() {
            wanted.push(at(column)?.alias(format!("__shown_{number}")));
        }
        wanted.push(Expr::Column(node.key()).alias("__of_person"));
        for (number, column) in identity.iter().enumerate() {
            wanted.push(at(column)?.alias(format!("__told_{number}")));
        }
        let plan = built(LogicalPlanBuilder::from(node.plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
        let mut fields: Vec<Field> =
            recipe.schema(known)?.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new(ROW, DataType::Binary, false));
        let schema = Arc::new(Schema::new(fields));
        Ok(Opened { table: name.clone(), kind: OpenedKind::Granted(recipe), plan, schema })
    }

    /// Behind the visible columns of an answer of de-identified rows, the names of those rows; other answers as they are.
    pub(super) fn with_names_of_rows(&self, shape: LogicalPlan) -> Result<LogicalPlan> {
        if self.opened.is_empty() {
            return Ok(shape);
        }
        if !self.drafts.is_empty() {
            return Err(refuse_meeting(&self.opened));
        }
        if self.opened.iter().all(|opened| matches!(opened.kind, OpenedKind::Directory { .. })) {
            return Ok(shape);
        }
        let visible = shape.schema().fields().len();
        let (named, rows) = carried(shape)?;
        let columns = (0..visible).map(|index| Expr::Column(Column::from(named.schema().qualified_field(index))));
        let wanted: Vec<Expr> = columns.chain(rows.into_iter().map(Expr::Column)).collect();
        built(LogicalPlanBuilder::from(named).project(wanted).and_then(LogicalPlanBuilder::build))
    }
}

/// The same plan with the names of rows behind its columns, and where they are.
fn carried(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Column>)> {
    let no_rows = |plan: &LogicalPlan| {
        let source = match plan {
            LogicalPlan::TableScan(scan) => scan.source.downcast_ref::<Source>().map(|source| &source.kind),
            _ => None,
        };
        matches!(source, Some(SourceKind::Public(_)))
            || matches!(plan, LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_))
    };
    if !keeps_rows(&plan) {
        return Err(Error::internal());
    }
    if no_rows(&plan) {
        return Ok((plan, Vec::new()));
    }
    match &plan {
        LogicalPlan::TableScan(scan) => {
            let row = Column::new(Some(scan.table_name.clone()), ROW);
            Ok((plan, vec![row]))
        }
        LogicalPlan::Projection(projection) => {
            let (input, rows) = carried(projection.input.as_ref().clone())?;
            let mut wanted = projection.expr.clone();
            let missing = |row: &&Column| !wanted.iter().any(|e| matches!(e, Expr::Column(column) if column == *row));
            let missing: Vec<Expr> = rows.iter().filter(missing).cloned().map(Expr::Column).collect();
            wanted.extend(missing);
            let plan = built(LogicalPlanBuilder::from(input).project(wanted).and_then(LogicalPlanBuilder::build))?;
            Ok((plan, rows))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (input, rows) = carried(alias.input.as_ref().clone())?;
            let rows = rows.into_iter().map(|row| Column::new(Some(alias.alias.clone()), row.name)).collect();
            let plan = LogicalPlanBuilder::from(input).alias(alias.alias.clone());
            Ok((built(plan.and_then(LogicalPlanBuilder::build))?, rows))
        }
        other => {
            let (mut inputs, mut rows) = (Vec::new(), Vec::new());
            for input in other.inputs() {
                let (input, of_input) = carried(input.clone())?;
                inputs.push(input);
                rows.extend(of_input);
            }
            let plan = built(other.with_new_exprs(other.expressions(), inputs))?;
            let there = rows.iter().all(|row| plan.schema().has_column(row));
            if there { Ok((plan, rows)) } else { Err(refuse_lost_rows()) }
        }
    }
}

/// A semi-join would tell of rows that it does not show.
fn refuse_lost_rows() -> Error {
    Error::new(SqlState::FeatureNotSupported, "rows under a grant of access cannot be asked for in this way")
        .detail("every row that an answer tells of is counted against the grant")
        .hint("SELECT columns FROM the table, with WHERE, ORDER BY and LIMIT, or joined with public tables")
}

fn refuse_meeting(opened: &[Opened]) -> Error {
    let tables = opened.iter().map(|opened| opened.table.as_str()).collect::<Vec<_>>().join(", ");
    Error::new(
        SqlState::InsufficientPrivilege,
        format!("rows that are shown cannot meet rows that are counted ({tables})"),
    )
    .detail("a directory would carry persons' identities into aggregates")
    .hint("ask about the protected tables and the directory in statements of their own")
}
