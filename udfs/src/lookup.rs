//! Rows find whose they are in a table, without being moved.
//!
//! A linked table's rows reach their person through the unique key of another table: the private plan joins that key, called
//! [`KEY`], and the person. The engine's join cuts both sides by the key, hashes, and copies every column of every row, for one column
//! that is new. Here the key's table is read once into an array by the distance from the least key, or a hash table where keys are far
//! from one another, and rows pass by it as they come: their columns go on as they are, and the person's stands beside them.
//!
//! So are rows marked that a subquery names (`IN (SELECT … GROUP BY …)` as a profile): the engine's join would hold the rows and let the
//! subquery's few pass by.
//!
//! In: an optimised plan. Out: one with equal rows. Must never: take a key for unique: people may call a column of theirs [`KEY`], and
//! whether a question fails would tell of its values. A key that comes more than once is joined as often.
//!
//! Whether a row finds its person shows nowhere but in the rows that go on, as in the engine's join.

mod exec;
mod table;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, DFSchemaRef, JoinType, NullEquality, Result, internal_err, plan_err};
use datafusion::logical_expr::{Expr, Extension, Join, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use exec::LookupExec;

/// What the private plan calls the unique key that rows find their person by.
const KEY: &str = "__key";

/// The logical node: an inner, semi or mark join on one key. One side is a table that is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lookup {
    sides: Sides,
    /// The join's.
    schema: DFSchemaRef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    Left,
    Right,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sides {
    left: LogicalPlan,
    right: LogicalPlan,
    /// Where the key is, on either side.
    keys: [usize; 2],
    /// Which side is held.
    table: Which,
    gives: Gives,
}

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gives {
    /// Of a row that finds its key: the row and what stands beside the key.
    Both,
    /// Of a row that finds its key: the row.
    Row,
    /// Of every row: the row, and whether it finds its key.
    Mark,
}

/// `plan` with lookups in the place of joins by [`KEY`] and of marks. Not to be optimised further.
pub(crate) fn lookups(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = node else { return Ok(Transformed::no(node)) };
        Ok(match sides(&join) {
            Some(sides) => {
                let node = Lookup { sides, schema: join.schema };
                Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
            }
            None => Transformed::no(LogicalPlan::Join(join)),
        })
    })
    .data()
}

fn sides(join: &Join) -> Option<Sides> {
    let [(Expr::Column(left), Expr::Column(right))] = join.on.as_slice() else { return None };
    let plain = join.filter.is_none() && join.null_equality == NullEquality::NullEqualsNothing && !join.null_aware;
    let place = |side: &LogicalPlan, key: &Column| {
        let at = side.schema().maybe_index_of_column(key)?;
        Some((at, side.schema().field(at).data_type().clone()))
    };
    let ((left_at, left_type), (right_at, right_type)) = (place(&join.left, left)?, place(&join.right, right)?);
    let (left_is_key, right_is_key) = (left.name == KEY, right.name == KEY);
    let (table, gives) = match join.join_type {
        JoinType::Inner if left_is_key => (Which::Left, Gives::Both),
        JoinType::Inner if right_is_key => (Which::Right, Gives::Both),
        JoinType::LeftSemi if right_is_key => (Which::Right, Gives::Row),
        JoinType::RightSemi if left_is_key => (Which::Left, Gives::Row),
        JoinType::LeftMark if is_grouped(&join.right) => (Which::Right, Gives::Mark),
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftMark => return None,
        JoinType::Left | JoinType::Right | JoinType::Full => return None,
        JoinType::LeftAnti | JoinType::RightAnti | JoinType::RightMark => return None,
    };
    (plain && left_type == right_type && is_whole(&left_type)).then(|| Sides {
        left: join.left.as_ref().clone(),
        right: join.right.as_ref().clone(),
        keys: [left_at, right_at],
        table,
        gives,
    })
}

/// Are these groups, and so mostly few, whatever they are of?
fn is_grouped(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(projection) => is_grouped(&projection.input),
        LogicalPlan::Filter(filter) => is_grouped(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => is_grouped(&alias.input),
        _ => false,
    }
}

/// Whole numbers of at most 64 bits with a sign.
fn is_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int64
            | DataType::Int32
            | DataType::Int16
            | DataType::Int8
            | DataType::UInt32
            | DataType::UInt16
            | DataType::UInt8
    )
}

impl Lookup {
    pub(crate) fn exec(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = inputs else { return internal_err!("a lookup has two inputs") };
        let Sides { keys, table, gives, .. } = self.sides;
        Ok(Arc::new(LookupExec::new([Arc::clone(left), Arc::clone(right)], keys, table, gives)))
    }
}

impl PartialOrd for Lookup {
    /// No order beyond equality.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Lookup {
    fn name(&self) -> &str {
        "Lookup"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.sides.left, &self.sides.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Lookup: {:?} is held", self.sides.table)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 2]>::try_from(inputs) {
            Ok([left, right]) if exprs.is_empty() => {
                Ok(Self { sides: Sides { left, right, ..self.sides.clone() }, schema: Arc::clone(&self.schema) })
            }
            Ok(_) | Err(_) => plan_err!("a lookup has two inputs and no expression"),
        }
    }
}

#[cfg(test)]
mod tests;
