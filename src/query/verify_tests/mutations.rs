//! Good plans, spoiled at random: one change of a literal, a column, an operator, a measurement or a price.
//!
//! Whether a change is harm is not decided here: `release::laws` runs what the verifier accepts.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::logical_expr::{Aggregate, Expr, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, col, lit};
use paravent_udfs::{AdditiveNoise, BoundGroups, DiscreteLaplace, Gaussian, Release, Rho, What};

use super::dice::Dice;
use super::private;
use crate::query::private::Private;
use crate::query::{Context, Verified, verify};

/// The verifier's answer to `sql` with one random change; `None` where the change cannot be made.
pub(crate) fn mutated(sql: &str, seed: u64) -> Option<(String, crate::error::Result<Verified>)> {
    let mut dice = Dice::new(seed);
    let (context, mut private) = private(sql).ok()?;
    let what = if dice.one_in(4) {
        spoil_numbers(&mut dice, &mut private)?
    } else {
        spoil_plan(&mut dice, &context, &mut private)?
    };
    Some((what, verify(&context, private)))
}

fn spoil_numbers(dice: &mut Dice, private: &mut Private) -> Option<String> {
    let release = &mut private.releases[0];
    let input = crate::query::verify::root(&release.plan)?.input().clone();
    let at = dice.below(release.spec.measurements.len());
    let change = dice.below(7);
    match change {
        0 | 1 => {
            let (up, down) = dice.one_of(&[&(1_u64, 2_u64), &(99, 100), &(2, 1), &(1, 1000)]);
            let noise = &mut release.spec.measurements[at].noise;
            *noise = match *noise {
                AdditiveNoise::Gaussian(gaussian) => {
                    let (numerator, denominator) = gaussian.variance();
                    let numerator = numerator * u128::from(*up) / u128::from(*down);
                    Gaussian::with_variance(numerator, denominator).ok()?.into()
                }
                AdditiveNoise::Laplace(laplace) => {
                    let scale = laplace.scale() * *up as f64 / *down as f64;
                    DiscreteLaplace::with_scale((scale * 1024.0) as u64, 1024).ok()?.into()
                }
            };
        }
        2 => release.facts.rho = Rho::new(release.facts.rho.get() * [0.5, 0.999, 1.5][dice.below(3)]).ok()?,
        3 => {
            let words = [What::Word(0), What::Word(1), What::Word(2), What::TWO_COUNTS];
            release.spec.measurements[at].what = words[dice.below(4)];
        }
        4 => release.spec.measurements[at].column = release.spec.keys + dice.below(3),
        5 => {
            let again = release.spec.measurements[at].clone();
            release.spec.measurements.push(again);
        }
        _ => release.facts.max_groups = 1 + dice.below(3) as u64,
    }
    release.plan = Release::try_new(input, release.spec.clone()).ok()?.into_plan();
    Some(format!("numbers, change {change}"))
}

fn spoil_plan(dice: &mut Dice, context: &Context, private: &mut Private) -> Option<String> {
    let release = &mut private.releases[0];
    let input = crate::query::verify::root(&release.plan)?.input().clone();
    let mut nodes = 0;
    input
        .apply(|_| {
            nodes += 1;
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })
        .ok()?;
    let (wanted, mut seen, mut what) = (dice.below(nodes), 0, None);
    let changed = input.transform_up(|node| {
        let node = node.recompute_schema()?;
        seen += 1;
        if seen - 1 != wanted {
            return Ok(Transformed::yes(node));
        }
        let name = node.display().to_string();
        Ok(match spoil_node(dice, context, &node) {
            Some(other) => {
                what = Some(format!("{name} became {}", other.display()));
                Transformed::yes(other)
            }
            None => Transformed::yes(node),
        })
    });
    let changed = changed.ok()?.data;
    release.plan = Release::try_new(changed, release.spec.clone()).ok()?.into_plan();
    what
}

fn spoil_node(dice: &mut Dice, context: &Context, node: &LogicalPlan) -> Option<LogicalPlan> {
    if dice.one_in(3) {
        return wrapped(dice, context, node);
    }
    match node {
        LogicalPlan::Join(join) if dice.one_in(2) => spoil_join(dice, join),
        LogicalPlan::Aggregate(aggregate) if dice.one_in(2) => spoil_aggregate(dice, aggregate),
        LogicalPlan::Extension(extension) => {
            let bound = extension.node.as_any().downcast_ref::<BoundGroups>()?;
            match dice.below(3) {
                0 => Some(bound.input().clone()),
                1 => {
                    let groups = bound.max_groups() + 1 - dice.below(3) as u64;
                    Some(BoundGroups::try_new(bound.input().clone(), bound.person().clone(), groups).ok()?.into_plan())
                }
                _ => {
                    let columns = bound.input().schema().columns();
                    let person = Expr::Column(columns[dice.below(columns.len())].clone());
                    Some(BoundGroups::try_new(bound.input().clone(), person, bound.max_groups()).ok()?.into_plan())
                }
            }
        }
        LogicalPlan::Filter(filter) if dice.one_in(2) => Some(filter.input.as_ref().clone()),
        _ => spoil_expressions(dice, node),
    }
}

/// One literal or column of the node's expressions becomes another.
fn spoil_expressions(dice: &mut Dice, node: &LogicalPlan) -> Option<LogicalPlan> {
    let expressions = node.expressions();
    let inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
    let mut parts = 0;
    for expression in &expressions {
        let _ = expression.apply(|part| {
            parts += usize::from(matches!(part, Expr::Literal(..) | Expr::Column(_)));
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        });
    }
    let (wanted, mut seen) = (dice.below(parts.max(1)), 0);
    let columns: Vec<_> = inputs.iter().flat_map(|input| input.schema().columns()).collect();
    let changed: Result<Vec<Expr>, _> = expressions
        .into_iter()
        .map(|expression| {
            let name = expression.qualified_name();
            let changed = expression.transform_up(|part| {
                let chosen = matches!(part, Expr::Literal(..) | Expr::Column(_)) && {
                    seen += 1;
                    seen - 1 == wanted
                };
                Ok(match part {
                    Expr::Literal(value, _) if chosen => Transformed::yes(lit(other_value(dice, &value))),
                    Expr::Column(_) if chosen && !columns.is_empty() => {
                        Transformed::yes(Expr::Column(columns[dice.below(columns.len())].clone()))
                    }
                    part => Transformed::no(part),
                })
            })?;
            let expression = changed.data;
            let renamed = expression.qualified_name() != name
                && matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_));
            Ok::<Expr, datafusion::error::DataFusionError>(if renamed {
                expression.unalias().alias_qualified(name.0, name.1)
            } else {
                expression
            })
        })
        .collect();
    node.with_new_exprs(changed.ok()?, inputs).ok()
}

fn other_value(dice: &mut Dice, value: &ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Int64(Some(number)) => ScalarValue::Int64(Some(
            dice.one_of(&[&(number + 1), &(number - 1), &(number.saturating_mul(10)), &0, &-1, &1]).to_owned(),
        )),
        ScalarValue::Float64(Some(number)) => ScalarValue::Float64(Some(
            dice.one_of(&[&(number * 2.0), &(number / 2.0), &-number, &0.0, &1e6]).to_owned(),
        )),
        ScalarValue::Boolean(Some(truth)) => ScalarValue::Boolean(Some(!truth)),
        other => ScalarValue::try_new_null(&other.data_type()).unwrap_or(ScalarValue::Null),
    }
}

fn spoil_join(dice: &mut Dice, join: &Join) -> Option<LogicalPlan> {
    let kinds = [JoinType::Inner, JoinType::Left, JoinType::Right, JoinType::Full];
    let kind = if dice.one_in(2) { kinds[dice.below(4)] } else { join.join_type };
    let mut on = join.on.clone();
    if dice.one_in(2) && !on.is_empty() {
        on.remove(dice.below(on.len()));
    }
    let filter = join.filter.clone().filter(|_| !dice.one_in(3));
    let (left, right) = (join.left.clone(), join.right.clone());
    let joined = Join::try_new(left, right, on, filter, kind, JoinConstraint::On, join.null_equality, join.null_aware);
    joined.ok().map(LogicalPlan::Join)
}

fn spoil_aggregate(dice: &mut Dice, aggregate: &Aggregate) -> Option<LogicalPlan> {
    let mut keys = aggregate.group_expr.clone();
    let lost = keys.remove(dice.below(keys.len().max(1)).min(keys.len().checked_sub(1)?));
    let mut calls = aggregate.aggr_expr.clone();
    // The column stays, as somebody's.
    let name = lost.qualified_name();
    calls.push(datafusion::functions_aggregate::expr_fn::max(lost.unalias()).alias_qualified(name.0, name.1));
    Aggregate::try_new(aggregate.input.clone(), keys, calls).ok().map(LogicalPlan::Aggregate)
}

/// Under another operator.
fn wrapped(dice: &mut Dice, context: &Context, node: &LogicalPlan) -> Option<LogicalPlan> {
    let columns = node.schema().columns();
    let any = Expr::Column(columns[dice.below(columns.len().max(1)).min(columns.len().checked_sub(1)?)].clone());
    let plan = LogicalPlanBuilder::from(node.clone());
    let all: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    let made = match dice.below(7) {
        0 => plan.limit(0, Some(3)),
        1 => plan.distinct(),
        2 => plan.sort_with_limit(vec![any.sort(true, false)], Some(4)),
        3 => plan.filter(any.is_not_null()),
        4 => {
            let calendar = super::hand::public(context, "calendar").build().ok()?;
            plan.cross_join(calendar).and_then(|plan| plan.project(all))
        }
        5 => {
            let mails = super::hand::protected(context, "mail").alias("others").ok()?;
            let ids = mails
                .aggregate(Vec::<Expr>::new(), vec![datafusion::functions_aggregate::expr_fn::max(col("others.size"))]);
            plan.cross_join(ids.ok()?.build().ok()?).and_then(|plan| plan.project(all))
        }
        _ => plan.clone().union(plan.build().ok()?),
    };
    made.and_then(LogicalPlanBuilder::build).ok()
}
