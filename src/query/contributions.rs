//! What each person adds to a group's aggregates, in integers: the columns below a release and what is measured of them.
//!
//! In: the query's aggregates one by one. Out: contribution columns, unreleased states, measurements with their sensitivity, and
//! outputs with their masks. Equal parts are shared, so that a count that serves three means is noised and paid once.
//!
//! Groups are selected by a noised person count (design, section 4), but where shares of persons are all that is asked: whoever is in a
//! group is in one of a share's two counts, so that their sum is a person count that is paid for already. Under Laplace noise a share's
//! error is two thirds of what it is beside a person count of its own, and fewer groups are hidden, though two draws stray further.
//!
//! Sensitivity: one person adds to at most M groups, to each at most `cap` rows of at most `bound` lattice steps, so the squared
//! L2 sensitivity of a sum is M · (cap · bound)², and that of the counts of a histogram, or of the two of a share, is M · cap². Source:
//! Wilson et al. 2020, "Differentially Private SQL with Bounded User Contribution", section 4; noise in `paravent_udfs::noise`.

mod call;
mod distinct;
mod moments;
mod quantiles;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, cast, lit, when};
use paravent_udfs::{
    Base, Estimate, Mask, Output, Rho, Sensitivity, What, dp_avg, dp_count, dp_lattice, dp_persons, dp_share, dp_sum,
};

pub(super) use call::{Call, Fractions};

use super::context::Context;
use super::expression::Derived;
use crate::error::{Error, Result, SqlState};
use crate::policy::Bounds;

/// The largest standard deviation, in lattice steps, that a measurement is planned with; the sampler goes a little further.
const LARGEST_SIGMA: f64 = (1_u64 << 26) as f64;

/// Less than any measurement of the statement is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeastShare {
    /// In wide steps, so that equal aggregates of different statements have equal lattices and answer one another.
    pub coarse: Rho,
    /// For what leaves no room for that.
    pub exact: Rho,
}

/// One integer column of a person's rows.
pub(super) struct Value {
    /// Int64; NULL where the row does not count.
    pub expression: Expr,
    pub nullable: bool,
    pub summed: bool,
    pub gathered: Gathered,
}

/// What of a person's rows is kept besides their sum: the leaves of a histogram, or the distinct values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    No,
    Bins,
    Values,
}

/// What stands in the answer for a call: an output, an array of outputs, or the member of a list that an output numbers.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    One(usize),
    Several(Vec<usize>),
    Member(usize, Vec<ScalarValue>),
}

/// One noised integer, or tree of them, a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DraftMeasurement {
    /// Index of the state among the aggregate's outputs.
    pub state: usize,
    pub what: What,
    /// Over all groups and levels, in lattice steps.
    pub sensitivity: Sensitivity,
    /// One row's reach in the units of the answer, for EXPLAIN.
    pub step: f64,
}

/// An output whose cell threshold is still open: it depends on noise that depends on the price.
#[derive(Debug, Clone)]
pub(super) struct DraftOutput {
    pub estimate: Estimate,
    pub mask: Option<Mask>,
    pub cell: Option<DraftCell>,
    pub bounds: Option<Bounds>,
}

impl DraftOutput {
    /// `cell`: the number of its cell among those of the release.
    pub fn output(&self, number: usize, cell: Option<usize>) -> Output {
        Output { name: format!("__o{number}"), estimate: self.estimate.clone(), mask: self.mask.clone(), cell }
    }
}

/// Where the exact number of persons with a value stands, and the measurement that counts them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DraftCell {
    pub state: usize,
    pub word: usize,
    pub count: usize,
}

/// Which of the rows, or keys, are a profile.
pub(super) struct UnderProfile {
    pub rows: Option<Column>,
    /// The keys that are attributes.
    pub keys: Vec<usize>,
    /// Some key is a measure.
    pub by_keys: bool,
}

pub(super) struct Contributions<'a> {
    context: &'a Context,
    cap: Option<u64>,
    max_groups: u64,
    /// The least a measurement of this statement is given.
    least: LeastShare,
    under: UnderProfile,
    /// The first share's own counts select groups, instead of a person count.
    by_share: bool,
    values: Vec<Value>,
    states: Vec<Expr>,
    pub measurements: Vec<DraftMeasurement>,
    pub outputs: Vec<DraftOutput>,
    /// One a call.
    pub shown: Vec<Shown>,
}

impl<'a> Contributions<'a> {
    pub fn new(
        context: &'a Context,
        cap: Option<u64>,
        max_groups: u64,
        least: LeastShare,
        under: UnderProfile,
        calls: &[Call],
    ) -> Self {
        let persons = persons_state(under.rows.is_some());
        let sensitivity = Sensitivity { reach: 1, times: max_groups };
        let first = DraftMeasurement { state: 0, what: What::Word(0), sensitivity, step: 1.0 };
        // Of every person one row at most is in one of a share's two counts; where nothing else is asked, nothing else counts persons.
        let all_shares = !calls.is_empty() && calls.iter().all(|call| call.is_share() && call.filter.is_none());
        let by_share = cap == Some(1) && under.rows.is_none() && all_shares;
        Self {
            context,
            cap,
            max_groups,
            least,
            under,
            by_share,
            values: vec![],
            states: vec![persons],
            measurements: if by_share { vec![] } else { vec![first] },
            outputs: vec![],
            shown: vec![],
        }
    }

    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The cells of the outputs, each once.
    pub fn cells(&self) -> Vec<DraftCell> {
        let mut cells: Vec<DraftCell> = Vec::new();
        for cell in self.outputs.iter().filter_map(|output| output.cell) {
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells
    }

    /// The unreleased aggregates, named `__a0, __a1, …`.
    pub fn states(&self) -> Vec<Expr> {
        self.states.iter().enumerate().map(|(i, state)| state.clone().alias(format!("__a{i}"))).collect()
    }

    /// Errors: 22023 where bounds are missing, 0A000 for what has no private form.
    pub fn add(&mut self, call: &Call) -> Result<()> {
        let output = match call.name.as_str() {
            "count" => self.count(call)?,
            "sum" if call.zero_one() => self.zero_one_sum(call)?,
            "sum" => self.sum(call)?,
            "avg" | "mean" if call.is_share() => self.zero_one_mean(call)?,
            "avg" | "mean" => self.mean(call)?,
            "share" => self.share(call)?,
            "regr_count" => self.pairs(call)?,
            "regr_avgx" | "regr_avgy" => self.mean_of_pairs(call)?,
            "mode" => return self.mode(call),
            name => match moments::kind(name) {
                Some(kind) => self.moments(call, kind)?,
                None => return self.quantiles(call),
            },
        };
        self.show(output);
        Ok(())
    }

    fn show(&mut self, output: DraftOutput) {
        self.shown.push(Shown::One(self.outputs.len()));
        self.outputs.push(output);
    }

    fn count(&mut self, call: &Call) -> Result<DraftOutput> {
        let argument = call.argument.as_ref();
        let of_key = argument.is_some_and(|d| d.facts.key);
        if call.distinct && !of_key {
            return self.distinct(call);
        }
        let always_there = of_key && argument.is_some_and(|d| !d.facts.outer);
        let there =
            argument.filter(|_| call.nullable && !always_there).map(|d| d.expression.clone().unalias().is_not_null());
        let cap = if call.distinct { 1 } else { self.cap_of(call)? };
        self.count_where(call, there, cap)
    }

    /// Rows that meet the call's FILTER and `condition`. Where there is neither, and one row a person, they are the persons.
    fn count_where(&mut self, call: &Call, condition: Option<Expr>, cap: u64) -> Result<DraftOutput> {
        let fits = call.filter.as_ref().map(|d| d.expression.clone()).into_iter().chain(condition).reduce(Expr::and);
        let (count, cell) = match fits {
            None if cap == 1 => (0, None),
            fits => {
                let part = fits.is_some();
                let value = self.counted(fits)?;
                let count = self.measure(dp_count(counts(value), lit(cap as i64)), 0, cap, 1.0)?;
                (count, part.then(|| self.cell(count, 1, cap)).transpose()?)
            }
        };
        let mask = self.count_mask(self.is_profile(call), cap, count)?;
        Ok(DraftOutput { estimate: Estimate::Count { count }, mask, cell, bounds: None })
    }

    /// A value of part of a group's rows is shown only where the part is persons enough. Where a person may have several rows, the
    /// persons are measured themselves: by rows, one person with many could look like the floor.
    fn cell(&mut self, count: usize, word: usize, cap: u64) -> Result<DraftCell> {
        let state = self.measurements.get(count).ok_or_else(Error::internal)?.state;
        if cap == 1 {
            return Ok(DraftCell { state, word, count });
        }
        let persons = self.states.get(state).cloned().ok_or_else(Error::internal)?;
        self.persons_cell(persons, word)
    }

    /// The persons in a word of a state, measured themselves.
    fn persons_cell(&mut self, persons: Expr, word: usize) -> Result<DraftCell> {
        let count = self.measure(persons, word, 1, 1.0)?;
        let state = self.measurements.get(count).ok_or_else(Error::internal)?.state;
        Ok(DraftCell { state, word, count })
    }

    /// The same where nothing else needs the number of rows.
    fn cell_of(&mut self, value: usize, cap: u64) -> Result<DraftCell> {
        let state = dp_count(counts(value), lit(cap as i64));
        let count = self.measure(state, usize::from(cap > 1), 1, 1.0)?;
        let state = self.measurements.get(count).ok_or_else(Error::internal)?.state;
        Ok(DraftCell { state, word: 1, count })
    }

    fn sum(&mut self, call: &Call) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let bounds = self.bounds_of(call)?;
        let integer = call.data_type.is_integer();
        let step = self.step(bounds.magnitude(), cap, integer)?;
        let bound = reach(bounds.magnitude(), step);
        let value = self.lattice(call, 0.0, bounds, step)?;
        let state = dp_sum(sums(value), counts(value), lit(cap as i64), lit(bound as i64));
        let sum = self.measure(state, 0, cap.saturating_mul(bound), step)?;
        let cell = match &call.filter {
            None => None,
            Some(_) => Some(self.cell_of(value, cap)?),
        };
        let estimate =
            if integer { Estimate::SumInteger { sum, step: step as i64 } } else { Estimate::Sum { sum, step } };
        Ok(DraftOutput { estimate, mask: None, cell, bounds: Some(bounds) })
    }

    /// A sum of zeros and ones is a count, however it is written.
    fn zero_one_sum(&mut self, call: &Call) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let argument = call.argument.as_ref().ok_or_else(Error::internal)?.expression.clone().unalias();
        self.count_where(call, Some(cast(argument, DataType::Float64).eq(lit(1.0))), cap)
    }

    fn mean(&mut self, call: &Call) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let bounds = self.bounds_of(call)?;
        let half = bounds.upper() / 2.0 - bounds.lower() / 2.0;
        let step = self.step(half, cap, false)?;
        let bound = reach(half, step);
        let value = self.lattice(call, bounds.mid(), bounds, step)?;
        let state = dp_avg(sums(value), counts(value), lit(cap as i64), lit(bound as i64));
        let sum = self.measure(state.clone(), 0, cap.saturating_mul(bound), step)?;
        let (count, cell) = self.denominator(call, cap, state)?;
        let estimate =
            Estimate::Mean { sum, count, mid: bounds.mid(), step, lower: bounds.lower(), upper: bounds.upper() };
        Ok(DraftOutput { estimate, mask: None, cell, bounds: Some(bounds) })
    }

    /// A mean of zeros and ones is a share, however it is written.
    fn zero_one_mean(&mut self, call: &Call) -> Result<DraftOutput> {
        let unit = Bounds::new(0.0, 1.0)?;
        let value = self.lattice(call, 0.0, unit, 1.0)?;
        self.share_of(call, value)
    }

    fn share(&mut self, call: &Call) -> Result<DraftOutput> {
        let condition = call.argument.as_ref().ok_or_else(Error::internal)?.expression.clone().unalias();
        let one = when(condition.clone().is_true(), lit(1_i64)).when(condition.is_false(), lit(0_i64)).end();
        let value = self.value(self.fitting(call, one.map_err(|_| Error::internal())?)?, true, true);
        self.share_of(call, value)
    }

    /// The rows that fit and those that do not are one measurement, of the sensitivity of a count: a row is one of either. So a share
    /// needs no other count to divide by; the persons with a value are measured where they may be few, and where the two counts do not
    /// tell of them: those that select do.
    fn share_of(&mut self, call: &Call, value: usize) -> Result<DraftOutput> {
        let cap = self.cap_of(call)?;
        let state = dp_share(sums(value), counts(value), lit(cap as i64));
        let counts = self.measure_what(state.clone(), What::TWO_COUNTS, cap, 1.0)?;
        let cell = match call.nullable || call.filter.is_some() {
            false => None,
            true if self.by_share && counts == 0 => {
                let state = self.measurements.first().ok_or_else(Error::internal)?.state;
                Some(DraftCell { state, word: 2, count: 0 })
            }
            true => Some(self.persons_cell(state, 2)?),
        };
        let mask = self.band(Base::Itself);
        Ok(DraftOutput { estimate: Estimate::Share { counts }, mask: Some(mask), cell, bounds: None })
    }

    /// What a mean divides by: the person or row count of the group where every row has a value, else the state's own count, and
    /// then a mean of too few persons is not shown.
    fn denominator(&mut self, call: &Call, cap: u64, state: Expr) -> Result<(usize, Option<DraftCell>)> {
        if call.nullable || call.filter.is_some() {
            let count = self.measure(state, 1, cap, 1.0)?;
            return Ok((count, Some(self.cell(count, 2, cap)?)));
        }
        if cap == 1 {
            return Ok((0, None));
        }
        let rows = self.counted(None)?;
        Ok((self.measure(dp_count(counts(rows), lit(cap as i64)), 0, cap, 1.0)?, None))
    }

    /// A count under a profile is shown beside the count of its group, or at the edge of the band.
    fn count_mask(&mut self, profile: bool, cap: u64, count: usize) -> Result<Option<Mask>> {
        if !profile {
            let (keys, by_keys) = (self.under.keys.clone(), self.under.by_keys);
            return Ok(by_keys.then(|| self.band(Base::Partition { keys, measurement: count })));
        }
        let base = if cap == 1 {
            if self.under.rows.is_some() { self.measure(dp_persons(lit(true)), 0, 1, 1.0)? } else { 0 }
        } else {
            let rows = self.value(lit(1_i64), false, false);
            self.measure(dp_count(counts(rows), lit(cap as i64)), 0, cap, 1.0)?
        };
        // Where a key is a profile as well, the group is that of the other keys.
        if self.under.by_keys {
            let keys = self.under.keys.clone();
            return Ok(Some(self.band(Base::Partition { keys, measurement: base })));
        }
        if base == count { Ok(None) } else { Ok(Some(self.band(Base::Measurement(base)))) }
    }

    fn is_profile(&self, call: &Call) -> bool {
        let by_filter = call.filter.as_ref().is_some_and(|d| d.facts.profiles());
        let by_value =
            call.argument.as_ref().is_some_and(|d| d.facts.profiles() && (call.nullable || d.facts.zero_one));
        self.under.rows.is_some() || by_filter || by_value
    }

    fn band(&self, base: Base) -> Mask {
        let settings = &self.context.policies.settings;
        Mask { low: settings.mask_low, high: settings.mask_high, base }
    }

    fn cap_of(&self, call: &Call) -> Result<u64> {
        self.cap.ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, format!("nothing says how many rows of one person may count in {}", call.name))
                .detail("the noise depends on how much one person can change")
                .hint("an administrator declares it: ALTER TABLE … SET (max_rows_per_person = …), or runs ANALYZE on the present data; or count persons with count(DISTINCT person key)")
        })
    }

    fn bounds_of(&self, call: &Call) -> Result<Bounds> {
        self.bounds_of_one(call, call.argument.as_ref().ok_or_else(Error::internal)?)
    }

    fn bounds_of_one(&self, call: &Call, argument: &Derived) -> Result<Bounds> {
        argument.facts.bounds.ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, format!("{} needs bounds of its argument", call.name))
                .detail("the noise depends on how far one row can move the answer")
                .hint(format!("write {}(clamp(x, lo, hi)), or an administrator declares them: ALTER TABLE … ALTER COLUMN … SET (lower = …, upper = …), or runs ANALYZE on the present data", call.name))
        })
    }

    /// The finest power of two (for integers: at least 1) at which `magnitude` keeps the noise within the sampler's range.
    fn step(&self, magnitude: f64, cap: u64, integer: bool) -> Result<f64> {
        let most =
            |least: Rho| LARGEST_SIGMA * (2.0 * least.get()).sqrt() / (cap as f64 * (self.max_groups as f64).sqrt());
        let steps = Some(most(self.least.coarse)).filter(|steps| *steps >= 2.0).unwrap_or(most(self.least.exact));
        if steps < 2.0 {
            return Err(Error::new(
                SqlState::InvalidParameterValue,
                "privacy.epsilon is too small for so many rows and groups per person",
            )
            .hint("raise privacy.epsilon, or lower max_rows_per_person"));
        }
        let finest = (magnitude.max(f64::MIN_POSITIVE) / (steps - 1.0)).log2().ceil().clamp(-960.0, 960.0).exp2();
        Ok(if integer { finest.max(1.0) } else { finest })
    }

    fn lattice(&mut self, call: &Call, mid: f64, bounds: Bounds, step: f64) -> Result<usize> {
        let argument = call.argument.as_ref().ok_or_else(Error::internal)?.expression.clone().unalias();
        let [mid, lower, upper, step] = limits(mid, bounds, step);
        let nullable = call.nullable || call.filter.is_some() || self.under.rows.is_some();
        let whole = self.fitting(call, dp_lattice(argument, mid, lower, upper, step))?;
        Ok(self.value(whole, true, nullable))
    }

    /// NULL where the row does not fit the profile or the aggregate's FILTER.
    fn fitting(&self, call: &Call, value: Expr) -> Result<Expr> {
        let filter = call.filter.as_ref().map(|d| d.expression.clone());
        self.where_fits(filter, value)
    }

    fn where_fits(&self, filter: Option<Expr>, value: Expr) -> Result<Expr> {
        let flag = self.under.rows.clone().map(Expr::Column);
        match flag.into_iter().chain(filter).reduce(Expr::and) {
            Some(fits) => when(fits, value).end().map_err(|_| Error::internal()),
            None => Ok(value),
        }
    }

    /// A contribution of 1 for each row that fits.
    fn counted(&mut self, filter: Option<Expr>) -> Result<usize> {
        let nullable = filter.is_some() || self.under.rows.is_some();
        let one = self.where_fits(filter, lit(1_i64))?;
        Ok(self.value(one, false, nullable))
    }

    /// A number of each row that fits, kept as it is.
    fn gathered(&mut self, call: &Call, number: Expr, gathered: Gathered) -> Result<usize> {
        let nullable = call.nullable || call.filter.is_some() || self.under.rows.is_some();
        let number = self.fitting(call, number)?;
        let value = self.value(number, false, nullable);
        self.values[value].gathered = gathered;
        Ok(value)
    }

    fn value(&mut self, expression: Expr, summed: bool, nullable: bool) -> usize {
        match self.values.iter().position(|known| known.expression == expression) {
            Some(index) => {
                self.values[index].summed |= summed;
                index
            }
            None => {
                self.values.push(Value { expression, nullable, summed, gathered: Gathered::No });
                self.values.len() - 1
            }
        }
    }

    /// `reach`: how far one person can move the word in one group, in lattice steps.
    fn measure(&mut self, state: Expr, word: usize, reach: u64, step: f64) -> Result<usize> {
        self.measure_what(state, What::Word(word), reach, step)
    }

    /// `reach`: how far one person can move the word, or each level of the tree, in one group.
    fn measure_what(&mut self, state: Expr, what: What, reach: u64, step: f64) -> Result<usize> {
        let state = self.states.iter().position(|known| *known == state).unwrap_or_else(|| {
            self.states.push(state);
            self.states.len() - 1
        });
        if let Some(known) = self.measurements.iter().position(|m| m.state == state && m.what == what) {
            return Ok(known);
        }
        let times = self.max_groups.checked_mul(u64::from(what.levels())).ok_or_else(Error::internal)?;
        let sensitivity = Sensitivity { reach, times };
        self.measurements.push(DraftMeasurement { state, what, sensitivity, step });
        Ok(self.measurements.len() - 1)
    }
}

/// The literals of a lattice; whole numbers as integers where its values are.
fn limits(mid: f64, bounds: Bounds, step: f64) -> [Expr; 4] {
    let integral = mid == 0.0 && step >= 1.0;
    [mid, bounds.lower(), bounds.upper(), step]
        .map(|x| if integral && x.fract() == 0.0 && x.abs() < 9e15 { lit(x as i64) } else { lit(x) })
}

fn refuse_two_profiles() -> Error {
    Error::new(
        SqlState::FeatureNotSupported,
        "distinct values under a group key and a predicate that are both measures are not supported",
    )
    .hint("make one of them an attribute, or ask for two answers")
}

/// Lattice steps from 0 to `magnitude`, rounded up; at least one, so that there is always noise.
fn reach(magnitude: f64, step: f64) -> u64 {
    ((magnitude / step).ceil() as u64).max(1)
}

fn sums(value: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("__s{value}")))
}

fn counts(value: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("__c{value}")))
}

fn gathered_column(value: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("__g{value}")))
}

/// The person count's own column: is there a row that fits?
fn persons_state(profile: bool) -> Expr {
    if profile { dp_persons(Expr::Column(Column::new_unqualified("__p"))) } else { dp_persons(lit(true)) }
}
