//! The people of the demo: a made-up company of one reporting tree.
//!
//! In: a [`Size`]. Out: [`Company`], and its `person` table as one Arrow batch. The same size always gives the same
//! company. Nobody in it exists, and nothing here reads data of anybody who does.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::weighted::{Error as WeightError, WeightedIndex};
use rand_distr::{Distribution, Exp1};

use super::names::{CITIES, COUNTRIES, FAMILY_NAMES, FUNCTIONS, GIVEN_NAMES, LEVELS};

/// Monday, 1 January 2024: the first day of the first week, in days since 1970.
pub const FIRST_DAY: i32 = 19_723;

const SEED: u64 = 0x7061_7261_7665_6e74;

/// How much to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub persons: usize,
    pub weeks: i32,
    pub emails: usize,
}

impl Size {
    pub const DEMO: Self = Self { persons: 20_000, weeks: 52, emails: 2_000_000 };
}

/// One person. `depth` counts the managers above: 0 for the chief executive, at most 5.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: i64,
    /// Index into [`Company::persons`].
    pub manager: Option<usize>,
    pub depth: usize,
    pub function: usize,
    pub country: usize,
    city: usize,
    /// The index of the person two levels under the chief whose part of the company this is.
    org: Option<usize>,
    given_name: usize,
    family_name: usize,
    hired: i32,
}

/// Everyone, the chief executive first, then level by level.
#[derive(Debug)]
pub struct Company {
    persons: Vec<Person>,
}

/// A generator of its own for each table, so that one table's length does not change another's content.
pub(super) fn generator(table: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    rng.set_stream(table);
    rng
}

/// Persons a level: one chief, an executive a function, then ever wider; the lowest level takes the rest.
fn level_sizes(persons: usize) -> [usize; LEVELS.len()] {
    let functions = FUNCTIONS.len();
    let above = [
        1,
        functions,
        (persons * 3 / 1000).max(functions),
        (persons * 9 / 400).max(functions),
        (persons * 3 / 20).max(functions),
    ];
    let rest = persons.saturating_sub(above.iter().sum()).max(1);
    [above[0], above[1], above[2], above[3], above[4], rest]
}

/// Every executive has a director; beyond that large functions have many, in proportion.
fn executive_of(director: usize, directors: usize) -> usize {
    let functions = FUNCTIONS.len();
    if director < functions {
        return director;
    }
    let place = ((director - functions) as f64 + 0.5) / (directors - functions) as f64;
    let mut share = 0.0;
    let ends_after = |(_, weight, _): &(&str, f64, f64)| {
        share += weight;
        place < share
    };
    FUNCTIONS.iter().position(ends_after).unwrap_or(0)
}

impl Company {
    pub fn new(size: Size) -> Result<Self, WeightError> {
        let mut rng = generator(0);
        let countries = WeightedIndex::new((1..=COUNTRIES.len()).map(|rank| (rank as f64).powf(-0.9)))?;
        let mut persons: Vec<Person> = Vec::with_capacity(size.persons);
        let mut above = 0..0;
        for (depth, count) in level_sizes(size.persons).into_iter().enumerate() {
            let first = persons.len();
            for nth in 0..count {
                let manager = match depth {
                    0 => None,
                    1 => Some(0),
                    2 => Some(above.start + executive_of(nth, count)),
                    _ => Some(rng.random_range(above.clone())),
                };
                let function = match manager {
                    None => 0,
                    Some(_) if depth == 1 => nth,
                    Some(manager) => persons[manager].function,
                };
                let org = match depth {
                    0 | 1 => None,
                    2 => Some(persons.len()),
                    _ => manager.and_then(|manager| persons[manager].org),
                };
                let tenure_days: f64 = Exp1.sample(&mut rng);
                persons.push(Person {
                    id: 0,
                    manager,
                    depth,
                    function,
                    country: countries.sample(&mut rng),
                    city: rng.random_range(0..2),
                    org,
                    given_name: rng.random_range(0..GIVEN_NAMES.len()),
                    family_name: rng.random_range(0..FAMILY_NAMES.len()),
                    hired: FIRST_DAY - 1 - ((tenure_days * 2_000.0) as i32).min(9_000),
                });
            }
            above = first..persons.len();
        }
        let mut ids: Vec<i64> = (0..persons.len() as i64).map(|n| 1_000_001 + n).collect();
        ids.shuffle(&mut rng);
        for (person, id) in persons.iter_mut().zip(ids) {
            person.id = id;
        }
        Ok(Self { persons })
    }

    pub fn persons(&self) -> &[Person] {
        &self.persons
    }

    fn org_name(&self, person: &Person) -> String {
        match person.org {
            None => "Executive Office".to_owned(),
            Some(org) => {
                let first = 1 + FUNCTIONS.len();
                format!("{} {:02}", FUNCTIONS[person.function].0, org - first + 1)
            }
        }
    }

    /// The `person` table, ordered by person, which says nothing about the tree.
    pub fn table(&self) -> Result<RecordBatch, ArrowError> {
        let mut order: Vec<&Person> = self.persons.iter().collect();
        order.sort_unstable_by_key(|person| person.id);
        let text = |value: &dyn Fn(&Person) -> String| -> ArrayRef {
            Arc::new(order.iter().map(|p| Some(value(p))).collect::<StringArray>())
        };
        let manager = |person: &&Person| person.manager.map(|index| self.persons[index].id);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(order.iter().map(|p| Some(p.id)).collect::<Int64Array>()),
            text(&email_address),
            text(&|p| format!("{} {}", GIVEN_NAMES[p.given_name], FAMILY_NAMES[p.family_name])),
            Arc::new(order.iter().map(manager).collect::<Int64Array>()),
            text(&|p| FUNCTIONS[p.function].0.to_owned()),
            text(&|p| LEVELS[p.depth].0.to_owned()),
            text(&title),
            text(&|p| COUNTRIES[p.country].to_owned()),
            text(&|p| CITIES[p.country][p.city].to_owned()),
            text(&|p| self.org_name(p)),
            Arc::new(order.iter().map(|p| Some(p.hired)).collect::<Date32Array>()),
        ];
        RecordBatch::try_new(person_schema(), columns)
    }
}

fn email_address(person: &Person) -> String {
    let name = format!("{}.{}", GIVEN_NAMES[person.given_name], FAMILY_NAMES[person.family_name]);
    format!("{}.{}@paravent.example", name.to_lowercase(), person.id)
}

fn title(person: &Person) -> String {
    match person.depth {
        0 => LEVELS[0].1.to_owned(),
        depth => format!("{} {}", FUNCTIONS[person.function].0, LEVELS[depth].1),
    }
}

/// Everybody has a value in every column, but for the chief executive, who reports to nobody.
pub fn person_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new("person_id", DataType::Int64, false),
        text("email"),
        text("name"),
        Field::new("manager_id", DataType::Int64, true),
        text("function"),
        text("level"),
        text("title"),
        text("country"),
        text("city"),
        text("org"),
        Field::new("hired", DataType::Date32, false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_demo_company_is_one_tree_of_six_levels() {
        let company = Company::new(Size::DEMO).unwrap();
        let persons = company.persons();
        assert_eq!(persons.len(), 20_000);
        assert_eq!(persons.iter().filter(|p| p.manager.is_none()).count(), 1);
        for person in persons {
            let mut depth = 0;
            let mut above = person.manager;
            while let Some(index) = above {
                depth += 1;
                above = persons[index].manager;
            }
            assert_eq!(depth, person.depth);
        }
        let depths: BTreeSet<usize> = persons.iter().map(|p| p.depth).collect();
        assert_eq!(depths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let ids: BTreeSet<i64> = persons.iter().map(|p| p.id).collect();
        assert_eq!(ids.len(), persons.len());
    }

    #[test]
    fn functions_and_countries_are_skewed_and_all_there() {
        let company = Company::new(Size::DEMO).unwrap();
        let mut functions: BTreeMap<usize, usize> = BTreeMap::new();
        let mut countries: BTreeMap<usize, usize> = BTreeMap::new();
        for person in company.persons() {
            *functions.entry(person.function).or_default() += 1;
            *countries.entry(person.country).or_default() += 1;
        }
        assert_eq!((functions.len(), countries.len()), (8, 12));
        assert!(functions[&0] > 5 * functions[&7]);
        assert!(countries[&0] > 5 * countries[&11]);
        assert!(functions.values().chain(countries.values()).all(|&n| n > 50));
    }

    #[test]
    fn the_same_size_gives_the_same_company() {
        let size = Size { persons: 500, weeks: 1, emails: 10 };
        let table = |()| Company::new(size).unwrap().table().unwrap();
        assert_eq!(table(()), table(()));
        assert_eq!(table(()).num_rows(), 500);
        assert_eq!(table(()).column(3).null_count(), 1);
    }
}
