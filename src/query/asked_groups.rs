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
use datafusion::logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator};

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

/// Is the condition about these rows alone? Comparisons of columns and literals cannot fail; what could is asked where it stands, after
/// whatever guards it there.
fn is_of(condition: &Expr, plan: &LogicalPlan) -> bool {
    let columns = condition.column_refs();
    let other = condition.exists(|part| Ok(!is_comparison(part)));
    !columns.is_empty()
        && columns.into_iter().all(|column| plan.schema().has_column(column))
        && other.is_ok_and(|other| !other)
}

fn is_comparison(part: &Expr) -> bool {
    match part {
        Expr::BinaryExpr(binary) => matches!(
            binary.op,
            Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::And
                | Operator::Or
        ),
        Expr::Like(like) => like.escape_char.is_none(),
        // A literal of the column's type.
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Literal(..)),
        part => matches!(
            part,
            Expr::Column(_)
                | Expr::Literal(..)
                | Expr::Not(_)
                | Expr::IsNull(_)
                | Expr::IsNotNull(_)
                | Expr::Between(_)
                | Expr::InList(_)
        ),
    }
}

/// Of public tables' rows and of nothing else, and the same rows each time it is read: no LIMIT, no window, nothing volatile.
fn is_public(plan: &LogicalPlan) -> Result<bool> {
    let mut public = true;
    plan.apply_with_subqueries(|node| {
        public &= match node {
            LogicalPlan::TableScan(scan) => {
                let source = scan.source.downcast_ref::<Source>();
                scan.fetch.is_none() && source.is_some_and(|source| matches!(source.kind, SourceKind::Public(_)))
            }
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::SubqueryAlias(_) => !node.expressions().iter().any(Expr::is_volatile),
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => false,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(public)
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
        assert_eq!((scans(WINTER), scans(written)), (2, 3));
    }

    /// How often the public table is read: by the query itself, and by a subquery that is held to it.
    fn scans(sql: &str) -> usize {
        plan(sql).matches("TableScan: calendar").count()
    }

    #[test]
    fn what_is_not_asked_so_is_a_release_of_its_own() {
        let mean = "(SELECT avg(hours) FROM week w WHERE w.week = c.week)";
        for from in [
            // Every week there is.
            "calendar c",
            // Other rows each time they are read.
            "(SELECT week, season FROM calendar LIMIT 3) c",
        ] {
            let sql = format!("SELECT c.week, {mean} FROM {from}");
            assert_eq!(scans(&sql), 1, "{}", plan(&sql));
        }
        // A table of its own, whoever reads it.
        let derived = "SELECT c.week, a FROM calendar c JOIN (SELECT week, avg(hours) AS a FROM week GROUP BY week) s \
                       USING (week) WHERE season = 'winter'";
        assert_eq!(scans(derived), 1, "{}", plan(derived));
    }

    /// Beside rows of persons it gives NULL where it fails; alone it would end the statement.
    #[test]
    fn a_condition_that_may_fail_stays_where_it_is() {
        let asked = |condition: &str| {
            format!(
                "SELECT count(*) FROM week v JOIN calendar c ON v.week = c.week WHERE {condition} \
                 AND v.hours > (SELECT avg(hours) FROM week w WHERE w.week = c.week)"
            )
        };
        let fails = "1 / (c.week - 3) < 1";
        assert_eq!(scans(&asked(fails)), 1, "{}", plan(&asked(fails)));
        assert_eq!(scans(&asked("season = 'winter'")), 2);
        assert_eq!(scans(&asked(&format!("{fails} AND season = 'winter'"))), 2);
        assert!(!plan(&asked(&format!("{fails} AND season = 'winter'"))).contains("partial_filters=[Int64(1) /"));
    }

    /// Persons' rows ask for nothing: which weeks theirs are must not decide what is released.
    #[test]
    fn rows_of_persons_hold_no_groups() {
        let sql = "SELECT count(*) FROM week v WHERE hours > (SELECT avg(hours) FROM week w WHERE w.week = v.week) AND v.week < 9";
        assert!(!plan(sql).contains("Semi"), "{}", plan(sql));
    }
}
