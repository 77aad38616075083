//! The table of one partition: pairs of person and group, and what is aggregated of each.
//!
//! In: rows, or the states that another table gave out. Out: states, or results. Whole numbers are summed and counted here ([`Sums`]);
//! all else is the call's own: its `GroupsAccumulator`, fed with the pairs' numbers. Where whole numbers and exact sums of floats are all
//! that is asked for, and these are whole numbers of coarse units, most rows are summed where their person is found ([`Pairs`]).

use super::groups::{Groups, UNKNOWN};
use super::pairs::Pairs;
use super::persons::Persons;
use super::sums::{Kind, Sums, Values, values};
use crate::aggregate::{Coarse, ExactSums};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use std::sync::Arc;

/// Rows of persons that were there before, after which it is asked whether grouping pays.
const PROBE_ROWS: usize = 25_000;
/// Rows after which it is asked in any case.
const PATIENCE_ROWS: usize = 1 << 21;

/// The two steps of an aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Rows in, states out.
    Partial,
    /// States in, results out.
    Final,
}

/// One aggregate call: what it reads, and where its states are.
struct Call {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    states: States,
}

enum States {
    /// In the table's sums.
    Summed {
        kind: Kind,
        place: usize,
    },
    /// What first pairs have is in coarse units there.
    Exact {
        sums: Box<ExactSums>,
        coarse: Coarse,
    },
    Engine(Box<dyn GroupsAccumulator>),
}

impl States {
    fn new(call: &AggregateFunctionExpr, filtered: bool, sums: &mut Sums) -> Result<Self> {
        let kind = Kind::of(call).filter(|_| !filtered);
        if let Some((kind, place)) = kind.and_then(|kind| Some((kind, sums.place(kind)?))) {
            return Ok(Self::Summed { kind, place });
        }
        Ok(match ExactSums::of(call).filter(|_| !filtered) {
            Some(sums) => Self::Exact { sums: Box::new(sums), coarse: Coarse::default() },
            None => Self::Engine(call.create_groups_accumulator()?),
        })
    }
}

impl Call {
    /// The calls of an aggregation. The states that a final step reads stand behind `groups` group columns.
    fn all(aggregate: &AggregateExec, step: Step, groups: usize, sums: &mut Sums) -> Result<Vec<Self>> {
        let mut place = groups;
        let calls = aggregate.aggr_expr().iter().zip(aggregate.filter_expr());
        calls
            .map(|(call, filter)| {
                let states = States::new(call, filter.is_some(), sums)?;
                Ok(match step {
                    Step::Partial => Self { arguments: call.expressions(), filter: filter.clone(), states },
                    Step::Final => {
                        let mut argument = |name: &str| -> Arc<dyn PhysicalExpr> {
                            place += 1;
                            Arc::new(Column::new(name, place - 1))
                        };
                        let fields = call.state_fields()?;
                        let arguments = fields.iter().map(|field| argument(field.name())).collect();
                        Self { arguments, filter: None, states }
                    }
                })
            })
            .collect()
    }

    fn read(&self, batch: &RecordBatch) -> Result<Arguments> {
        let read = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
        let values = self.arguments.iter().map(read).collect::<Result<_>>()?;
        Ok(Arguments { values, filter: self.filter.as_ref().map(read).transpose()? })
    }
}

/// All groups' results or states; none is left.
fn given(states: &mut dyn GroupsAccumulator, results: bool) -> Result<Vec<ArrayRef>> {
    match results {
        true => Ok(vec![states.evaluate(EmitTo::All)?]),
        false => states.state(EmitTo::All),
    }
}

/// The values that one call reads of a batch.
struct Arguments {
    values: Vec<ArrayRef>,
    filter: Option<ArrayRef>,
}

impl Arguments {
    fn summed(&self, kind: Kind, step: Step) -> Result<Values<'_>> {
        match values(kind, step == Step::Final, &self.values[0]) {
            Some(values) => Ok(values),
            None => internal_err!("a sum of something else than whole numbers"),
        }
    }

    fn filter(&self) -> Option<&BooleanArray> {
        self.filter.as_ref().map(|filter| filter.as_boolean())
    }
}

/// The pairs of one partition and their states.
pub(super) struct Table {
    step: Step,
    /// Of what a partial step gives, which is what a final one reads.
    states: SchemaRef,
    /// Of what this step gives.
    gives: SchemaRef,
    /// The person key.
    person: Arc<dyn PhysicalExpr>,
    /// Where it stands among the group columns.
    places: Vec<usize>,
    /// The other group columns.
    columns: Vec<Arc<dyn PhysicalExpr>>,
    persons: Persons,
    groups: Groups,
    pairs: Pairs,
    calls: Vec<Call>,
    /// Whether what is summed of first pairs is with the pairs.
    sums_with_pairs: bool,
    sums: Sums,
    /// Rows since the table was empty.
    rows: usize,
    memory: MemoryReservation,
    /// Of the last batch, to be used again.
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    slots: Vec<u32>,
    groups: Vec<u32>,
    pairs: Vec<usize>,
}

impl Table {
    /// `places`: where the person key stands among the group columns.
    pub(super) fn new(
        aggregate: &AggregateExec,
        step: Step,
        places: Vec<usize>,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let (mut columns, mut fields, mut person) = (Vec::new(), Vec::new(), None);
        let reads = aggregate.input().schema();
        let schema = aggregate.group_expr().group_schema(&reads)?;
        for (number, ((column, _), field)) in aggregate.group_expr().expr().iter().zip(schema.fields()).enumerate() {
            if places.contains(&number) {
                person = Some((Arc::clone(column), field.data_type().clone()));
            } else {
                columns.push(Arc::clone(column));
                fields.push(Arc::clone(field));
            }
        }
        let Some((person, key_type)) = person else { return internal_err!("no person to aggregate by") };
        let (gives, mut sums) = (aggregate.schema(), Sums::default());
        let calls = Call::all(aggregate, step, schema.fields().len(), &mut sums)?;
        let all_summed = calls.iter().all(|call| !matches!(call.states, States::Engine(_)));
        let exact = calls.iter().filter(|call| matches!(call.states, States::Exact { .. })).count();
        // A final step reads each pair a few times; and states of counts are no rows.
        let here = step == Step::Partial && all_summed && !calls.is_empty();
        Ok(Self {
            step,
            states: if step == Step::Partial { Arc::clone(&gives) } else { reads },
            gives,
            person,
            places,
            columns,
            persons: Persons::new(&key_type)?,
            groups: Groups::new(Arc::new(Schema::new(fields)))?,
            pairs: Pairs::new(here.then(|| sums.count() + exact)),
            calls,
            sums_with_pairs: here,
            sums,
            rows: 0,
            memory,
            scratch: Scratch::default(),
        })
    }

    /// Adds rows. Errors: `ResourcesExhausted` where memory is short; the rows are in the table then.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (person, columns) = self.read(batch)?;
        let Scratch { slots, groups, pairs } = &mut self.scratch;
        self.persons.find(&person, &mut self.pairs, slots)?;
        if self.groups.asks_persons() {
            self.pairs.guess(slots, groups, pairs);
        } else {
            pairs.clear();
            groups.clear();
            groups.resize(slots.len(), UNKNOWN);
        }
        let all_first = self.groups.number(&columns, groups)?;
        let arguments = self.calls.iter().map(|call| call.read(batch)).collect::<Result<Vec<_>>>()?;
        self.rows += batch.num_rows();
        // Where nothing is asked of the pairs but that they are there, they are.
        if all_first && (self.calls.is_empty() || self.sums_with_pairs && self.add_to_firsts(&arguments)?) {
            return self.memory.try_resize(self.size());
        }
        let Scratch { slots, groups, pairs } = &mut self.scratch;
        if !all_first || pairs.len() < slots.len() {
            self.pairs.number(slots, groups, pairs)?;
        }
        let (step, count) = (self.step, self.pairs.len());
        let mut summed = Vec::with_capacity(self.calls.len());
        for (call, read) in self.calls.iter_mut().zip(&arguments) {
            let states: &mut dyn GroupsAccumulator = match &mut call.states {
                States::Summed { kind, .. } => {
                    summed.push(read.summed(*kind, step)?);
                    continue;
                }
                States::Exact { sums, .. } => sums.as_mut(),
                States::Engine(states) => states.as_mut(),
            };
            match step {
                Step::Partial => states.update_batch(&read.values, pairs, read.filter(), count)?,
                Step::Final => states.merge_batch(&read.values, pairs, count)?,
            }
        }
        self.sums.add(&summed, pairs, count);
        self.memory.try_resize(self.size())
    }

    /// Adds rows that are all of their persons' first pairs where those are; false, and nothing is added, where they cannot be.
    fn add_to_firsts(&mut self, arguments: &[Arguments]) -> Result<bool> {
        let (mut values, mut exact) = (Vec::with_capacity(arguments.len()), Vec::new());
        for (call, read) in self.calls.iter_mut().zip(arguments) {
            match &mut call.states {
                States::Summed { kind, .. } => values.push(read.summed(*kind, self.step)?),
                States::Exact { coarse, .. } => match coarse.read(&read.values[0]) {
                    Some(numbers) => exact.push(numbers),
                    None => return Ok(false),
                },
                States::Engine(_) => return Ok(false),
            }
        }
        let Some(mut sums) = self.sums.whole(&values) else { return Ok(false) };
        sums.extend(exact);
        Ok(self.pairs.add_to_firsts(&self.scratch.slots, &sums))
    }

    /// What first pairs have goes to where all pairs' sums are.
    fn settle(&mut self) {
        let pairs = self.pairs.len();
        self.sums.reach(pairs);
        let mut exact = Vec::new();
        for call in &mut self.calls {
            if let States::Exact { sums, coarse } = &mut call.states {
                *coarse = Coarse::default();
                sums.grow(pairs);
                exact.push(sums);
            }
        }
        let whole = self.sums.count();
        self.pairs.settle(|pair, rows, words| {
            let (summed, coarse) = words.split_at(whole);
            self.sums.add_rows(pair, rows, summed);
            for (sums, coarse) in exact.iter_mut().zip(coarse) {
                sums.add_coarse(pair, *coarse as i64, rows.into());
            }
        });
    }

    /// Whether there are fewer pairs than `ratio` of the rows; nothing while it cannot be said.
    ///
    /// What counts are the rows of persons that were there before: rows mostly come by time, and each person comes once at first.
    pub(super) fn pays(&self, ratio: f64) -> Option<bool> {
        let persons = self.pairs.persons();
        let again = self.rows - persons;
        if again < PROBE_ROWS && self.rows < PATIENCE_ROWS {
            return None;
        }
        Some(((self.pairs.len() - persons) as f64) < ratio * again as f64)
    }

    /// The values of the person key, and of the other group columns.
    fn read(&self, batch: &RecordBatch) -> Result<(ArrayRef, Vec<ArrayRef>)> {
        let read = |column: &Arc<dyn PhysicalExpr>| column.evaluate(batch)?.into_array(batch.num_rows());
        let columns = self.columns.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok((read(&self.person)?, columns))
    }

    /// The person key in its places among the other group columns.
    fn placed(&self, person: &ArrayRef, mut columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
        for &place in &self.places {
            columns.insert(place, Arc::clone(person));
        }
        columns
    }

    /// Everything so far as this step gives it; the table is empty then.
    pub(super) fn emit(&mut self) -> Result<RecordBatch> {
        self.given(self.step == Step::Final)
    }

    /// Everything so far as states; the table is empty then.
    pub(super) fn states(&mut self) -> Result<RecordBatch> {
        self.given(false)
    }

    fn given(&mut self, results: bool) -> Result<RecordBatch> {
        self.settle();
        let mut columns = self.take()?;
        for call in &mut self.calls {
            match &mut call.states {
                States::Summed { place, .. } => columns.push(self.sums.column(*place)),
                States::Exact { sums, .. } => columns.extend(given(sums.as_mut(), results)?),
                States::Engine(states) => columns.extend(given(states.as_mut(), results)?),
            }
        }
        self.sums.clear();
        self.rows = 0;
        // Less than before; what an empty table takes it must have.
        self.memory.resize(self.size());
        let schema = if results { &self.gives } else { &self.states };
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// The group columns of each pair; none is left.
    fn take(&mut self) -> Result<Vec<ArrayRef>> {
        let (slots, groups) = self.pairs.take();
        let key = self.persons.emit(&slots)?;
        let groups = UInt32Array::from(groups);
        let values = self.groups.emit()?;
        let columns = values.iter().map(|column| take(column, &groups, None));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(self.placed(&key, columns))
    }

    /// Each row as a group of its own.
    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (person, columns) = self.read(batch)?;
        let mut columns = self.placed(&person, columns);
        for call in &self.calls {
            let read = call.read(batch)?;
            match &call.states {
                States::Summed { kind, .. } => columns.push(read.summed(*kind, Step::Partial)?.each()),
                States::Exact { sums, .. } => columns.extend(sums.convert_to_state(&read.values, read.filter())?),
                States::Engine(states) => columns.extend(states.convert_to_state(&read.values, read.filter())?),
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.states), columns)?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.len() == 0
    }

    fn size(&self) -> usize {
        let states = self.calls.iter().map(|call| match &call.states {
            States::Summed { .. } => 0,
            States::Exact { sums, coarse } => sums.size() + coarse.size(),
            States::Engine(states) => states.size(),
        });
        states.sum::<usize>() + self.sums.size() + self.persons.size() + self.groups.size() + self.pairs.size()
    }
}
