//! What each person adds is summed before the join that brings the person's attributes, not after.
//!
//! `Σ x GROUP BY k, u` over `facts ⋈ people ON facts.u = people.u`, where the groups `k` come from `people` and the values `x` from
//! `facts`, is the sum over `people`'s rows of `Σ x GROUP BY u` of `facts`: each row of `people` meets all facts of its person or, once
//! they are summed, their one sum. The facts are many and the persons are few, so the join and the groups of several columns are made
//! of the few. It holds for `sum` of integers, `count` and `bool_or`, which do not care for order or for the number of steps, and
//! whether or not `people` has one row a person. Source: Yan and Larson 1995, "Eager Aggregation and Lazy Aggregation", section 3.
//!
//! Where `people` is filtered down to something (`country = 'DE'`), the join may throw most facts away before they are summed; then the
//! plan stays as it is.
//! In: an optimised plan. Out: one with equal rows. Must never: look below an outer join, whose rows are not those of its sides.

use crate::by_person::is_person;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result};
use datafusion::functions_aggregate::expr_fn::{bool_or, count, sum};
use datafusion::logical_expr::expr::{AggregateFunction, Alias};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection, lit, when,
};
use std::sync::Arc;

/// `plan` with every sum by person below the join that it can go below.
pub(crate) fn eager(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        Ok(match moved(&node)? {
            Some(moved) => Transformed::yes(moved),
            None => Transformed::no(node),
        })
    })
    .data()
}

/// One call that can be made in two steps.
struct Call<'a> {
    name: &'a str,
    of: How,
    argument: &'a Expr,
}

/// How a call is made in two steps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Sum,
    Count,
    BoolOr,
}

impl How {
    /// A call that can be made in two steps, and what it is made of. Sums only where they are of integers.
    pub(crate) fn of(call: &Expr) -> Option<(Self, &Expr)> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = call else { return None };
        let [argument] = params.args.as_slice() else { return None };
        let plain = !params.distinct && params.filter.is_none() && params.order_by.is_empty();
        let how = match func.name() {
            "sum" => Self::Sum,
            "count" => Self::Count,
            "bool_or" => Self::BoolOr,
            _ => return None,
        };
        plain.then_some((how, argument))
    }

    /// Of one person's facts.
    fn first(self, input: Expr) -> Expr {
        match self {
            Self::Sum => sum(input),
            Self::Count => count(input),
            Self::BoolOr => bool_or(input),
        }
    }

    /// Of what [`Self::first`] gave.
    pub(crate) fn then(self, part: Expr) -> Expr {
        match self {
            Self::Sum | Self::Count => sum(part),
            Self::BoolOr => bool_or(part),
        }
    }
}

/// What the person key is called between the sums and the join.
const KEY: &str = "__person_key";

/// The sides of a join: which has the facts.
struct Sides<'a> {
    facts: &'a Arc<LogicalPlan>,
    people: &'a Arc<LogicalPlan>,
    facts_key: Column,
    people_key: Column,
}

fn moved(node: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Aggregate(aggregate) = node else { return Ok(None) };
    let LogicalPlan::Projection(projection) = aggregate.input.as_ref() else { return Ok(None) };
    let LogicalPlan::Join(join) = projection.input.as_ref() else { return Ok(None) };
    let Some(calls) = aggregate.aggr_expr.iter().map(call).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let Some(groups) = aggregate.group_expr.iter().map(|group| made(projection, group)).collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let inputs: Option<Vec<Expr>> = calls.iter().map(|call| made(projection, call.argument)).collect();
    let Some(inputs) = inputs else { return Ok(None) };
    let by_person =
        aggregate.group_expr.iter().any(|group| matches!(group, Expr::Column(column) if is_person(&column.name)));
    if calls.is_empty() || !by_person {
        return Ok(None);
    }
    match sides(join, &groups, &inputs)? {
        Some(sides) => before(aggregate, &sides, &calls, groups, inputs).map(Some),
        None => Ok(None),
    }
}

fn call(expression: &Expr) -> Option<Call<'_>> {
    let Expr::Alias(Alias { expr, name, relation: None, .. }) = expression else { return None };
    let (of, argument) = How::of(expr)?;
    Some(Call { name, of, argument })
}

/// What a column of the projection is made of.
fn made(projection: &Projection, expression: &Expr) -> Option<Expr> {
    match expression {
        Expr::Column(column) => {
            let at = projection.schema.maybe_index_of_column(column)?;
            projection.expr.get(at).cloned().map(Expr::unalias)
        }
        Expr::Literal(..) => Some(expression.clone()),
        _ => None,
    }
}

/// Nothing where the sums cannot go below the join, or better not.
fn sides<'a>(join: &'a Join, groups: &[Expr], inputs: &[Expr]) -> Result<Option<Sides<'a>>> {
    let [(Expr::Column(left), Expr::Column(right))] = join.on.as_slice() else { return Ok(None) };
    let plain = join.join_type == JoinType::Inner
        && join.filter.is_none()
        && join.null_equality == NullEquality::NullEqualsNothing;
    let ways = [
        Sides { facts: &join.left, people: &join.right, facts_key: left.clone(), people_key: right.clone() },
        Sides { facts: &join.right, people: &join.left, facts_key: right.clone(), people_key: left.clone() },
    ];
    for way in ways {
        let facts = way.facts.schema();
        let of_people =
            |group: &Expr| reads_only(group, way.people.schema()) || is_key(way.facts, &way.facts_key, group);
        let by_key =
            |group: &Expr| is_key(way.facts, &way.facts_key, group) || is_key(way.people, &way.people_key, group);
        let whole = |input: &Expr| -> Result<bool> {
            Ok(reads_only(input, facts) && matches!(input.get_type(facts)?, DataType::Int64 | DataType::Boolean))
        };
        let sums_facts = inputs.iter().map(whole).collect::<Result<Vec<_>>>()?.into_iter().all(|whole| whole);
        // Sums of constants are of the side that does not bring the groups.
        let has_facts = inputs.iter().any(|input| !input.column_refs().is_empty())
            || groups.iter().any(|group| !reads_only(group, facts));
        let fits = plain && sums_facts && has_facts && groups.iter().all(of_people) && groups.iter().any(by_key);
        if fits && !selects(way.people) {
            return Ok(Some(way));
        }
    }
    Ok(None)
}

/// Is it the key that a side is joined by, perhaps under another name?
fn is_key(side: &LogicalPlan, key: &Column, group: &Expr) -> bool {
    let Expr::Column(group) = group else { return false };
    if group == key {
        return true;
    }
    if let LogicalPlan::SubqueryAlias(alias) = side {
        let below = |column: &Column| {
            let at = alias.schema.maybe_index_of_column(column)?;
            Some(Column::from(alias.input.schema().qualified_field(at)))
        };
        return match (below(key), below(group)) {
            (Some(key), Some(group)) => is_key(&alias.input, &key, &Expr::Column(group)),
            (None, _) | (_, None) => false,
        };
    }
    let LogicalPlan::Projection(projection) = side else { return false };
    let made_of = |column: &Column| {
        let at = projection.schema.maybe_index_of_column(column)?;
        projection.expr.get(at).cloned().map(Expr::unalias).filter(|made| matches!(made, Expr::Column(_)))
    };
    made_of(group).is_some_and(|made| made_of(key) == Some(made))
}

fn reads_only(expression: &Expr, schema: &DFSchema) -> bool {
    expression.column_refs().iter().all(|column| schema.maybe_index_of_column(column).is_some())
}

/// Does a condition leave few of its rows?
fn selects(plan: &LogicalPlan) -> bool {
    let mut selects = false;
    // Cannot fail: nothing in the closure does.
    let _ = plan.apply(|node| {
        let conditions: &[Expr] = match node {
            LogicalPlan::Filter(filter) => std::slice::from_ref(&filter.predicate),
            LogicalPlan::TableScan(scan) => &scan.filters,
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => &[],
            _ => {
                selects = true;
                &[]
            }
        };
        selects |= conditions.iter().any(|condition| !leaves_most(condition));
        Ok(if selects { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    selects
}

/// All but one value, or all that there is.
fn leaves_most(condition: &Expr) -> bool {
    match condition {
        Expr::BinaryExpr(binary) if binary.op == Operator::And => {
            leaves_most(&binary.left) && leaves_most(&binary.right)
        }
        Expr::BinaryExpr(binary) => binary.op == Operator::NotEq,
        Expr::IsNotNull(_) => true,
        Expr::InList(list) => list.negated,
        _ => false,
    }
}

fn before(
    aggregate: &Aggregate,
    sides: &Sides<'_>,
    calls: &[Call<'_>],
    groups: Vec<Expr>,
    inputs: Vec<Expr>,
) -> Result<LogicalPlan> {
    let input = |number: usize| format!("__in_{number}");
    let part = |number: usize| format!("__part_{number}");
    let column = |name: String| Expr::Column(Column::new_unqualified(name));
    let inputs = inputs.into_iter().enumerate().map(|(number, of)| of.alias(input(number)));
    let parts: Vec<Expr> =
        (0..).zip(calls).map(|(number, call)| call.of.first(column(input(number))).alias(part(number))).collect();
    let key = Expr::Column(Column::new_unqualified(KEY));
    let facts = LogicalPlanBuilder::from(sides.facts.as_ref().clone())
        .project(std::iter::once(Expr::Column(sides.facts_key.clone()).alias(KEY)).chain(inputs))?
        .aggregate(vec![key.clone()], parts)?;
    let keys = (vec![Column::new_unqualified(KEY)], vec![sides.people_key.clone()]);
    let joined = facts.join(sides.people.as_ref().clone(), JoinType::Inner, keys, None)?;
    let names = aggregate.group_expr.iter().zip(groups).map(|(was, now)| {
        let now = if is_key(sides.facts, &sides.facts_key, &now) { key.clone() } else { now };
        let name = was.schema_name().to_string();
        now.alias(name)
    });
    let parts = (0..calls.len()).map(|number| column(part(number)));
    let totals: Vec<Expr> =
        (0..).zip(calls).map(|(number, call)| call.of.then(column(part(number))).alias(call.name)).collect();
    let again: Vec<Expr> = aggregate.group_expr.iter().map(|was| column(was.schema_name().to_string())).collect();
    let totals = joined.project(names.chain(parts))?.aggregate(again, totals)?.build()?;
    // A count is never NULL, and the columns keep their qualifiers.
    let fields = aggregate.schema.iter().enumerate().map(|(at, (qualifier, field))| -> Result<Expr> {
        let column = Expr::Column(Column::from(totals.schema().qualified_field(at)));
        let call = at.checked_sub(aggregate.group_expr.len()).and_then(|number| calls.get(number));
        let column = match call.map(|call| call.of) {
            Some(How::Count) => when(column.clone().is_null(), lit(0_i64)).otherwise(column)?,
            Some(How::Sum | How::BoolOr) | None => column,
        };
        Ok(column.alias_qualified(qualifier.cloned(), field.name()))
    });
    let fields = fields.collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(totals).project(fields)?.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::compute::concat_batches;
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::functions_aggregate::expr_fn::{max, sum_distinct};
    use datafusion::prelude::{SessionContext, col};
    use proptest::prelude::*;

    /// Person, value; person, attribute.
    type Facts = Vec<(Option<i64>, Option<i64>)>;
    type People = Vec<(Option<i64>, Option<u8>)>;

    fn session(facts: &Facts, people: &People) -> SessionContext {
        let numbers = |of: &mut dyn Iterator<Item = Option<i64>>| -> ArrayRef { Arc::new(of.collect::<Int64Array>()) };
        let facts = RecordBatch::try_from_iter_with_nullable([
            ("u", numbers(&mut facts.iter().map(|fact| fact.0)), true),
            ("x", numbers(&mut facts.iter().map(|fact| fact.1)), true),
        ]);
        let names: StringArray = people.iter().map(|person| person.1.map(|k| format!("k{k}"))).collect();
        let people = RecordBatch::try_from_iter_with_nullable([
            ("u", numbers(&mut people.iter().map(|person| person.0)), true),
            ("k", Arc::new(names) as ArrayRef, true),
        ]);
        let session = SessionContext::new();
        session.register_batch("facts", facts.unwrap()).unwrap();
        session.register_batch("people", people.unwrap()).unwrap();
        session
    }

    /// Calls by group and person over the facts and their people, as the private plan has them.
    async fn plan(session: &SessionContext, calls: Vec<Expr>, person: &str, joined: &str) -> LogicalPlan {
        let rows = format!(
            "SELECT p.k AS __k0, {person} AS __u, f.x + 1 AS __x0, 1 AS __x1, f.x > 2 AS __x2 FROM facts f {joined}"
        );
        let rows = session.sql(&rows).await.unwrap().into_optimized_plan().unwrap();
        let plan = LogicalPlanBuilder::from(rows).aggregate(vec![col("__k0"), col("__u")], calls).unwrap();
        session.state().optimize(&plan.build().unwrap()).unwrap()
    }

    async fn answer(session: &SessionContext, plan: &LogicalPlan) -> String {
        let physical = session.state().query_planner().create_physical_plan(plan, &session.state()).await.unwrap();
        let schema = physical.schema();
        let batches = datafusion::physical_plan::collect(physical, session.task_ctx()).await.unwrap();
        let all = concat_batches(&schema, &batches).unwrap();
        let mut lines: Vec<String> =
            pretty_format_batches(&[all]).unwrap().to_string().lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    }

    const JOIN: &str = "JOIN people p ON f.u = p.u";

    fn calls() -> [Vec<Expr>; 3] {
        let [a, b, c] = [col("__x0"), col("__x1"), col("__x2")];
        [
            vec![sum(a.clone()).alias("a"), count(a).alias("b")],
            vec![count(b.clone()).alias("a")],
            vec![bool_or(c).alias("a"), count(b.clone()).alias("b"), sum(b).alias("c")],
        ]
    }

    fn rows(most: usize) -> impl Strategy<Value = Vec<(Option<i64>, Option<i64>)>> {
        let number = || prop::option::weighted(0.9, 0..8_i64);
        prop::collection::vec((number(), number()), 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Several rows a person among the people, NULL keys, and persons on one side only.
        #[test]
        fn before_and_after_the_join_are_one(facts in rows(60), people in rows(12)) {
            let people: People = people.into_iter().map(|(u, k)| (u, k.map(|k| k as u8 % 3))).collect();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let session = session(&facts, &people);
                for calls in calls() {
                    for (person, joined) in [
                        ("f.u", JOIN.to_owned()),
                        ("f.u", format!("{JOIN} WHERE p.k <> 'k1' AND f.x < 6")),
                        ("p.u", JOIN.to_owned()),
                        ("p.w", "JOIN (SELECT u, k, u AS w FROM people) p ON f.u = p.u".to_owned()),
                    ] {
                        let after = plan(&session, calls.clone(), person, &joined).await;
                        let before = eager(after.clone()).unwrap();
                        assert!(before.display_indent().to_string().contains("__part_0"), "{after}");
                        assert_eq!(before.schema().field_names(), after.schema().field_names());
                        assert_eq!(answer(&session, &before).await, answer(&session, &after).await, "{before}");
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn what_cannot_or_should_not_go_below_stays() {
        let session = session(&vec![(Some(1), Some(2))], &vec![(Some(1), Some(1))]);
        let sum_of = || vec![sum(col("__x0")).alias("a")];
        for (calls, joined) in [
            (sum_of(), format!("{JOIN} WHERE p.k = 'k1'")),
            (sum_of(), format!("LEFT {JOIN}")),
            (sum_of(), format!("{JOIN} AND f.x > length(p.k)")),
            (sum_of(), "JOIN (SELECT DISTINCT u, k FROM people) p ON f.u = p.u".to_owned()),
            (vec![sum_distinct(col("__x0")).alias("a")], JOIN.to_owned()),
            (vec![max(col("__x0")).alias("a")], JOIN.to_owned()),
            (vec![count(col("__k0")).alias("a")], JOIN.to_owned()),
        ] {
            let plan = plan(&session, calls, "f.u", &joined).await;
            assert_eq!(eager(plan.clone()).unwrap(), plan, "{joined}");
        }
    }
}
