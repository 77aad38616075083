//! Scopes: which rows of a protected table a statement may count, as one function at the scan.
//!
//! In: what the policies say and what was found for it in the data of today (reporting lines, persons whom a row policy
//! allows), both by rooms that may. Out: for each table that anything is to be left out of, `in_scope(person key, columns …)`.
//! It is total, sees one row at a time, and is the same for everybody in the same scope: its identity says so, and is part of the
//! key under which answers are stored. Rows are taken away below everything else, so floor, mask and noise are of what is left.
//!
//! **Sensitivity** unchanged: whether a row stays depends on the row and its person, given the reporting lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use sha2::{Digest, Sha256};

use super::row_policy::RowRule;
use crate::policy::{Access, ByPerson, DigestOf, Digester, Person, ReportingLines, Table};

/// Why rows are left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// They belong to persons who do not report to the principal.
    Reports,
    /// A row policy: table and name.
    Rule(String, String),
    /// They belong to persons who were taken out.
    Excluded,
}

/// A test that persons pass or not.
#[derive(Debug)]
pub enum PersonTest {
    Reports {
        lines: Arc<ReportingLines>,
        range: Range<u32>,
    },
    /// Persons whom a row policy allows; whoever is not in it is out.
    Allowed {
        table: String,
        name: String,
        persons: Arc<ByPerson<bool>>,
    },
    NotExcluded(Arc<Excluded>),
}

/// Persons who were taken out, by the digests of their keys.
#[derive(Debug)]
pub struct Excluded {
    digests: BTreeSet<String>,
    digester: Digester,
    /// Digests take a microsecond each, and the same persons are asked about again and again.
    known: Mutex<ByPerson<bool>>,
}

/// Which persons under a privacy policy count.
#[derive(Debug)]
pub struct PersonScope {
    tests: Vec<PersonTest>,
    identity: String,
}

/// The scopes of one statement, by table. A table that is not here is read whole.
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    tables: BTreeMap<String, TableScope>,
}

/// What is called at every scan of a table.
#[derive(Debug, Clone)]
pub(super) struct TableScope {
    pub function: Arc<ScalarUDF>,
    /// Its arguments.
    pub columns: Vec<String>,
    pub reasons: BTreeSet<Reason>,
    identity: String,
}

impl Excluded {
    pub fn new(digests: BTreeSet<String>, digester: Digester) -> Self {
        Self { digests, digester, known: Mutex::default() }
    }

    pub fn digests(&self) -> &BTreeSet<String> {
        &self.digests
    }
}

impl PersonScope {
    /// `identity`: what the tests were made of; equal only where they test alike.
    pub fn new(tests: Vec<PersonTest>, identity: String) -> Self {
        Self { tests, identity }
    }

    fn reasons(&self) -> impl Iterator<Item = Reason> {
        self.tests.iter().map(|test| match test {
            PersonTest::Reports { .. } => Reason::Reports,
            PersonTest::Allowed { table, name, .. } => Reason::Rule(table.clone(), name.clone()),
            PersonTest::NotExcluded(_) => Reason::Excluded,
        })
    }
}

impl Scopes {
    /// `persons`: by privacy policy. `rules`: by table, of tables that do not have one row a person.
    pub fn new<'a>(
        tables: impl Iterator<Item = &'a Table>,
        persons: &BTreeMap<String, Arc<PersonScope>>,
        mut rules: BTreeMap<String, Vec<Arc<RowRule>>>,
    ) -> Self {
        let scope = |table: &'a Table| {
            let rules = rules.remove(&table.name).unwrap_or_default();
            // Rows of other tables are their persons' through one that names the person, and are left out there.
            let (key, persons) = match &table.access {
                Access::Protected { policy, person_key } => {
                    (person_key, persons.get(policy).filter(|scope| !scope.tests.is_empty()).cloned())
                }
                Access::Linked { by, .. } => (&by.column, None),
                // Nobody asks whose row it is.
                Access::Directory => (&table.columns.first()?.name, None),
                Access::Public | Access::Unclassified => return None,
            };
            TableScope::new(key, persons, rules).map(|scope| (table.name.clone(), scope))
        };
        Self { tables: tables.filter_map(scope).collect() }
    }

    pub(super) fn of(&self, table: &str) -> Option<&TableScope> {
        self.tables.get(table)
    }

    /// What answers about a table are only good for: equal where everybody who asks gets the same rows.
    pub fn identity(&self, table: &str) -> &str {
        self.tables.get(table).map_or("", |scope| &scope.identity)
    }
}

impl TableScope {
    /// The names of the row policies that take rows away.
    pub(super) fn policies(&self) -> Vec<String> {
        let names = self.reasons.iter().filter_map(|reason| match reason {
            Reason::Rule(_, name) => Some(name.clone()),
            Reason::Reports | Reason::Excluded => None,
        });
        names.collect()
    }

    fn new(key: &str, persons: Option<Arc<PersonScope>>, rules: Vec<Arc<RowRule>>) -> Option<Self> {
        if persons.is_none() && rules.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        // Whose row it is comes first, also where only rules ask.
        let (mut columns, mut reasons) = (vec![key.to_owned()], BTreeSet::new());
        if let Some(persons) = &persons {
            part("persons");
            part(&persons.identity);
            reasons.extend(persons.reasons());
        }
        for rule in &rules {
            part(rule.table());
            part(rule.name());
            part(rule.using());
            columns.extend(rule.columns().cloned());
            reasons.insert(Reason::Rule(rule.table().to_owned(), rule.name().to_owned()));
        }
        let identity: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let function = InScope {
            signature: Signature::any(columns.len(), Volatility::Immutable),
            identity: identity.clone(),
            persons,
            rules,
        };
        Some(Self { function: Arc::new(ScalarUDF::new_from_impl(function)), columns, reasons, identity })
    }
}

/// `in_scope(person key, columns of each rule …)`: false rather than NULL.
struct InScope {
    signature: Signature,
    identity: String,
    persons: Option<Arc<PersonScope>>,
    rules: Vec<Arc<RowRule>>,
}

impl InScope {
    fn rows(&self, columns: &[ArrayRef], count: usize) -> datafusion::common::Result<BooleanArray> {
        let lost = || DataFusionError::Plan("in_scope with other arguments".to_owned());
        let mut kept = vec![true; count];
        let (key, mut columns) = columns.split_first().ok_or_else(lost)?;
        if let Some(persons) = &self.persons {
            for test in &persons.tests {
                test.keep(key, &mut kept)?;
            }
        }
        for rule in &self.rules {
            let width = rule.columns().len();
            let (own, rest) = columns.split_at_checked(width).ok_or_else(lost)?;
            columns = rest;
            for (kept, allowed) in kept.iter_mut().zip(rule.allows(own, count)?.iter()) {
                *kept &= allowed == Some(true);
            }
        }
        Ok(BooleanArray::from(kept))
    }
}

impl PersonTest {
    fn keep(&self, keys: &ArrayRef, kept: &mut [bool]) -> datafusion::common::Result<()> {
        let mut kept = kept.iter_mut();
        let mut and = |passes: bool| {
            if let Some(kept) = kept.next() {
                *kept &= passes;
            }
        };
        match self {
            Self::Reports { lines, range } => for_each_person(keys, |person| {
                let position = person.and_then(|person| lines.position(person));
                and(position.is_some_and(|position| range.contains(&position)));
            }),
            Self::Allowed { persons, .. } => {
                for_each_person(keys, |person| and(person.and_then(|person| persons.get(person)) == Some(true)))
            }
            Self::NotExcluded(excluded) => {
                let mut known = excluded.known.lock().unwrap_or_else(PoisonError::into_inner);
                for_each_person(keys, |person| {
                    let Some(person) = person else { return and(false) };
                    let out = known.get(person).unwrap_or_else(|| {
                        let out = excluded.digests.contains(&excluded.digester.digest(DigestOf::Excluded, person));
                        known.insert(person, out);
                        out
                    });
                    and(!out);
                })
            }
        }
    }
}

/// The persons of a column of keys, row by row; `None` where there is none.
pub fn for_each_person(keys: &ArrayRef, mut each: impl FnMut(Option<Person<'_>>)) -> datafusion::common::Result<()> {
    let narrow = keys.data_type().is_integer() && *keys.data_type() != DataType::UInt64;
    if narrow {
        let numbers = cast(keys, &DataType::Int64)?;
        numbers.as_primitive::<Int64Type>().iter().for_each(|number| each(number.map(Person::Number)));
    } else {
        let texts = texts(keys)?;
        texts.as_string_view().iter().for_each(|text| each(text.map(Person::of_text)));
    }
    Ok(())
}

/// Keys as texts, whatever their type.
pub fn texts(keys: &ArrayRef) -> datafusion::common::Result<ArrayRef> {
    let text = matches!(keys.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let written = if text { keys.clone() } else { cast(keys, &DataType::Utf8)? };
    Ok(cast(&written, &DataType::Utf8View)?)
}

impl PartialEq for InScope {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity && self.signature == other.signature
    }
}

impl Eq for InScope {}

impl Hash for InScope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl fmt::Debug for InScope {
    /// Without who is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScope").finish_non_exhaustive()
    }
}

impl ScalarUDFImpl for InScope {
    fn name(&self) -> &str {
        "in_scope"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        // Scalars alone give arrays of one row.
        let count = columns.first().map_or(args.number_rows, |column| column.len());
        Ok(ColumnarValue::Array(Arc::new(self.rows(&columns, count)?)))
    }
}

/// Is `function` the one that `scope` stands for?
pub(super) fn is_scope(function: &ScalarUDF, scope: &TableScope) -> bool {
    function.inner().downcast_ref::<InScope>().is_some_and(|found| found.identity == scope.identity)
}
