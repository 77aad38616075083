//! The private plan of a statement: its releases in order, the plan above them, and what they cost.
//!
//! In: drafts of releases. Out: [`Private`]. The price follows from the plan and the settings alone, never from data: rho of the
//! statement is epsilon^2 / 2, split evenly over its releases and their measurements; delta likewise over the selections.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder};
use paravent_udfs::{CellFloor, Delta, Estimate, Gaussian, Measurement, Output, Release, ReleaseSpec, Rho};

use super::context::{Context, Source, SourceKind};
use super::contributions::{DraftCell, DraftMeasurement, DraftOutput};
use super::facts::built;
use crate::error::{Error, Result, SqlState};
use crate::policy::Bounds;

/// Why a bound on a person's part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A proven key: one row.
    Key,
    /// The group keys depend on the person alone.
    Dependency,
    /// The group keys have declared values, and no more than these.
    Domain,
    /// Declared, and enforced while the query runs.
    Declared,
}

/// A release whose noise is not yet known.
#[derive(Debug)]
pub(super) struct Draft {
    /// Keys, then unreleased states.
    pub plan: LogicalPlan,
    pub keys: usize,
    pub key_names: Vec<String>,
    pub max_groups: u64,
    pub groups_proof: Proof,
    pub cap: Option<u64>,
    pub rows_proof: Proof,
    pub measurements: Vec<DraftMeasurement>,
    pub outputs: Vec<DraftOutput>,
    /// What the query calls the outputs.
    pub labels: Vec<String>,
    pub policies: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    pub person_key: String,
}

/// One release: a plan whose root is the only reader of unreleased values below it.
#[derive(Debug)]
pub struct ReleasePlan {
    pub(super) plan: LogicalPlan,
    pub(super) spec: ReleaseSpec,
    pub(super) facts: ReleaseFacts,
}

/// What a release does, for people: nothing here depends on data.
#[derive(Debug, Clone)]
pub struct ReleaseFacts {
    pub keys: Vec<String>,
    pub tables: BTreeSet<String>,
    pub policies: BTreeSet<String>,
    pub person_key: String,
    pub max_groups: u64,
    pub groups_proof: Proof,
    pub cap: Option<u64>,
    pub rows_proof: Proof,
    pub floor: u64,
    pub threshold: i64,
    pub rho: Rho,
    pub delta: Delta,
    pub columns: Vec<ColumnFacts>,
}

#[derive(Debug, Clone)]
pub struct ColumnFacts {
    pub label: String,
    pub bounds: Option<Bounds>,
    pub masked: bool,
    /// Standard error of the answer, or of its numerator where it is a mean or a share.
    pub sigma: f64,
    /// The answer divides by the persons or rows of a group: its error is about `sigma` over that number.
    pub per_group_size: bool,
}

/// A verified statement is made of this: nothing below a release can be read except by it.
#[derive(Debug)]
pub struct Private {
    pub(super) releases: Vec<ReleasePlan>,
    /// The plan above the releases; reads released and public rows only.
    pub(super) shape: LogicalPlan,
    /// The names that the client will see.
    pub(super) columns: SchemaRef,
}

impl Private {
    pub(super) fn assemble(
        context: &Context,
        drafts: Vec<Draft>,
        shape: LogicalPlan,
        columns: SchemaRef,
    ) -> Result<Self> {
        let parts = drafts.len().max(1) as f64;
        let rho = share(Rho::of_epsilon(context.epsilon).get() / parts, Rho::new)?;
        let delta = share(context.delta.get() / parts, Delta::new)?;
        let releases = drafts.into_iter().map(|draft| draft.priced(context, rho, delta)).collect::<Result<Vec<_>>>()?;
        Ok(Self { releases, shape, columns })
    }
}

fn share<T, E>(value: f64, make: impl Fn(f64) -> std::result::Result<T, E>) -> Result<T> {
    make(value).map_err(|_| Error::internal())
}

impl Draft {
    /// The same question, as when a WITH query is used twice: asked once, paid once, answered alike.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.measurements == other.measurements
            && format!("{:?}", self.outputs) == format!("{:?}", other.outputs)
            && canonical(&self.plan) == canonical(&other.plan)
    }

    /// Where the plan above reads the released rows: keys, then each value with its standard error.
    pub(super) fn released_scan(&self, number: usize) -> Result<LogicalPlan> {
        let keys = (0..self.keys).map(|i| self.plan.schema().field(i).as_ref().clone().with_nullable(true));
        let values = self.outputs.iter().enumerate().flat_map(|(i, output)| {
            [
                Field::new(format!("__o{i}"), output.estimate.data_type(), true),
                Field::new(format!("__o{i}__stddev"), DataType::Float64, true),
            ]
        });
        let schema = Arc::new(Schema::new(keys.chain(values).collect::<Vec<_>>()));
        let source = Arc::new(Source::new(SourceKind::Released(number), schema));
        built(LogicalPlanBuilder::scan(format!("released_{number}"), source, None).and_then(LogicalPlanBuilder::build))
    }

    fn priced(self, context: &Context, rho: Rho, delta: Delta) -> Result<ReleasePlan> {
        let each = share(rho.get() / self.measurements.len() as f64, Rho::new)?;
        let cells = self.outputs.iter().filter(|output| output.cell.is_some()).count();
        let selections = self.max_groups as f64 * (1 + cells) as f64;
        let per_selection = share(delta.get() / selections, Delta::new)?;
        let floor = context.policies.settings.min_group_size;
        let mut measurements = Vec::new();
        for m in &self.measurements {
            let noise = Gaussian::for_sensitivity(m.sensitivity_squared, each).map_err(|_| refuse_scale())?;
            measurements.push(Measurement { column: self.keys + m.state, word: m.word, noise });
        }
        let threshold = |count: usize, cap: u64| -> Result<i64> {
            let noise = measurements.get(count).map(|m| &m.noise).ok_or_else(Error::internal)?;
            let full = i64::try_from(floor.saturating_mul(cap)).map_err(|_| Error::internal())?;
            Ok(full.saturating_add(noise.tail_quantile(per_selection)))
        };
        let mut outputs = Vec::new();
        for (i, draft) in self.outputs.iter().enumerate() {
            let cell = |cell: DraftCell| -> Result<CellFloor> {
                let (column, threshold) = (self.keys + cell.state, threshold(cell.count, cell.cap)?);
                Ok(CellFloor { column, word: cell.word, count: cell.count, threshold })
            };
            let cell = draft.cell.map(cell).transpose()?;
            let (estimate, mask) = (draft.estimate.clone(), draft.mask.clone());
            outputs.push(Output { name: format!("__o{i}"), estimate, mask, cell });
        }
        let threshold = threshold(0, 1)?;
        let columns = self.columns(&measurements);
        let spec = ReleaseSpec { keys: self.keys, floor, threshold, persons: self.keys, measurements, outputs };
        let node = built(Release::try_new(self.plan, spec.clone()))?;
        let facts = ReleaseFacts {
            keys: self.key_names,
            tables: self.tables,
            policies: self.policies,
            person_key: self.person_key,
            max_groups: self.max_groups,
            groups_proof: self.groups_proof,
            cap: self.cap,
            rows_proof: self.rows_proof,
            floor,
            threshold,
            rho,
            delta,
            columns,
        };
        Ok(ReleasePlan { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), spec, facts })
    }

    fn columns(&self, measurements: &[Measurement]) -> Vec<ColumnFacts> {
        let sigma = |index: &usize| match (measurements.get(*index), self.measurements.get(*index)) {
            (Some(noised), Some(draft)) => noised.noise.std_dev() * draft.step,
            (None, _) | (_, None) => f64::NAN,
        };
        self.outputs
            .iter()
            .zip(&self.labels)
            .map(|(output, label)| {
                let (sigma, per_group_size) = match &output.estimate {
                    Estimate::Count { count } => (sigma(count), false),
                    Estimate::Sum { sum, .. } | Estimate::SumInteger { sum, .. } => (sigma(sum), false),
                    Estimate::Mean { sum, .. } | Estimate::Share { sum, .. } => (sigma(sum), true),
                };
                ColumnFacts {
                    label: label.clone(),
                    bounds: output.bounds,
                    masked: output.mask.is_some(),
                    sigma,
                    per_group_size,
                }
            })
            .collect()
    }
}

/// A plan as text in which equal questions are equal. Names of hidden columns carry numbers that keep two uses of a table apart
/// and mean nothing.
pub(super) fn canonical(plan: &LogicalPlan) -> String {
    let text = plan.display_indent_schema().to_string();
    let mut parts = text.split("__person_").flat_map(|part| part.split("__profile_"));
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "__hidden" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn refuse_scale() -> Error {
    Error::new(
        SqlState::InvalidParameterValue,
        "the noise that this statement needs is beyond what can be drawn exactly",
    )
    .hint("raise privacy.epsilon, or lower max_rows_per_person or max_groups_per_person")
}

/// The standard normal quantile at `p`, by Acklam's rational approximation (relative error below 1.2e-9).
pub(super) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572];
    const C: [f64; 6] = [
        -0.007784894002430293,
        -0.3223964580411365,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
    let poly = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |q: f64| poly(&C, q) / (poly(&D, q) * q + 1.0);
    if p < 0.02425 {
        tail((-2.0 * p.ln()).sqrt())
    } else if p > 1.0 - 0.02425 {
        -tail((-2.0 * (1.0 - p).ln()).sqrt())
    } else {
        let q = p - 0.5;
        poly(&A, q * q) * q / (poly(&B, q * q) * q * q + 1.0)
    }
}
