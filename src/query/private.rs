//! The private plan of a statement: its releases in order, the plan above them, and what they cost.
//!
//! In: drafts of releases. Out: [`Private`]. The price follows from the plan and the settings alone, never from data: rho of the
//! statement is epsilon^2 / 2, or its epsilon under the Laplace mechanism, split over what all its releases measure as [`split`] says;
//! delta evenly over the selections.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::{Extension, LogicalPlan, LogicalPlanBuilder};
use paravent_udfs::{
    CellFloor, Delta, Epsilon, Estimate, Measurement, Mechanism, Output, Release, ReleaseSpec, Rho, What,
};

use super::context::{Context, Source, SourceKind};
use super::contributions::{DraftCell, DraftMeasurement, DraftOutput};
use super::facts::built;
use super::floor::floor;
use super::identity::Identity;
use super::opened::Opened;
use super::split::{self, Asked, split};
use super::statistics::Use;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Bounds, Price, add_up};

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

/// What decides which groups are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Selects {
    /// A person count, which gets this part of the price: from 0 to 1.
    Persons { part: f64 },
    /// The two counts of the first share, added up; at no price of their own.
    Share,
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
    /// The cells of the outputs, each once.
    pub cells: Vec<DraftCell>,
    pub identity: Identity,
    /// What the query calls the outputs.
    pub labels: Vec<String>,
    /// How much the error of each output weighs.
    pub weights: Vec<f64>,
    pub policies: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    pub person_key: String,
}

/// One release: a plan whose root is the only reader of unreleased values below it.
#[derive(Debug)]
pub struct ReleasePlan {
    pub(super) plan: LogicalPlan,
    pub(super) spec: ReleaseSpec,
    /// What is made of the measured rows.
    pub(super) outputs: Vec<Output>,
    pub(super) identity: Identity,
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
    pub mechanism: Mechanism,
    pub rho: Rho,
    /// Under the Laplace mechanism: what the release costs beside rho.
    pub epsilon: Option<Epsilon>,
    pub delta: Delta,
    pub selects: Selects,
    /// Persons in all and behind one row of the answer, about: from statistics.
    pub persons: Option<(f64, f64)>,
    pub columns: Vec<ColumnFacts>,
}

#[derive(Debug, Clone)]
pub struct ColumnFacts {
    pub label: String,
    pub bounds: Option<Bounds>,
    pub masked: bool,
    /// Standard error of the answer, or of its numerator where it is a mean, of either count where it is a share.
    pub sigma: f64,
    /// The answer divides by the persons or rows of a group: its error is about `sigma` over that number.
    pub per_group_size: bool,
    /// The answer is a value at a rank: the error is that of the rank.
    pub of_rank: bool,
    /// What of the release's price goes into it: shared by all that use the same measurement.
    pub part: f64,
}

/// A verified statement is made of this: nothing below a release can be read except by it.
#[derive(Debug)]
pub struct Private {
    pub(super) releases: Vec<ReleasePlan>,
    /// Tables whose rows are shown; then there are no releases.
    pub(super) opened: Vec<Opened>,
    /// Confidence levels of the intervals that every output gets.
    pub(super) levels: Vec<f64>,
    /// What is to be said beside the answer.
    pub(super) notices: Vec<String>,
    /// The plan above the releases; reads released and public rows only.
    pub(super) shape: LogicalPlan,
    /// The names that the client will see.
    pub(super) columns: SchemaRef,
}

impl Private {
    pub(super) fn assemble(
        context: &Context,
        drafts: Vec<Draft>,
        least: Rho,
        levels: Vec<f64>,
        notices: Vec<String>,
        shape: LogicalPlan,
        columns: SchemaRef,
    ) -> Result<Self> {
        let delta = share(context.delta.get() / drafts.len().max(1) as f64, Delta::new)?;
        let errors: Vec<Vec<f64>> = drafts.iter().map(|draft| draft.errors(context)).collect();
        let rho = Rho::of_epsilon(context.epsilon).get();
        let total = match context.mechanism {
            Mechanism::Gaussian => rho,
            Mechanism::Laplace => context.epsilon.get(),
        };
        let least = total * (least.get() / rho);
        let mut parts = split(context.mechanism, total, least, &errors.concat()).into_iter();
        let mut releases = Vec::new();
        for (draft, errors) in drafts.into_iter().zip(errors) {
            let parts: Vec<f64> = parts.by_ref().take(errors.len()).collect();
            releases.push(draft.priced(context, &parts, delta)?);
        }
        Ok(Self { releases, opened: Vec::new(), levels, notices, shape, columns })
    }
}

impl ReleaseFacts {
    pub fn price(&self) -> Price {
        Price { rho: self.rho, delta: self.delta, epsilon: self.epsilon }
    }
}

/// What measurements cost that get these parts: by the Laplace mechanism each is epsilon-DP, and epsilon^2 / 2-zCDP (Bun, Steinke
/// 2016, Proposition 3).
fn price(mechanism: Mechanism, parts: &[f64]) -> Result<(Rho, Option<Epsilon>)> {
    let sum = |of: fn(&f64) -> f64| parts.iter().map(of).fold(0.0, add_up);
    match mechanism {
        Mechanism::Gaussian => Ok((share(sum(|part| *part), Rho::new)?, None)),
        Mechanism::Laplace => {
            let rho = share(sum(|part| part * part / 2.0), Rho::new)?;
            Ok((rho, Some(share(sum(|part| *part), Epsilon::new)?)))
        }
    }
}

fn share<T, E>(value: f64, make: impl Fn(f64) -> std::result::Result<T, E>) -> Result<T> {
    make(value).map_err(|_| Error::internal())
}

impl Draft {
    /// The same question, as when a WITH query is used twice: asked once, paid once, answered alike.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        // The plans' texts last: they are long.
        self.measurements == other.measurements
            && self.identity.rows == other.identity.rows
            && format!("{:?}", self.outputs) == format!("{:?}", other.outputs)
            && canonical(&self.plan) == canonical(&other.plan)
    }

    /// Where the plan above reads the released rows: keys, then each value with its standard error and intervals.
    pub(super) fn released_scan(&self, number: usize, levels: usize) -> Result<LogicalPlan> {
        let keys = (0..self.keys).map(|i| self.plan.schema().field(i).as_ref().clone().with_nullable(true));
        let named = |(i, draft): (usize, &DraftOutput)| draft.output(i, None).fields(levels);
        let values = self.outputs.iter().enumerate().flat_map(named);
        let schema = Arc::new(Schema::new(keys.chain(values).collect::<Vec<_>>()));
        let source = Arc::new(Source::new(SourceKind::Released(number), schema));
        built(LogicalPlanBuilder::scan(format!("released_{number}"), source, None).and_then(LogicalPlanBuilder::build))
    }

    fn errors(&self, context: &Context) -> Vec<f64> {
        split::errors(&Asked {
            measurements: &self.measurements,
            outputs: &self.outputs,
            weights: &self.weights,
            persons_weight: context.weights.of_persons(),
            mechanism: context.mechanism,
        })
    }

    /// `parts`: what each measurement gets, a rho or an epsilon.
    fn priced(self, context: &Context, parts: &[f64], delta: Delta) -> Result<ReleasePlan> {
        let mechanism = context.mechanism;
        let (rho, epsilon) = price(mechanism, parts)?;
        let selections = self.max_groups as f64 * (1 + self.cells.len()) as f64;
        let per_selection = share(delta.get() / selections, Delta::new)?;
        let floor = floor(context, &self.plan, &self.policies)?;
        let mut measurements = Vec::new();
        for (m, part) in self.measurements.iter().zip(parts) {
            let noise = mechanism.noise(m.sensitivity, *part).map_err(|_| refuse_scale())?;
            measurements.push(Measurement { column: self.keys + m.state, what: m.what, noise });
        }
        let threshold = |count: usize| -> Result<i64> {
            let counted = measurements.get(count).ok_or_else(Error::internal)?;
            let full = i64::try_from(floor).map_err(|_| Error::internal())?;
            let beyond = match counted.what {
                What::Word(_) => counted.noise.tail_quantile(per_selection),
                // Its two counts, added up.
                What::TWO_COUNTS => counted.noise.tail_quantile_of_two(per_selection),
                What::Tree { .. } => return Err(Error::internal()),
            };
            Ok(full.saturating_add(beyond))
        };
        let number = |cell: DraftCell| self.cells.iter().position(|known| *known == cell);
        let drafts = self.outputs.iter().enumerate();
        let outputs = drafts.map(|(i, draft)| draft.output(i, draft.cell.and_then(number))).collect();
        let cell = |cell: &DraftCell| -> Result<CellFloor> {
            let (column, threshold) = (self.keys + cell.state, threshold(cell.count)?);
            Ok(CellFloor { column, word: cell.word, count: cell.count, threshold })
        };
        let cells = self.cells.iter().map(cell).collect::<Result<Vec<_>>>()?;
        let threshold = threshold(0)?;
        let selects = match measurements.first().map(|first| first.what) {
            Some(What::Tree { .. }) => Selects::Share,
            Some(What::Word(_)) | None => {
                Selects::Persons { part: parts.first().map_or(0.0, |part| part / parts.iter().sum::<f64>()) }
            }
        };
        let persons = self.persons(context, rho);
        let columns = self.columns(&measurements, parts);
        let spec = ReleaseSpec { keys: self.keys, floor, threshold, persons: self.keys, measurements, cells };
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
            mechanism,
            rho,
            epsilon,
            delta,
            selects,
            persons,
            columns,
        };
        Ok(ReleasePlan {
            plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }),
            spec,
            outputs,
            identity: self.identity,
            facts,
        })
    }

    /// As many as in the table that has the fewest.
    fn persons(&self, context: &Context, rho: Rho) -> Option<(f64, f64)> {
        let usage = Use { rho: rho.get(), keys: self.keys, floor: context.policies.settings.min_group_size };
        let known = self.tables.iter().filter_map(|table| context.tables.get(table)?.statistics.as_ref());
        let fewest = known.min_by(|a, b| a.persons.total_cmp(&b.persons))?;
        Some((fewest.persons, fewest.persons_a_group(usage)))
    }

    fn columns(&self, measurements: &[Measurement], parts: &[f64]) -> Vec<ColumnFacts> {
        let all: f64 = parts.iter().sum();
        let part = |index: usize| parts.get(index).map_or(f64::NAN, |part| part / all);
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
                    Estimate::Mean { sum, .. } => (sigma(sum), true),
                    // Of either count: near 0 and 1 that is the share's error, in the middle 0.7 of it is.
                    Estimate::Share { counts } => (sigma(counts), true),
                    Estimate::Moments { parts, .. } => {
                        (parts.iter().flatten().map(|part| sigma(&part.sum)).fold(0.0, f64::max), true)
                    }
                    // Of a rank: in rows.
                    Estimate::Quantile { tree, .. } | Estimate::Mode { tree, .. } => (sigma(tree), false),
                    Estimate::Distinct { counts } => (counts.first().map_or(f64::NAN, sigma), false),
                };
                ColumnFacts {
                    label: label.clone(),
                    bounds: output.bounds,
                    masked: output.mask.is_some(),
                    sigma,
                    per_group_size,
                    of_rank: matches!(output.estimate, Estimate::Quantile { .. } | Estimate::Mode { .. }),
                    part: part(output.estimate.own()),
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
