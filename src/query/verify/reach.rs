//! Which columns of a plan find a row of a protected table by its unique key: rows that find the same row have one person.
//!
//! Law: where a column is said to find a row of table `t` by key `k`, and there is a row of `t` whose `k` has the column's value,
//! that row belongs to the person of the plan's row. It holds of a scan of `t` itself where `k` was found unique, and of a scan
//! of a table that is linked through `k`; operators that keep rows of one person apart keep it, `owner` proves that they do.

use std::collections::BTreeSet;

use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator, TableScan};
use paravent_udfs::BoundGroups;

use crate::policy::Access;
use crate::query::context::{Context, Source, SourceKind};

/// A column, and the table and key by which it finds a row.
type Finds<'a> = BTreeSet<(Column, &'a str, &'a str)>;

/// Does the join pair rows of one person only, because both sides find the same row?
pub(super) fn same_person(context: &Context, join: &Join) -> bool {
    if join.null_equality != NullEquality::NullEqualsNothing {
        return false;
    }
    let (left, right) = (finds(context, &join.left), finds(context, &join.right));
    let paired = join.on.iter().any(|(a, b)| meet(a, &left, b, &right));
    paired
        || join.filter.iter().flat_map(split_conjunction).any(|part| match part {
            Expr::BinaryExpr(binary) if binary.op == Operator::Eq => {
                meet(&binary.left, &left, &binary.right, &right) || meet(&binary.right, &left, &binary.left, &right)
            }
            _ => false,
        })
}

fn meet(a: &Expr, left: &Finds, b: &Expr, right: &Finds) -> bool {
    of(a, left).any(|(_, table, key)| of(b, right).any(|(_, other, by)| table == other && key == by))
}

/// What an expression finds: a column, at most renamed or widened.
fn of<'a, 'f>(expression: &Expr, finds: &'f Finds<'a>) -> impl Iterator<Item = &'f (Column, &'a str, &'a str)> {
    let wanted = column(expression).cloned();
    finds.iter().filter(move |(found, ..)| wanted.as_ref() == Some(found))
}

fn column(expression: &Expr) -> Option<&Column> {
    use arrow::datatypes::DataType::{Int64, LargeUtf8, Utf8, Utf8View};
    match expression {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column(&alias.expr),
        // To the widest integer and between text types: different values stay different, whatever their type was.
        Expr::Cast(cast) if matches!(cast.field.data_type(), Int64 | Utf8 | LargeUtf8 | Utf8View) => column(&cast.expr),
        _ => None,
    }
}

fn finds<'a>(context: &'a Context, plan: &LogicalPlan) -> Finds<'a> {
    let renamed = |below: Finds<'a>, expressions: &[Expr]| -> Finds<'a> {
        let at = |index: usize| Column::from(plan.schema().qualified_field(index));
        let places = expressions.iter().enumerate();
        places.flat_map(|(i, e)| of(e, &below).map(move |(_, t, k)| (at(i), *t, *k)).collect::<Vec<_>>()).collect()
    };
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(context, scan),
        LogicalPlan::Filter(filter) => finds(context, &filter.input),
        LogicalPlan::Sort(sort) => finds(context, &sort.input),
        LogicalPlan::Projection(projection) => renamed(finds(context, &projection.input), &projection.expr),
        LogicalPlan::Aggregate(aggregate) => renamed(finds(context, &aggregate.input), &aggregate.group_expr),
        LogicalPlan::SubqueryAlias(alias) => {
            let below = alias.input.schema();
            let columns: Vec<Expr> =
                (0..below.fields().len()).map(|i| Expr::Column(Column::from(below.qualified_field(i)))).collect();
            renamed(finds(context, &alias.input), &columns)
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => finds(context, &join.left),
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => finds(context, &join.right),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                finds(context, &join.left).into_iter().chain(finds(context, &join.right)).collect()
            }
        },
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<BoundGroups>() {
            Some(bound) => finds(context, bound.input()),
            None => Finds::new(),
        },
        LogicalPlan::Window(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => Finds::new(),
    }
}

fn of_scan<'a>(context: &'a Context, scan: &TableScan) -> Finds<'a> {
    let Some(Source { kind: SourceKind::Protected(name), .. }) = scan.source.downcast_ref::<Source>() else {
        return Finds::new();
    };
    let Some(known) = context.tables.get(name) else { return Finds::new() };
    let column = |name: &str| Column::new(Some(scan.table_name.clone()), name);
    let single = known.proven_keys.iter().filter_map(|key| match key.columns.as_slice() {
        [only] => Some((column(only), known.table.name.as_str(), only.as_str())),
        _ => None,
    });
    let linked = match &known.table.access {
        Access::Linked { by, .. } => Some((column(&by.column), by.table.as_str(), by.key.as_str())),
        Access::Protected { .. } | Access::Unclassified | Access::Public | Access::Directory => None,
    };
    single.chain(linked).filter(|(column, ..)| scan.projected_schema.has_column(column)).collect()
}
