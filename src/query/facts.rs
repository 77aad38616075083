//! What is known of a plan's rows: whose they are, what their columns may be used for, how they can repeat.
//!
//! Law: a fact is only stated where it holds for every data set that the declared and proven keys allow.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::LogicalPlan;

use crate::error::{Error, Result};
use crate::policy::{Bounds, Class, Comparing};

/// A rewritten plan with its facts. The plan's first `visible` columns are those of the plan it came from, with the
/// same names and types; hidden ones (person key, profile, standard errors) stand behind them.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub plan: LogicalPlan,
    pub visible: usize,
    pub rows: Rows,
}

/// Design §3: the property of a plan node.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Public(Public),
    Person(Person),
}

/// Independent of any person's data, or already released.
#[derive(Debug, Clone, Default)]
pub(super) struct Public {
    pub columns: Vec<PublicColumn>,
    /// Sets of visible columns of which no two rows agree.
    pub unique: Vec<BTreeSet<usize>>,
    /// Rows that come from a release somewhere below.
    pub released: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PublicColumn {
    /// A column of a public table, unchanged: may be joined to identifiers.
    pub of_table: bool,
    /// As declared of a public table's column: how far an aggregate of persons' rows that uses it can go. Enforced there.
    pub bounds: Option<Bounds>,
    /// The hidden columns that say how far the noise may have moved this one.
    pub error: Option<ErrorColumns>,
}

/// Of a released value: its standard error, and the ends of its interval at each level that the statement names.
#[derive(Debug, Clone)]
pub(super) struct ErrorColumns {
    pub stddev: Column,
    pub ends: Vec<[Column; 2]>,
}

impl ErrorColumns {
    /// The same under other names; nothing where one of them has none.
    pub fn renamed(&self, mut name: impl FnMut(&Column) -> Option<Column>) -> Option<Self> {
        let stddev = name(&self.stddev)?;
        let ends = self.ends.iter().map(|[low, high]| Some([name(low)?, name(high)?])).collect::<Option<_>>()?;
        Some(Self { stddev, ends })
    }
}

/// Rows that belong to exactly one person each.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub columns: Vec<PersonColumn>,
    /// Sets of parts of which no two rows agree. Parts that depend on the person alone are left out beside the key.
    pub unique: Vec<BTreeSet<Part>>,
    /// At most this many rows of one person count.
    pub max_rows: Option<u64>,
    /// At most this many groups of one person count.
    pub max_groups: Option<u64>,
    /// Privacy policies whose budgets a release of these rows is charged to.
    pub policies: BTreeSet<String>,
    pub tables: BTreeSet<String>,
    pub person_key: String,
    /// A hidden boolean column behind the key: does the row fit the predicates on measures?
    pub profile: bool,
    /// The hidden key is not the person's key yet, but a value that leads to a row of the person's: rows of a linked table
    /// until the join is made, by the query or else by the rewrite.
    pub open: Option<Reach>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Key,
    Visible(usize),
}

#[derive(Debug, Clone)]
pub(super) struct PersonColumn {
    pub class: Class,
    /// Is the person key.
    pub key: bool,
    /// Has one value per person.
    pub determined: bool,
    /// NULL where an outer join found no partner.
    pub outer: bool,
    pub bounds: Option<Bounds>,
    /// Only 0, 1 (or NULL).
    pub zero_one: bool,
    /// The values there can be, beside NULL: declared, and enforced by the scan.
    pub domain: Option<Arc<Vec<ScalarValue>>>,
    /// The public table whose key these values are declared to be.
    pub refers: Option<Reach>,
    /// Rows of other tables that belong to this row's person, if there are any: where a table's unique key has this value.
    pub reaches: BTreeSet<Reach>,
    /// Why it must not be read, if so.
    pub refusal: Option<Error>,
}

/// A row of a table, found by the value of its unique key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reach {
    pub table: String,
    pub key: String,
}

impl PersonColumn {
    /// A value that no person has a part in.
    pub fn constant(bounds: Option<Bounds>) -> Self {
        let zero_one = bounds.is_some_and(|b| b.lower() == b.upper() && (b.lower() == 0.0 || b.lower() == 1.0));
        Self {
            class: Class::Public,
            key: false,
            determined: true,
            outer: false,
            bounds,
            zero_one,
            domain: None,
            refers: None,
            reaches: BTreeSet::new(),
            refusal: None,
        }
    }

    /// Says something about the person's behaviour or state: predicates on it are profiles.
    pub fn profiles(&self) -> bool {
        match self.class.rules().comparing {
            Comparing::Profiles => true,
            Comparing::Chooses => false,
            // Contents are refused before anybody asks, and so is comparing an identifier.
            Comparing::Refused => self.class == Class::Content,
        }
    }
}

/// How much a class says about a person; a value made of several has the most telling one.
pub(super) fn weight(class: Class) -> u8 {
    match class {
        Class::Public => 0,
        Class::Attribute => 1,
        Class::Measure => 2,
        Class::Sensitive => 3,
        Class::Identifier => 4,
        Class::Hidden => 5,
        Class::Content => 6,
    }
}

impl Node {
    pub fn column(&self, index: usize) -> Column {
        Column::from(self.plan.schema().qualified_field(index))
    }

    /// The hidden person key of person rows.
    pub fn key(&self) -> Column {
        self.column(self.visible)
    }

    /// The hidden profile flag of person rows, where there is one.
    pub fn profile(&self) -> Option<Column> {
        match &self.rows {
            Rows::Person(person) if person.profile => Some(self.column(self.visible + 1)),
            Rows::Person(_) | Rows::Public(_) => None,
        }
    }

    /// Columns that a node above must hand on although nobody asked for them.
    pub fn hidden(&self) -> Vec<Column> {
        (self.visible..self.plan.schema().fields().len()).map(|index| self.column(index)).collect()
    }
}

impl Person {
    /// One row per person?
    pub fn one_row(&self) -> bool {
        self.unique.iter().any(|parts| parts.iter().all(|part| *part == Part::Key))
    }

    /// No two rows of one person agree in `columns`?
    pub fn one_row_per(&self, columns: &BTreeSet<usize>) -> bool {
        self.unique.iter().any(|parts| {
            parts.iter().all(|part| match part {
                Part::Key => true,
                Part::Visible(index) => columns.contains(index),
            })
        })
    }

    /// Renames the parts of unique sets; `place` gives a column's new index, if it is still there.
    pub fn unique_after(&self, place: impl Fn(usize) -> Option<usize>) -> Vec<BTreeSet<Part>> {
        self.unique
            .iter()
            .filter_map(|parts| {
                parts
                    .iter()
                    .map(|part| match part {
                        Part::Key => Some(Part::Key),
                        Part::Visible(index) => place(*index).map(Part::Visible),
                    })
                    .collect()
            })
            .collect()
    }
}

/// The engine's complaint about a plan that this room built is a fault of this room.
pub(super) fn built<T>(result: datafusion::common::Result<T>) -> Result<T> {
    // The engine's text may quote what the analyst wrote, so it goes nowhere.
    result.map_err(|_| {
        tracing::error!("the rewrite built a plan that the engine refuses");
        Error::internal()
    })
}
