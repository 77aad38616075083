//! At most M groups a person: the logical node. Its physical half is [`BoundGroupsExec`].
//!
//! In: rows of (person, group, …), one a person and group. Out: the same rows, for each person at
//! most `max_groups` of them, chosen uniformly at random and independently of the data. Must never:
//! let a predicate below it, which would change which rows compete; choose by order of arrival.
//!
//! **Sensitivity** one person reaches at most M groups in the output: L2 grows by √M. **Noise**
//! none; the choice is fresh randomness. **Cost** none. **Source** Wilson et al. 2020, section 3
//! ("bounded user contribution").
//!
//! A row without a person (NULL) counts as one person, the nobody: all such rows together reach at
//! most M groups.

mod exec;

pub use exec::BoundGroupsExec;

use datafusion::common::{Column, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Keeps at most `max_groups` rows a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BoundGroups {
    input: LogicalPlan,
    person: Expr,
    max_groups: u64,
}

impl BoundGroups {
    /// `person` is a column of `input`.
    pub fn try_new(input: LogicalPlan, person: Expr, max_groups: u64) -> Result<Self> {
        let Expr::Column(column) = &person else {
            return plan_err!("bound groups: the person key must be a column");
        };
        let index = input.schema().index_of_column(column)?;
        let person = Expr::Column(Column::from(input.schema().qualified_field(index)));
        if max_groups == 0 {
            return plan_err!("bound groups: a person must be allowed one group");
        }
        Ok(Self { input, person, max_groups })
    }

    /// As a node of a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub fn person(&self) -> &Expr {
        &self.person
    }

    pub fn max_groups(&self) -> u64 {
        self.max_groups
    }

    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }
}

impl PartialOrd for BoundGroups {
    /// No order beyond equality.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for BoundGroups {
    fn name(&self) -> &str {
        "BoundGroups"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.person.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "BoundGroups: person={}, max_groups={}", self.person, self.max_groups)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (<[Expr; 1]>::try_from(exprs), <[LogicalPlan; 1]>::try_from(inputs)) {
            (Ok([person]), Ok([input])) => Self::try_new(input, person, self.max_groups),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => {
                plan_err!("bound groups has one person key and one input")
            }
        }
    }

    /// What is asked for; the optimiser adds the person key, as it does for every expression of a
    /// node.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
