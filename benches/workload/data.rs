//! The workload's files: people, person-weeks as a star and flat, events. Made once for each size, from a fixed seed.
//!
//! In: numbers of persons and events. Out: `people`, `pw`, `pwf` and `events` as Parquet, rows in the order in which they would
//! have been recorded: by week, persons in no order.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array};
use arrow::array::{RecordBatch, StringArray, TimestampSecondArray};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Gamma, LogNormal, Normal, Poisson};

pub const WEEKS: usize = 52;
const ROW_GROUP_ROWS: usize = 250_000;
const FUNCTIONS: [(&str, f64); 8] = [
    ("Engineering", 0.34),
    ("Sales", 0.22),
    ("Operations", 0.15),
    ("Support", 0.12),
    ("Finance", 0.06),
    ("Marketing", 0.06),
    ("HR", 0.03),
    ("Legal", 0.02),
];
const COUNTRIES: [&str; 20] = [
    "US", "IN", "GB", "DE", "FR", "JP", "CA", "BR", "AU", "NL", "IE", "ES", "IT", "PL", "SE", "SG", "MX", "CH", "NO",
    "NZ",
];
const LEVELS: [&str; 6] = ["L6-exec", "L5-vp", "L4-dir", "L3-mgr", "L2-senior", "L1-ic"];

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub persons: usize,
    pub events: usize,
}

struct Person {
    id: i64,
    manager: Option<i64>,
    function: &'static str,
    level: &'static str,
    country: &'static str,
    org: String,
    /// Means of hours by e-mail, in meetings, after hours, focused; of chats.
    habits: [f64; 5],
}

/// The folder with the files, made where it is missing.
pub fn ensure(folder: &Path, size: Size) -> PathBuf {
    let whole = folder.join(format!("workload-{}-{}", size.persons, size.events));
    if whole.is_dir() {
        return whole;
    }
    println!("making {} persons, {} person-weeks, {} events", size.persons, size.persons * WEEKS, size.events);
    let partial = folder.join("workload.partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let people = people(size.persons, &mut random);
    write(&partial.join("people.parquet"), [table_of(&people)].into_iter());
    weeks(&partial, &people, &mut random);
    write(&partial.join("events.parquet"), events(&people, size.events, &mut random));
    fs::rename(&partial, &whole).unwrap();
    whole
}

/// A tree of managers, eight reports each; an organisation is what is below somebody at depth two.
fn people(count: usize, random: &mut StdRng) -> Vec<Person> {
    let mut ids: Vec<i64> = (0..count as i64).map(|i| 1_000_001 + i).collect();
    ids.shuffle(random);
    let draw = |weights: &[f64], random: &mut StdRng| {
        let mut at = random.random::<f64>() * weights.iter().sum::<f64>();
        weights
            .iter()
            .position(|weight| {
                at -= weight;
                at < 0.0
            })
            .unwrap_or(weights.len() - 1)
    };
    let functions: Vec<f64> = FUNCTIONS.iter().map(|(_, weight)| *weight).collect();
    let countries: Vec<f64> = (1..=COUNTRIES.len()).map(|place| (place as f64).powf(-0.9)).collect();
    let (mail, meet, late) = (gamma(4.0, 2.0), gamma(3.0, 4.0), gamma(1.5, 2.0));
    let (chat, focus) = (gamma(2.0, 40.0), Normal::new(0.0, 4.0).unwrap());
    (0..count)
        .map(|rank| {
            let above = |rank: usize| (rank > 0).then(|| (rank - 1) / 8);
            let chain: Vec<usize> = std::iter::successors(Some(rank), |rank| above(*rank)).collect();
            let depth = chain.len() - 1;
            let meeting = meet.sample(random) * if depth < 4 { 1.5 } else { 1.0 };
            Person {
                id: ids[rank],
                manager: above(rank).map(|above| ids[above]),
                function: FUNCTIONS[draw(&functions, random)].0,
                level: LEVELS[depth.min(5)],
                country: COUNTRIES[draw(&countries, random)],
                org: format!("org_{:03}", chain[depth.saturating_sub(2)]),
                habits: [
                    mail.sample(random),
                    meeting,
                    late.sample(random),
                    (28.0 - meeting + focus.sample(random)).clamp(0.0, 40.0),
                    chat.sample(random),
                ],
            }
        })
        .collect()
}

fn gamma(shape: f64, scale: f64) -> Gamma<f64> {
    Gamma::new(shape, scale).unwrap()
}

fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn table_of(people: &[Person]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("person_id", Arc::new(Int64Array::from_iter_values(people.iter().map(|p| p.id))) as ArrayRef),
        ("manager_id", Arc::new(people.iter().map(|p| p.manager).collect::<Int64Array>())),
        ("function", text(people.iter().map(|p| p.function))),
        ("level", text(people.iter().map(|p| p.level))),
        ("country", text(people.iter().map(|p| p.country))),
        ("org", text(people.iter().map(|p| p.org.as_str()))),
    ])
    .unwrap()
}

fn weeks(folder: &Path, people: &[Person], random: &mut StdRng) {
    let mut order: Vec<usize> = (0..people.len()).collect();
    let (mut star, mut flat) = (None, None);
    for week in 0..WEEKS {
        order.shuffle(random);
        let persons: Vec<&Person> = order.iter().map(|place| &people[*place]).collect();
        let away: Vec<bool> = persons.iter().map(|_| random.random_bool(0.06)).collect();
        let mut around = |mean: &dyn Fn(&Person) -> f64, spread: f64| -> Vec<f64> {
            let varied = LogNormal::new(-0.5 * spread * spread, spread).unwrap();
            let hours = |(person, away): (&&Person, &bool)| {
                let value = (mean(person) * varied.sample(random) * 4.0).round() / 4.0;
                if *away { 0.0 } else { value }
            };
            persons.iter().zip(&away).map(hours).collect()
        };
        let columns = [
            around(&|p| p.habits[0], 0.5),
            around(&|p| p.habits[1], 0.4),
            around(&|p| p.habits[2], 0.8),
            around(&|p| p.habits[3], 0.3),
            around(&|p| p.habits[0] * 0.25, 0.8),
        ];
        let chats = around(&|p| p.habits[4], 0.5);
        let mails: Vec<i32> = columns[0].iter().map(|hours| (hours * random.random_range(5.0..12.0)) as i32).collect();
        let [mail, meeting, late, focus, call] =
            columns.map(|hours| Arc::new(Float64Array::from_iter_values(hours.into_iter().map(|h| h.min(80.0)))));
        let mut named: Vec<(&str, ArrayRef)> = vec![
            ("person_id", Arc::new(Int64Array::from_iter_values(persons.iter().map(|p| p.id)))),
            ("week", Arc::new(Int32Array::from(vec![week as i32; persons.len()]))),
            ("week_start", Arc::new(Date32Array::from(vec![19_723 + 7 * week as i32; persons.len()]))),
            ("email_hours", mail),
            ("meeting_hours", meeting),
            ("after_hours", late),
            ("focus_hours", focus),
            ("call_hours", call),
            ("email_count", Arc::new(Int32Array::from(mails))),
            ("chat_count", Arc::new(Int32Array::from_iter_values(chats.into_iter().map(|chats| chats as i32)))),
        ];
        append(&mut star, &folder.join("pw.parquet"), &RecordBatch::try_from_iter(named.clone()).unwrap());
        named.extend([
            ("function", text(persons.iter().map(|p| p.function))),
            ("level", text(persons.iter().map(|p| p.level))),
            ("country", text(persons.iter().map(|p| p.country))),
            ("org", text(persons.iter().map(|p| p.org.as_str()))),
        ]);
        append(&mut flat, &folder.join("pwf.parquet"), &RecordBatch::try_from_iter(named).unwrap());
    }
    star.unwrap().close().unwrap();
    flat.unwrap().close().unwrap();
}

/// Few persons have most of the events.
fn events(people: &[Person], count: usize, random: &mut StdRng) -> impl Iterator<Item = RecordBatch> {
    let volume = LogNormal::new(0.0, 1.0).unwrap();
    let mut total = 0.0;
    let cumulative: Vec<f64> = people
        .iter()
        .map(|_| {
            total += volume.sample(random);
            total
        })
        .collect();
    let (length, company) = (gamma(1.5, 8.0), Poisson::new(2.0).unwrap());
    (0..WEEKS).map(move |week| {
        let rows = count * (week + 1) / WEEKS - count * week / WEEKS;
        let mut times: Vec<i64> = (0..rows).map(|_| random.random_range(0..7 * 86_400)).collect();
        times.sort_unstable();
        let start = 1_704_067_200 + week as i64 * 7 * 86_400;
        let mut who = || {
            let at = random.random::<f64>() * total;
            people[cumulative.partition_point(|sum| *sum < at).min(people.len() - 1)].id
        };
        let persons: Int64Array = (0..rows).map(|_| Some(who())).collect();
        let kinds: Vec<&str> = (0..rows)
            .map(|_| match random.random_range(0..20) {
                0..10 => "email",
                10..13 => "meeting",
                13..19 => "chat",
                _ => "call",
            })
            .collect();
        let minutes: Float32Array = (0..rows).map(|_| Some(length.sample(random).round() as f32)).collect();
        let others: Int16Array = (0..rows).map(|_| Some(1 + company.sample(random) as i16)).collect();
        RecordBatch::try_from_iter([
            ("person_id", Arc::new(persons) as ArrayRef),
            ("ts", Arc::new(TimestampSecondArray::from_iter_values(times.iter().map(|time| start + time)))),
            ("kind", text(kinds.into_iter())),
            ("minutes", Arc::new(minutes)),
            ("participants", Arc::new(others)),
        ])
        .unwrap()
    })
}

fn append(writer: &mut Option<ArrowWriter<File>>, path: &Path, batch: &RecordBatch) {
    let made = || {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()))
            .build();
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap()
    };
    writer.get_or_insert_with(made).write(batch).unwrap();
}

fn write(path: &Path, batches: impl Iterator<Item = RecordBatch>) {
    let mut writer = None;
    batches.for_each(|batch| append(&mut writer, path, &batch));
    writer.unwrap().close().unwrap();
}
