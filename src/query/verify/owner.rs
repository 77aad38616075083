//! Proves that every row under a release belongs to one person, by following the person keys up from the tables.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan, Operator, TableScan, Union, Unnest};
use paravent_udfs::BoundGroups;

use super::{reach, unproven};
use crate::error::{Error, Result};
use crate::policy::Access;
use crate::query::context::{Context, Source, SourceKind};

/// Whose rows a plan gives.
enum Owner {
    Nobody,
    Person(Keys),
    /// One person a row, or none: whose it is, only the join with the row that it refers to will say.
    Unmet,
}

/// The columns that hold the person's key, as far as they are still there.
#[derive(Default)]
struct Keys {
    /// In every row.
    always: BTreeSet<Column>,
    /// Of a full join: the left side's or the right side's, each NULL where that side is missing. Neither is a key by itself.
    either: Option<(BTreeSet<Column>, BTreeSet<Column>)>,
}

impl Keys {
    fn renamed(&self, rename: impl Fn(&Column) -> Vec<Column>) -> Self {
        let all = |columns: &BTreeSet<Column>| columns.iter().flat_map(&rename).collect::<BTreeSet<_>>();
        Self { always: all(&self.always), either: self.either.as_ref().map(|(l, r)| (all(l), all(r))) }
    }
}

/// The states' own input must be rows of one person each.
pub(super) fn verify(context: &Context, states: &Aggregate) -> Result<()> {
    let unreleased = states.aggr_expr.iter().all(|call| call.to_string().starts_with("dp_"));
    if !unreleased || states.group_expr.iter().any(has_subquery) {
        return Err(unproven("a released aggregate that is not one of ours"));
    }
    match owner(context, &states.input)? {
        Owner::Person(_) => Ok(()),
        Owner::Nobody if reads_nothing(&states.input) => Ok(()),
        Owner::Nobody => Err(unproven("a release of public rows")),
        Owner::Unmet => Err(unproven("rows that were never joined to their person")),
    }
}

/// Every row is of the person whose key stands in this column.
pub(super) fn verify_rows(context: &Context, plan: &LogicalPlan, column: usize) -> Result<()> {
    if reads_nothing(plan) {
        return Ok(());
    }
    if column >= plan.schema().fields().len() {
        return Err(unproven("rows without their person"));
    }
    let key = Column::from(plan.schema().qualified_field(column));
    match owner(context, plan)? {
        Owner::Person(keys) if keys.always.contains(&key) => Ok(()),
        Owner::Person(_) | Owner::Nobody | Owner::Unmet => Err(unproven("rows whose person is not known")),
    }
}

/// What the optimiser leaves of a predicate that is never true: `WHERE 1 = 0`.
pub(super) fn reads_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => !empty.produce_one_row,
        _ => !plan.inputs().is_empty() && plan.inputs().into_iter().all(reads_nothing),
    }
}

fn owner(context: &Context, plan: &LogicalPlan) -> Result<Owner> {
    if plan.expressions().iter().any(has_subquery) {
        return Err(unproven("a subquery below a release"));
    }
    let only_nobody = |what: &str| -> Result<Owner> {
        for input in plan.inputs() {
            match owner(context, input)? {
                Owner::Nobody => {}
                Owner::Person(_) | Owner::Unmet => return Err(unproven(what)),
            }
        }
        Ok(Owner::Nobody)
    };
    match plan {
        LogicalPlan::TableScan(scan) => scan_owner(context, scan),
        LogicalPlan::Filter(filter) => owner(context, &filter.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => owner(context, &sort.input),
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => only_nobody("a limit over rows of persons"),
        LogicalPlan::Projection(projection) => {
            let below = owner(context, &projection.input)?;
            Ok(renamed(below, plan, &projection.expr))
        }
        LogicalPlan::SubqueryAlias(alias) => match owner(context, &alias.input)? {
            Owner::Nobody => Ok(Owner::Nobody),
            Owner::Unmet => Ok(Owner::Unmet),
            Owner::Person(keys) => Ok(Owner::Person(keys.renamed(|key| {
                let index = alias.input.schema().maybe_index_of_column(key);
                index.map(|i| Column::from(plan.schema().qualified_field(i))).into_iter().collect()
            }))),
        },
        LogicalPlan::Aggregate(aggregate) => aggregate_owner(context, plan, aggregate),
        LogicalPlan::Join(join) => join_owner(context, join),
        LogicalPlan::Extension(extension) => {
            let bound = extension
                .node
                .as_any()
                .downcast_ref::<BoundGroups>()
                .ok_or_else(|| unproven("an unknown operator below a release"))?;
            match owner(context, bound.input())? {
                Owner::Person(keys) if matches!(bound.person(), Expr::Column(c) if keys.always.contains(c)) => {
                    Ok(Owner::Person(keys))
                }
                Owner::Person(_) | Owner::Nobody | Owner::Unmet => {
                    Err(unproven("groups bounded by something other than the person key"))
                }
            }
        }
        LogicalPlan::Distinct(Distinct::All(_) | Distinct::On(_)) => only_nobody("DISTINCT over rows of persons"),
        LogicalPlan::Window(window) => match owner(context, &window.input)? {
            Owner::Nobody => Ok(Owner::Nobody),
            Owner::Unmet => Err(unproven("a window over rows that were never joined to their person")),
            Owner::Person(keys) if window.window_expr.iter().all(|call| stays_with_a_person(call, &keys)) => {
                Ok(Owner::Person(keys))
            }
            Owner::Person(_) => Err(unproven("a window over rows of several persons")),
        },
        LogicalPlan::Union(union) => union_owner(context, plan, union),
        LogicalPlan::Unnest(unnest) => unnest_owner(context, plan, unnest),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(Owner::Nobody),
        LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => Err(unproven("an operator that is not allowed below a release")),
    }
}

/// The person key is among what the function is partitioned by, so that it sees rows of one person at a time.
fn stays_with_a_person(call: &Expr, keys: &Keys) -> bool {
    match call {
        Expr::Alias(alias) => stays_with_a_person(&alias.expr, keys),
        Expr::WindowFunction(function) => function.params.partition_by.iter().any(|part| is_one_of(part, keys)),
        _ => false,
    }
}

/// Rows of persons beside rows of persons, with the key in the same place; or rows of nobody only.
fn union_owner(context: &Context, plan: &LogicalPlan, union: &Union) -> Result<Owner> {
    let mut places: Option<BTreeSet<usize>> = None;
    let mut nobody = false;
    for input in union.inputs.iter().filter(|input| !reads_nothing(input)) {
        match owner(context, input)? {
            Owner::Nobody => nobody = true,
            Owner::Unmet => return Err(unproven("a union of rows that were never joined to their person")),
            Owner::Person(keys) => {
                let here: BTreeSet<usize> =
                    keys.always.iter().filter_map(|key| input.schema().maybe_index_of_column(key)).collect();
                places =
                    Some(places.map_or_else(|| here.clone(), |known| known.intersection(&here).copied().collect()));
            }
        }
    }
    match places {
        None => Ok(Owner::Nobody),
        Some(_) if nobody => Err(unproven("a union of rows of persons with rows of nobody")),
        Some(places) => {
            let always = places.into_iter().map(|i| Column::from(plan.schema().qualified_field(i))).collect();
            Ok(Owner::Person(Keys { always, either: None }))
        }
    }
}

/// The rows that a list makes are its owner's; a key is a key still where it was not itself the list.
fn unnest_owner(context: &Context, plan: &LogicalPlan, unnest: &Unnest) -> Result<Owner> {
    let keys = match owner(context, &unnest.input)? {
        Owner::Person(keys) => keys,
        below @ (Owner::Nobody | Owner::Unmet) => return Ok(below),
    };
    let listed: BTreeSet<usize> =
        unnest.list_type_columns.iter().map(|(i, _)| *i).chain(unnest.struct_type_columns.iter().copied()).collect();
    let schema = unnest.input.schema();
    let always = keys.always.iter().filter_map(|key| schema.maybe_index_of_column(key)).filter(|i| !listed.contains(i));
    let always = always
        .filter_map(|index| unnest.dependency_indices.iter().position(|from| *from == index))
        .map(|i| Column::from(plan.schema().qualified_field(i)))
        .collect();
    Ok(Owner::Person(Keys { always, either: None }))
}

fn scan_owner(context: &Context, scan: &TableScan) -> Result<Owner> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    let SourceKind::Protected(name) = &source.kind else {
        return Ok(Owner::Nobody);
    };
    if scan.fetch.is_some() {
        return Err(unproven("a limit over rows of persons"));
    }
    let known = context.tables.get(name).ok_or_else(Error::internal)?;
    let person_key = match &known.table.access {
        Access::Protected { person_key, .. } => person_key,
        Access::Linked { .. } => return Ok(Owner::Unmet),
        Access::Unclassified | Access::Public | Access::Directory => {
            return Err(unproven("a protected table without a person key"));
        }
    };
    let key = Column::new(Some(scan.table_name.clone()), person_key);
    let always = BTreeSet::from([key]).into_iter().filter(|key| scan.projected_schema.has_column(key)).collect();
    Ok(Owner::Person(Keys { always, either: None }))
}

/// An aggregate below a release keeps its rows apart by person, or has no rows of persons.
fn aggregate_owner(context: &Context, plan: &LogicalPlan, aggregate: &Aggregate) -> Result<Owner> {
    let keys = match owner(context, &aggregate.input)? {
        Owner::Person(keys) => keys,
        Owner::Nobody => return Ok(Owner::Nobody),
        Owner::Unmet => return Err(unproven("an aggregate of rows whose person is not known")),
    };
    let kept: BTreeSet<Column> = aggregate
        .group_expr
        .iter()
        .enumerate()
        .filter(|(_, group)| is_one_of(group, &keys))
        .map(|(index, _)| Column::from(plan.schema().qualified_field(index)))
        .collect();
    if aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_))) || kept.is_empty() {
        return Err(unproven("an aggregate below a release mixes persons"));
    }
    Ok(Owner::Person(Keys { always: kept, either: None }))
}

fn join_owner(context: &Context, join: &Join) -> Result<Owner> {
    let (left, right) = (owner(context, &join.left)?, owner(context, &join.right)?);
    match (left, right) {
        (Owner::Nobody, Owner::Nobody) => Ok(Owner::Nobody),
        (Owner::Person(keys), Owner::Nobody) => match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                Ok(Owner::Person(keys))
            }
            JoinType::Right | JoinType::Full | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                Err(unproven("a join adds rows without a person"))
            }
        },
        (Owner::Nobody, Owner::Person(keys)) => match join.join_type {
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                Ok(Owner::Person(keys))
            }
            JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                Err(unproven("a join adds rows without a person"))
            }
        },
        // As below, where nothing of the found row is handed on: the person is known to be there, and its key is not.
        (Owner::Unmet, Owner::Person(_)) if semi(join, JoinType::LeftSemi) && reach::same_person(context, join) => {
            Ok(Owner::Person(Keys::default()))
        }
        (Owner::Person(_), Owner::Unmet) if semi(join, JoinType::RightSemi) && reach::same_person(context, join) => {
            Ok(Owner::Person(Keys::default()))
        }
        // A row of the person's was found, and with it the person.
        (Owner::Unmet, met @ (Owner::Person(_) | Owner::Unmet)) => match join.join_type {
            JoinType::Inner | JoinType::RightSemi | JoinType::RightAnti if reach::same_person(context, join) => Ok(met),
            _ => Err(unproven("a join before the person is known")),
        },
        (met @ Owner::Person(_), Owner::Unmet) => match join.join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::LeftAnti
                if !join.null_aware && reach::same_person(context, join) =>
            {
                Ok(met)
            }
            _ => Err(unproven("a join before the person is known")),
        },
        (Owner::Unmet, Owner::Nobody) => match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => Ok(Owner::Unmet),
            JoinType::Right
            | JoinType::Full
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark => Err(unproven("a join before the person is known")),
        },
        (Owner::Nobody, Owner::Unmet) => match join.join_type {
            JoinType::Inner | JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => Ok(Owner::Unmet),
            JoinType::Left
            | JoinType::Full
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightMark => Err(unproven("a join before the person is known")),
        },
        (Owner::Person(l), Owner::Person(r)) => {
            let on_key = join.on.iter().any(|(a, b)| is_one_of(a, &l) && is_one_of(b, &r));
            let in_filter = join.filter.iter().flat_map(split_conjunction).any(|part| equates(part, &l, &r));
            if !(on_key || in_filter || reach::same_person(context, join)) {
                return Err(unproven("a join of two persons"));
            }
            if join.null_aware {
                return Err(unproven("one person's NULL would empty another's rows"));
            }
            Ok(Owner::Person(match join.join_type {
                JoinType::Inner => Keys { always: l.always.into_iter().chain(r.always).collect(), either: None },
                JoinType::Full => Keys { always: BTreeSet::new(), either: Some((l.always, r.always)) },
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => l,
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => r,
            }))
        }
    }
}

fn semi(join: &Join, join_type: JoinType) -> bool {
    join.join_type == join_type && !join.null_aware
}

fn equates(part: &Expr, left: &Keys, right: &Keys) -> bool {
    match part {
        Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
            (is_one_of(&binary.left, left) && is_one_of(&binary.right, right))
                || (is_one_of(&binary.left, right) && is_one_of(&binary.right, left))
        }
        _ => false,
    }
}

/// A key column, possibly widened or renamed; of a full join, whichever side is there.
fn is_one_of(expression: &Expr, keys: &Keys) -> bool {
    if let Some((left, right)) = &keys.either
        && is_whichever(expression, left, right)
    {
        return true;
    }
    is_of(expression, &keys.always)
}

fn is_of(expression: &Expr, keys: &BTreeSet<Column>) -> bool {
    match expression {
        Expr::Column(column) => keys.contains(column),
        Expr::Alias(alias) => is_of(&alias.expr, keys),
        Expr::Cast(cast) => is_of(&cast.expr, keys) && widens(cast.field.data_type()),
        Expr::TryCast(cast) => is_of(&cast.expr, keys) && widens(cast.field.data_type()),
        Expr::ScalarFunction(call) => {
            call.func.name() == "coalesce" && call.args.iter().all(|argument| is_of(argument, keys))
        }
        Expr::Case(case) => {
            case.expr.is_none()
                && case.when_then_expr.iter().all(|(_, then)| is_of(then, keys))
                && case.else_expr.as_ref().is_some_and(|otherwise| is_of(otherwise, keys))
        }
        _ => false,
    }
}

/// `coalesce(one side's key, the other's)`, also in the form that the optimiser gives it.
fn is_whichever(expression: &Expr, left: &BTreeSet<Column>, right: &BTreeSet<Column>) -> bool {
    let both = |a: &Expr, b: &Expr| (is_of(a, left) && is_of(b, right)) || (is_of(a, right) && is_of(b, left));
    match expression {
        Expr::Alias(alias) => is_whichever(&alias.expr, left, right),
        Expr::Cast(cast) => is_whichever(&cast.expr, left, right) && widens(cast.field.data_type()),
        Expr::TryCast(cast) => is_whichever(&cast.expr, left, right) && widens(cast.field.data_type()),
        Expr::ScalarFunction(call) => match call.args.as_slice() {
            [a, b] => call.func.name() == "coalesce" && both(a, b),
            _ => false,
        },
        Expr::Case(case) => match (case.when_then_expr.as_slice(), &case.else_expr) {
            ([(when, then)], Some(otherwise)) => {
                let there = matches!(when.as_ref(), Expr::IsNotNull(inner) if inner == then);
                case.expr.is_none() && there && both(then, otherwise)
            }
            _ => false,
        },
        _ => false,
    }
}

/// Only casts to the widest integer and between text types keep two persons apart whatever their type was.
fn widens(to: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType::{Int64, LargeUtf8, Utf8, Utf8View};
    matches!(to, Int64 | Utf8 | LargeUtf8 | Utf8View)
}

fn renamed(below: Owner, plan: &LogicalPlan, expressions: &[Expr]) -> Owner {
    let keys = match below {
        Owner::Person(keys) => keys,
        Owner::Nobody | Owner::Unmet => return below,
    };
    let place = |index: usize| Column::from(plan.schema().qualified_field(index));
    let kept = expressions.iter().enumerate().filter(|(_, e)| is_one_of(e, &keys));
    let always = kept.map(|(index, _)| place(index)).collect();
    let side = |columns: &BTreeSet<Column>| {
        expressions.iter().enumerate().filter(|(_, e)| is_of(e, columns)).map(|(index, _)| place(index)).collect()
    };
    Owner::Person(Keys { always, either: keys.either.as_ref().map(|(l, r)| (side(l), side(r))) })
}

fn has_subquery(expression: &Expr) -> bool {
    let mut found = false;
    let _ = expression.apply(|part| {
        found |=
            matches!(part, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
