//! What the demo's people do: a row a person and week, and e-mail headers.
//!
//! In: the [`Company`]. Out: one Arrow batch a week, in the order a weekly load would bring them, so that no more than a
//! week is ever in memory. Shapes, not facts: gamma workloads, log-normal weeks, a heavy tail of senders.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand_distr::weighted::WeightedAliasIndex;
use rand_distr::{Distribution, Gamma, LogNormal, Normal, Poisson};

use super::Error;
use super::company::{Company, FIRST_DAY, Size, generator};
use super::names::FUNCTIONS;

const DAY_US: i64 = 86_400_000_000;

/// What is usual for one person.
struct Habit {
    email_hours: f64,
    meeting_hours: f64,
    after_hours: f64,
    focus_hours: f64,
    chats: f64,
}

/// A week of one measure: the person's habit times a log-normal factor of mean 1.
struct Week {
    factor: LogNormal<f64>,
    most: f64,
}

impl Week {
    fn new(spread: f64, most: f64) -> Result<Self, Error> {
        let factor = LogNormal::new(-spread * spread / 2.0, spread)?;
        Ok(Self { factor, most })
    }

    /// Quarter hours.
    fn hours(&self, habit: f64, rng: &mut ChaCha8Rng) -> f64 {
        let hours = (habit * self.factor.sample(rng)).clamp(0.0, self.most);
        (hours * 4.0).round() / 4.0
    }
}

/// `person_week`, week by week.
pub struct PersonWeeks<'a> {
    company: &'a Company,
    habits: Vec<Habit>,
    rng: ChaCha8Rng,
    weeks: i32,
    next: i32,
    measures: [Week; 5],
    chats: LogNormal<f64>,
}

/// One week away in seventeen.
const AWAY: f64 = 0.06;

impl<'a> PersonWeeks<'a> {
    pub fn new(company: &'a Company, size: Size) -> Result<Self, Error> {
        let mut rng = generator(1);
        let habits = habits(company, &mut rng)?;
        Ok(Self {
            company,
            habits,
            rng,
            weeks: size.weeks,
            next: 0,
            measures: [
                Week::new(0.5, 60.0)?,
                Week::new(0.4, 60.0)?,
                Week::new(0.8, 40.0)?,
                Week::new(0.3, 40.0)?,
                Week::new(0.8, 20.0)?,
            ],
            chats: LogNormal::new(-0.125, 0.5)?,
        })
    }

    fn week(&mut self, week: i32) -> Result<RecordBatch, ArrowError> {
        let persons = self.company.persons();
        let mut order: Vec<usize> = (0..persons.len()).collect();
        order.shuffle(&mut self.rng);
        let mut hours: [Vec<f64>; 5] = Default::default();
        let mut emails = Vec::with_capacity(order.len());
        let mut chats = Vec::with_capacity(order.len());
        for &index in &order {
            let habit = &self.habits[index];
            let here = !self.rng.random_bool(AWAY);
            let usual =
                [habit.email_hours, habit.meeting_hours, habit.after_hours, habit.focus_hours, habit.email_hours / 4.0];
            for ((column, measure), usual) in hours.iter_mut().zip(&self.measures).zip(usual) {
                let usual = if here { usual } else { 0.0 };
                column.push(measure.hours(usual, &mut self.rng));
            }
            let written = hours[0][hours[0].len() - 1] * self.rng.random_range(5.0..12.0);
            emails.push(written as i32);
            let said = habit.chats * self.chats.sample(&mut self.rng);
            chats.push(if here { said as i32 } else { 0 });
        }
        let start = FIRST_DAY + 7 * week;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(order.iter().map(|&i| Some(persons[i].id)).collect::<Int64Array>()),
            Arc::new(Int32Array::from(vec![week; order.len()])),
            Arc::new(Date32Array::from(vec![start; order.len()])),
        ];
        for column in hours {
            columns.push(Arc::new(Float64Array::from(column)));
        }
        columns.push(Arc::new(Int32Array::from(emails)));
        columns.push(Arc::new(Int32Array::from(chats)));
        RecordBatch::try_new(person_week_schema(), columns)
    }
}

impl Iterator for PersonWeeks<'_> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let week = self.next;
        self.next += 1;
        (week < self.weeks).then(|| self.week(week))
    }
}

/// Managers meet more, and who meets much has little time to concentrate.
fn habits(company: &Company, rng: &mut ChaCha8Rng) -> Result<Vec<Habit>, Error> {
    let email = Gamma::new(4.0, 2.0)?;
    let meeting = Gamma::new(3.0, 4.0)?;
    let after = Gamma::new(1.5, 2.0)?;
    let focus = Normal::new(28.0, 4.0)?;
    let chat = Gamma::new(2.0, 40.0)?;
    let habit = |person: &super::company::Person| {
        let load = if person.depth < 4 { 1.5 } else { 1.0 };
        let meeting_hours = load * meeting.sample(rng);
        let rest: f64 = focus.sample(rng) - meeting_hours;
        Habit {
            email_hours: email.sample(rng),
            meeting_hours,
            after_hours: load * FUNCTIONS[person.function].2 * after.sample(rng),
            focus_hours: rest.clamp(0.0, 40.0),
            chats: chat.sample(rng),
        }
    };
    Ok(company.persons().iter().map(habit).collect())
}

pub fn person_week_schema() -> SchemaRef {
    let hours = |name: &str| Field::new(name, DataType::Float64, false);
    let count = |name: &str| Field::new(name, DataType::Int32, false);
    Arc::new(Schema::new(vec![
        Field::new("person_id", DataType::Int64, false),
        count("week"),
        Field::new("week_start", DataType::Date32, false),
        hours("email_hours"),
        hours("meeting_hours"),
        hours("after_hours"),
        hours("focus_hours"),
        hours("call_hours"),
        count("email_count"),
        count("chat_count"),
    ]))
}

/// `email`: header facts, a batch a week, by time within it. Half of the persons write under 61 mails a year, one in fifty
/// over 470.
pub struct Emails<'a> {
    company: &'a Company,
    rng: ChaCha8Rng,
    senders: WeightedAliasIndex<f64>,
    hour: Normal<f64>,
    more_recipients: Poisson<f64>,
    size: Size,
    next: i32,
    written: usize,
}

impl<'a> Emails<'a> {
    pub fn new(company: &'a Company, size: Size) -> Result<Self, Error> {
        let mut rng = generator(2);
        let volume = LogNormal::new(0.0, 1.0)?;
        let weights = company.persons().iter().map(|_| volume.sample(&mut rng)).collect();
        Ok(Self {
            company,
            senders: WeightedAliasIndex::new(weights)?,
            hour: Normal::new(13.0, 3.5)?,
            more_recipients: Poisson::new(1.4)?,
            rng,
            size,
            next: 0,
            written: 0,
        })
    }

    fn week(&mut self, week: i32) -> Result<RecordBatch, ArrowError> {
        let due = self.size.emails * (week as usize + 1) / self.size.weeks as usize;
        let count = due - self.written;
        self.written = due;
        let mut times: Vec<i64> = (0..count).map(|_| self.time(week)).collect();
        times.sort_unstable();
        let persons = self.company.persons();
        let mut senders = Vec::with_capacity(count);
        let mut recipients = Vec::with_capacity(count);
        for _ in 0..count {
            let sender = self.senders.sample(&mut self.rng);
            let other = self.rng.random_range(1..persons.len());
            senders.push(persons[sender].id);
            recipients.push(persons[(sender + other) % persons.len()].id);
        }
        let counts = (0..count).map(|_| 1 + self.more_recipients.sample(&mut self.rng) as i32);
        let counts: Int32Array = counts.map(Some).collect();
        let replies = (0..count).map(|_| self.rng.random_bool(0.4));
        let replies: BooleanArray = replies.map(Some).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(senders)),
            Arc::new(Int64Array::from(recipients)),
            Arc::new(TimestampMicrosecondArray::from(times)),
            Arc::new(counts),
            Arc::new(replies),
        ];
        RecordBatch::try_new(email_schema(), columns)
    }

    /// Mostly on a working day, mostly by daylight.
    fn time(&mut self, week: i32) -> i64 {
        let days = if self.rng.random_bool(0.95) { 0..5 } else { 5..7 };
        let day = FIRST_DAY + 7 * week + self.rng.random_range(days);
        let hour = self.hour.sample(&mut self.rng).clamp(0.0, 23.999);
        i64::from(day) * DAY_US + (hour * 3_600.0) as i64 * 1_000_000
    }
}

impl Iterator for Emails<'_> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let week = self.next;
        self.next += 1;
        (week < self.size.weeks).then(|| self.week(week))
    }
}

pub fn email_schema() -> SchemaRef {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("sender_id", DataType::Int64, false),
        Field::new("recipient_id", DataType::Int64, false),
        Field::new("sent_at", moment, false),
        Field::new("recipients", DataType::Int32, false),
        Field::new("reply", DataType::Boolean, false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { persons: 400, weeks: 3, emails: 1_000 };

    #[test]
    fn every_person_has_one_row_a_week() {
        let company = Company::new(SMALL).unwrap();
        let weeks: Vec<RecordBatch> = PersonWeeks::new(&company, SMALL).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(weeks.len(), 3);
        for week in &weeks {
            assert_eq!(week.num_rows(), 400);
            let ids = week.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            let ids: std::collections::BTreeSet<_> = ids.values().iter().collect();
            assert_eq!(ids.len(), 400);
        }
        let again: Vec<RecordBatch> = PersonWeeks::new(&company, SMALL).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(weeks, again);
    }

    #[test]
    fn emails_come_by_time_and_are_as_many_as_asked_for() {
        let company = Company::new(SMALL).unwrap();
        let mut last = i64::MIN;
        let mut rows = 0;
        for week in Emails::new(&company, SMALL).unwrap() {
            let week = week.unwrap();
            let sent = week.column(2).as_any().downcast_ref::<TimestampMicrosecondArray>();
            for &time in sent.unwrap().values() {
                assert!(time >= last);
                last = time;
                rows += 1;
            }
        }
        assert_eq!(rows, 1_000);
    }
}
