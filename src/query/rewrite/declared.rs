//! `privacy.show_suppressed`: a row for every declared combination of group keys, whether or not it may be shown.
//!
//! The declared values are public: a domain, or a public table that the key refers to. Rows that the release left out are put
//! back with NULL for every value, so the answer has the same rows whatever the data holds. Where a key has no declared
//! values nothing is added, and how many groups were left out is never told.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality, ScalarValue};
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, lit};

use super::{Rewriter, named_as};
use crate::error::{Error, Result, SqlState};
use crate::query::context::{Source, SourceKind};
use crate::query::expression::Derived;
use crate::query::facts::{Node, Public, PublicColumn, Reach, Rows, built};

/// An answer with more rows than this is no longer read by anybody.
const MOST_ROWS: usize = 100_000;

impl Rewriter<'_> {
    /// The released rows of `node`, whose first columns are `keys`, and the declared combinations that are not among them.
    pub(super) fn with_declared(&mut self, node: Node, keys: &[Derived]) -> Result<Node> {
        if !self.context.show_suppressed || keys.is_empty() {
            return Ok(node);
        }
        let mut declared: Option<LogicalPlan> = None;
        let mut rows = 1_usize;
        for (i, key) in keys.iter().enumerate() {
            let values = match (&key.facts.domain, &key.facts.refers) {
                (Some(domain), _) => {
                    rows = rows.saturating_mul(domain.len());
                    listed(domain, i)?
                }
                (None, Some(reach)) => self.in_table(reach, i)?,
                (None, None) => return Ok(node),
            };
            declared = Some(match declared {
                None => values,
                Some(others) => {
                    built(LogicalPlanBuilder::from(others).cross_join(values).and_then(LogicalPlanBuilder::build))?
                }
            });
        }
        if rows > MOST_ROWS {
            return Err(refuse_too_many());
        }
        declared.map_or(Ok(node.clone()), |declared| put_back(&node, keys.len(), declared))
    }

    /// The values of a public table's key. NULL is none of them: a key has no NULL.
    fn in_table(&self, reach: &Reach, i: usize) -> Result<LogicalPlan> {
        let known = self.known(&reach.table)?;
        let source = Source::new(SourceKind::Public(reach.table.clone()), known.schema.clone());
        let scan = LogicalPlanBuilder::scan(reach.table.as_str(), Arc::new(source), None);
        let index = known.schema.index_of(&reach.key).map_err(|_| Error::internal())?;
        let plan = scan.and_then(|scan| {
            let column = Expr::Column(Column::from(scan.schema().qualified_field(index)));
            scan.filter(column.clone().is_not_null())?.project([column.alias(name(i))])?.distinct()?.build()
        });
        built(plan)
    }
}

fn name(i: usize) -> String {
    format!("__d{i}")
}

fn listed(domain: &[ScalarValue], i: usize) -> Result<LogicalPlan> {
    let rows: Vec<Vec<Expr>> = domain.iter().map(|value| vec![lit(value.clone())]).collect();
    let plan = LogicalPlanBuilder::values(rows).and_then(|values| {
        let column = Expr::Column(Column::from(values.schema().qualified_field(0)));
        values.project([column.alias(name(i))])?.build()
    });
    built(plan)
}

fn put_back(node: &Node, keys: usize, declared: LogicalPlan) -> Result<Node> {
    let Rows::Public(rows) = &node.rows else {
        return Err(Error::internal());
    };
    let at = |i: usize| Expr::Column(Column::from(declared.schema().qualified_field(i)));
    let on = (0..keys).map(|i| (Expr::Column(node.column(i)), at(i))).collect();
    let mut wanted: Vec<Expr> = (0..keys)
        .map(|i| {
            let key = Expr::Column(node.column(i));
            named_as(coalesce(vec![key.clone(), at(i)]), &key)
        })
        .collect();
    wanted.extend((keys..node.plan.schema().fields().len()).map(|i| Expr::Column(node.column(i))));
    let joined = Join::try_new(
        Arc::new(node.plan.clone()),
        Arc::new(declared),
        on,
        None,
        JoinType::Full,
        JoinConstraint::On,
        // The group of NULL finds no declared value, as none is NULL.
        NullEquality::NullEqualsNothing,
        false,
    );
    let plan = built(joined.map(LogicalPlan::Join))?;
    let plan = built(LogicalPlanBuilder::from(plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
    let unique: Vec<BTreeSet<usize>> = rows.unique.clone();
    let columns: Vec<PublicColumn> = rows.columns.clone();
    Ok(Node { plan, visible: node.visible, rows: Rows::Public(Public { columns, unique, released: true }) })
}

fn refuse_too_many() -> Error {
    Error::new(
        SqlState::ProgramLimitExceeded,
        format!("the declared values of the group keys make more than {MOST_ROWS} combinations"),
    )
    .hint("SET privacy.show_suppressed = off, or group by fewer columns")
}
