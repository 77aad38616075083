//! The logical node of a release.
//!
//! In: a plan whose columns are group keys and unreleased values. Out: measured rows. Keeps all its
//! input columns, in order, since the spec names them by position. Must never: let a predicate, a
//! projection or a limit change what lies below it.
//!
//! One hole is DataFusion's: `push_down_filter` moves predicates *without column references* below
//! any extension node (the node is not asked). Such a predicate cannot see data, but it would run
//! on unreleased rows; a server plans and runs each release by itself, with nothing above.

use super::spec::ReleaseSpec;
use arrow::datatypes::Schema;
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A release over the groups of its input. Made by [`Release::try_new`], which checks the spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    input: LogicalPlan,
    spec: Arc<ReleaseSpec>,
    schema: DFSchemaRef,
}

impl Release {
    pub fn try_new(input: LogicalPlan, spec: ReleaseSpec) -> Result<Self> {
        Self::over(input, Arc::new(spec))
    }

    fn over(input: LogicalPlan, spec: Arc<ReleaseSpec>) -> Result<Self> {
        spec.check(input.schema().as_arrow())?;
        let keys = input.schema().iter().take(spec.keys);
        let keys = keys.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
        let values = spec.measured_fields().into_iter().map(|field| (None, Arc::new(field)));
        let schema = DFSchema::new_with_metadata(keys.chain(values).collect(), Default::default())?;
        Ok(Self { input, spec, schema: Arc::new(schema) })
    }

    /// As a node of a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub fn spec(&self) -> &Arc<ReleaseSpec> {
        &self.spec
    }

    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    fn input_schema(&self) -> &Schema {
        self.input.schema().as_arrow()
    }
}

impl PartialOrd for Release {
    /// Releases have no order beyond equality.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Release {
    fn name(&self) -> &str {
        "Release"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Release: {}", self.spec.describe(self.input_schema()))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) if exprs.is_empty() => Self::over(input, Arc::clone(&self.spec)),
            Ok(_) | Err(_) => plan_err!("a release has one input and no expressions"),
        }
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input_schema().fields().len()).collect()])
    }
}
