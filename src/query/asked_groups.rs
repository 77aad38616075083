//! A correlated subquery's groups are those that the query around it asks for, where public tables say which these are.
//!
//! `… FROM lineitem, part WHERE p_partkey = l_partkey AND p_brand = 'B' AND l_quantity < (SELECT 0.2 * avg(l_quantity) FROM lineitem
//! WHERE l_partkey = p_partkey)` asks for the mean of one brand's parts. Decorrelated, it would be the mean of every part there is, of
//! which the join takes a thousandth: of all rows each is grouped by person and part, and what a person may add to goes to parts that
//! nobody asked for. So the subquery's rows are held to the keys that the public side of the query has (the "magic set" of Bancilhon,
//! Maier, Sagiv, Ullman 1986, "Magic Sets and Other Strange Ways to Implement Logic Programs").
//!
//! In: a plan in which scalar subqueries are joins. Out: the same rows. Nothing is decided about privacy here: it is the question that
//! would have been asked with `AND l_partkey IN (SELECT p_partkey FROM part WHERE …)` in the subquery, and is treated like it. Must
//! never: hold groups to what persons' rows say, or touch a derived table that the query names itself: that is a release of its own,
//! the same below every query that reads it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder};

use super::context::{Source, SourceKind};

/// What the engine calls a subquery that became a join.
const SCALAR: &str = "__scalar_sq";
/// What the keys that are asked for are called.
const ASKED: &str = "__asked";

pub(super) fn only_asked(plan: LogicalPlan) -> Result<LogicalPlan> {
    held(plan, &[])
}

/// `above`: conditions that every row of `plan` that counts meets.
fn held(plan: LogicalPlan, above: &[Expr]) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut conditions = above.to_vec();
            conditions.extend(split_conjunction_owned(filter.predicate.clone()));
            let input = held(Arc::unwrap_or_clone(filter.input), &conditions)?;
            Filter::try_new(filter.predicate, Arc::new(input)).map(LogicalPlan::Filter)
        }
        LogicalPlan::Join(join) => {
            let of_left = matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::LeftSemi);
            let left = held(join.left.as_ref().clone(), if of_left { above } else { &[] })?;
            let right = held(join.right.as_ref().clone(), &[])?;
            let right = reduced(&join, &left, &right, above)?.unwrap_or(right);
            Ok(LogicalPlan::Join(Join { left: Arc::new(left), right: Arc::new(right), ..join }))
        }
        other => other.map_children(|child| held(child, &[]).map(Transformed::yes)).map(|mapped| mapped.data),
    }
}

/// The right side of a join with a scalar subquery, held to the keys of public rows on the left.
fn reduced(join: &Join, left: &LogicalPlan, right: &LogicalPlan, above: &[Expr]) -> Result<Option<LogicalPlan>> {
    let plain = matches!(join.join_type, JoinType::Left | JoinType::Inner)
        && join.null_equality == NullEquality::NullEqualsNothing;
    let scalar = matches!(right, LogicalPlan::SubqueryAlias(alias) if alias.alias.table().starts_with(SCALAR));
    if !plain || !scalar {
        return Ok(None);
    }
    let mut pairs = Vec::new();
    for (asked, by) in &join.on {
        let (Expr::Column(asked), Expr::Column(by)) = (asked, by) else { return Ok(None) };
        let Some(at) = right.schema().maybe_index_of_column(by) else { return Ok(None) };
        if let Some(group) = group_of(right, at) {
            pairs.push((asked.clone(), group));
        }
    }
    let of = |pairs: &[(Column, Column)]| -> Result<Option<LogicalPlan>> {
        let asked: Vec<&Column> = pairs.iter().map(|(asked, _)| asked).collect();
        match public_rows(left, &asked, above.to_vec())? {
            Some(public) => with_keys(right, pairs, &public),
            None => Ok(None),
        }
    };
    // All keys at once, or else one that is public.
    for tried in std::iter::once(&pairs[..]).chain(pairs.chunks(1)).filter(|tried| !tried.is_empty()) {
        if let Some(reduced) = of(tried)? {
            return Ok(Some(reduced));
        }
    }
    Ok(None)
}

/// The column that the aggregate at the bottom of a subquery groups by, where the subquery's column `at` is that.
fn group_of(plan: &LogicalPlan, at: usize) -> Option<Column> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => group_of(&alias.input, at),
        LogicalPlan::Filter(filter) => group_of(&filter.input, at),
        LogicalPlan::Projection(projection) => match projection.expr.get(at)?.clone().unalias() {
            Expr::Column(column) => {
                group_of(&projection.input, projection.input.schema().maybe_index_of_column(&column)?)
            }
            _ => None,
        },
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(at)? {
            Expr::Column(column) if aggregate.group_expr.iter().all(|key| !matches!(key, Expr::GroupingSet(_))) => {
                Some(column.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The same plan, with the aggregate at its bottom over rows that have such keys.
fn with_keys(plan: &LogicalPlan, pairs: &[(Column, Column)], public: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if let LogicalPlan::Aggregate(aggregate) = plan {
        let type_of = |plan: &LogicalPlan, column: &Column| {
            plan.schema().maybe_index_of_column(column).map(|at| plan.schema().field(at).data_type().clone())
        };
        let alike = |(asked, group): &(Column, Column)| {
            let types = (type_of(public, asked), type_of(&aggregate.input, group));
            types.0.is_some() && types.0 == types.1
        };
        if !pairs.iter().all(alike) {
            return Ok(None);
        }
        let name = |number: usize| format!("key_{number}");
        let keys = pairs.iter().enumerate().map(|(n, (asked, _))| Expr::Column(asked.clone()).alias(name(n)));
        let keys = LogicalPlanBuilder::from(public.clone()).project(keys.collect::<Vec<_>>())?.alias(ASKED)?.build()?;
        let on = (
            pairs.iter().map(|(_, group)| group.clone()).collect::<Vec<_>>(),
            (0..pairs.len()).map(|n| Column::new(Some(ASKED), name(n))).collect::<Vec<_>>(),
        );
        let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone());
        let input = input.join(keys, JoinType::LeftSemi, on, None)?.build()?;
        let (groups, calls) = (aggregate.group_expr.clone(), aggregate.aggr_expr.clone());
        return Aggregate::try_new(Arc::new(input), groups, calls).map(|held| Some(LogicalPlan::Aggregate(held)));
    }
    let [input] = plan.inputs()[..] else { return Ok(None) };
    match with_keys(input, pairs, public)? {
        Some(input) => plan.with_new_exprs(plan.expressions(), vec![input]).map(Some),
        None => Ok(None),
    }
}

/// The part of a query that has these columns, reads public tables alone and leaves some of their rows out.
fn public_rows(plan: &LogicalPlan, columns: &[&Column], mut conditions: Vec<Expr>) -> Result<Option<LogicalPlan>> {
    if !columns.iter().all(|column| plan.schema().has_column(column)) {
        return Ok(None);
    }
    if is_public(plan)? {
        conditions.retain(|condition| is_of(condition, plan));
        let whole = match plan {
            LogicalPlan::SubqueryAlias(alias) => matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)),
            other => matches!(other, LogicalPlan::TableScan(_)),
        };
        return Ok(match conditions.into_iter().reduce(Expr::and) {
            Some(conditions) => Some(LogicalPlanBuilder::from(plan.clone()).filter(conditions)?.build()?),
            None => Some(plan.clone()).filter(|_| !whole),
        });
    }
    match plan {
        LogicalPlan::Filter(filter) => {
            conditions.extend(split_conjunction_owned(filter.predicate.clone()));
            public_rows(&filter.input, columns, conditions)
        }
        LogicalPlan::Projection(projection) => {
            let same =
                |column: &Column| projection.expr.iter().any(|made| matches!(made, Expr::Column(c) if c == column));
            conditions.retain(|condition| condition.column_refs().into_iter().all(same));
            if columns.iter().all(|column| same(column)) {
                public_rows(&projection.input, columns, conditions)
            } else {
                Ok(None)
            }
        }
        LogicalPlan::Join(join) => {
            let (left, right) = match join.join_type {
                JoinType::Inner => (true, true),
                JoinType::Left | JoinType::LeftSemi => (true, false),
                JoinType::Right | JoinType::RightSemi => (false, true),
                JoinType::Full
                | JoinType::LeftAnti
                | JoinType::RightAnti
                | JoinType::LeftMark
                | JoinType::RightMark => (false, false),
            };
            if left && let Some(public) = public_rows(&join.left, columns, conditions.clone())? {
                return Ok(Some(public));
            }
            if right { public_rows(&join.right, columns, conditions) } else { Ok(None) }
        }
        _ => Ok(None),
    }
}

/// Is the condition about these rows alone, and the same each time it is asked?
fn is_of(condition: &Expr, plan: &LogicalPlan) -> bool {
    let columns = condition.column_refs();
    let subquery = condition.exists(|part| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    !columns.is_empty()
        && columns.into_iter().all(|column| plan.schema().has_column(column))
        && !condition.is_volatile()
        && subquery.is_ok_and(|subquery| !subquery)
}

/// Of public tables' rows, and of nothing else.
fn is_public(plan: &LogicalPlan) -> Result<bool> {
    let (mut scans, mut others) = (0, false);
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            match scan.source.downcast_ref::<Source>().map(|source| &source.kind) {
                Some(SourceKind::Public(_)) => scans += 1,
                Some(
                    SourceKind::Protected(_)
                    | SourceKind::Directory(_)
                    | SourceKind::Released(_)
                    | SourceKind::Opened(_),
                )
                | None => others = true,
            }
        }
        others |= matches!(node, LogicalPlan::Extension(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans > 0 && !others)
}

#[cfg(test)]
mod tests {
    use super::super::compile_tests::{check, compile};
    use super::super::plan_lines;

    fn plan(sql: &str) -> String {
        plan_lines(&compile(sql).unwrap_or_else(|error| panic!("{error}: {sql}"))).join("\n")
    }

    const WINTER: &str = "SELECT c.week, (SELECT avg(hours) FROM week w WHERE w.week = c.week) FROM calendar c \
                          WHERE season = 'winter'";

    #[test]
    fn a_subquery_is_held_to_what_public_rows_ask_for() {
        check(WINTER, &["Release", "BoundGroups", "LeftSemi Join", "TableScan: week", "TableScan: calendar"]);
        // The question that it is treated like.
        let written = "SELECT c.week, (SELECT avg(hours) FROM week w WHERE w.week = c.week AND w.week IN \
                       (SELECT week FROM calendar WHERE season = 'winter')) FROM calendar c WHERE season = 'winter'";
        let scans = |sql: &str| plan(sql).matches("TableScan: calendar").count();
        assert_eq!((scans(WINTER), scans(written)), (2, 3));
    }

    #[test]
    fn what_is_not_asked_so_is_a_release_of_its_own() {
        for sql in [
            // Every week there is.
            "SELECT c.week, (SELECT avg(hours) FROM week w WHERE w.week = c.week) FROM calendar c",
            // A table of its own, whoever reads it.
            "SELECT c.week, a FROM calendar c JOIN (SELECT week, avg(hours) AS a FROM week GROUP BY week) s USING (week) \
             WHERE season = 'winter'",
            // A volatile condition is not the same twice.
            "SELECT c.week, (SELECT avg(hours) FROM week w WHERE w.week = c.week) FROM calendar c WHERE random() < 0.5",
        ] {
            if let Ok(verified) = compile(sql) {
                let plan = plan_lines(&verified).join("\n");
                assert_eq!(plan.matches("TableScan: calendar").count(), 1, "{plan}");
            }
        }
    }

    /// Persons' rows ask for nothing: which weeks theirs are must not decide what is released.
    #[test]
    fn rows_of_persons_hold_no_groups() {
        let sql = "SELECT count(*) FROM week v WHERE hours > (SELECT avg(hours) FROM week w WHERE w.week = v.week) AND v.week < 9";
        assert!(!plan(sql).contains("Semi"), "{}", plan(sql));
    }
}
