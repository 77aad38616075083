//! The path of a query, one verb a line. Simple query, extended query, cursors and COPY all come through here.
//!
//! Law: no rows leave before they were paid for and what became of them is on disk. Whatever fails is logged as well.

use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast;

use super::answer::Notice;
use super::recent::{Given, Question};
use super::surroundings::Surroundings;
use super::{Protocol, Session};
use crate::error::{Error, Result, SqlState};
use crate::ledger::{Charge, Entry, Limits, Outcome, Reservation, ToStore};
use crate::query::{self, Checked, Verified};
use crate::release::{self, Drawn, Measured, Origin, Released, Shaped};

/// One statement as it was asked.
pub(super) struct Asked<'a> {
    pub text: &'a str,
    pub kind: &'static str,
    pub parameters: &'a [ScalarValue],
    pub protocol: Protocol,
    pub began: Instant,
}

/// Why there is no answer, and whether the log already says so.
pub(super) struct Failure {
    pub error: Error,
    pub logged: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, logged: false }
    }
}

/// Measured rows that are already there, and where they came from.
#[derive(Default)]
pub(super) struct Known {
    rows: Vec<Option<Measured>>,
    pub origins: Vec<Origin>,
}

impl Known {
    /// A sum of stored groups is not what a new release would give, so it is said.
    fn notices(&self) -> Option<Notice> {
        self.origins.contains(&Origin::RollUp).then(|| Notice {
            severity: "NOTICE",
            message: "the answer was added up from stored groups; groups that were too small to be shown are missing"
                .to_owned(),
            hint: Some("SET privacy.prefer = 'accuracy' spends budget on a new answer".to_owned()),
        })
    }
}

impl Session {
    /// `question`: under which the answer is looked for the next time.
    pub(super) async fn query(
        &mut self,
        asked: &Asked<'_>,
        query: &ast::Query,
        question: Option<Question>,
    ) -> Result<Shaped, Failure> {
        let around = self.surroundings(query, asked.text).await?;
        let verified = match compile_or_probe(&around, query, asked.parameters)? {
            Compiled::Empty(columns) => {
                let mut entry = self.entry(asked)?;
                entry.tables = names_of(&around);
                self.server.ledger.record(entry).await?;
                return Ok(Shaped::empty(columns));
            }
            Compiled::Private(verified) => verified,
        };
        let said = self.notices.len();
        let (shaped, persons) = self.answered(asked, &around, &verified).await?;
        if let Some(question) = question.filter(|_| !verified.releases().is_empty()) {
            let given = Given {
                looked: around.looked.identities(),
                shaped: shaped.clone(),
                notices: self.notices.get(said..).unwrap_or_default().to_vec(),
                tables: names_of(&around),
                columns: columns_read(&verified),
                protections: verified.protections(),
                persons,
            };
            self.keep_given(question, query, &around, given);
        }
        Ok(shaped)
    }

    /// From proof to answer, and how many persons it describes, as noised.
    pub(super) async fn answered(
        &mut self,
        asked: &Asked<'_>,
        around: &Surroundings,
        verified: &Verified,
    ) -> Result<(Shaped, Option<u64>), Failure> {
        self.shown_under = verified.recipe().map(|recipe| recipe.access);
        let (known, _turn) = self.known_in_turn(around, verified).await?;
        self.notices.extend(known.notices().into_iter().chain(verified.notices().iter().map(Notice::new)));
        let reservation = self.reserve(asked, around, verified, &known).await?;
        self.unfinished = Some(reservation.log_id());
        let log = reservation.log_id();
        let from_store = !known.origins.is_empty() && !known.origins.contains(&Origin::New);
        let anew = known.origins.contains(&Origin::New);
        let mut store = Vec::new();
        let answered = self.fulfil(around, reservation, verified, known, &mut store).await;
        let outcome = match &answered {
            Ok((shaped, persons)) => Outcome::Answered { rows: shaped.rows(), from_store, persons: *persons },
            Err(error) => Outcome::Failed { sqlstate: error.sqlstate },
        };
        self.server.ledger.finish(log, outcome, asked.began.elapsed(), store).await?;
        self.unfinished = None;
        if anew {
            wait_for_whole_quantum(asked.began, around.context.policies.settings.response_quantum_ms).await;
        }
        answered.map_err(|error| Failure { error, logged: true })
    }

    /// What a paid statement gets, and how many persons it describes, as noised. `store`: what is to be kept of it, also where what
    /// comes after the releases fails.
    async fn fulfil(
        &self,
        around: &Surroundings,
        paid: Reservation,
        verified: &Verified,
        known: Known,
        store: &mut Vec<ToStore>,
    ) -> Result<(Shaped, Option<u64>)> {
        let mut sources = self.sources(around).await?;
        let keys = self.row_keys(verified).await?;
        let (engine, drawn) = (&self.server.engine, Drawn::with(&around.context));
        let (paid, measured, released) = release::execute(engine, paid, verified, known.rows, &sources, drawn).await?;
        if known.origins.contains(&Origin::New) {
            self.refuse_changed_data(around).await?;
        }
        let epoch = around.context.policies.release_epoch;
        let shown: Vec<Option<Released>> = released.iter().cloned().map(Some).collect();
        for ((release, rows), origin) in verified.releases().iter().zip(&measured).zip(&known.origins) {
            if *origin == Origin::New
                && let Some(key) = release::rows_key(release, &shown, &around.snapshots, &around.context.scopes, epoch)?
            {
                store.push(ToStore::new(&paid, key, rows.answers()?, rows.to_bytes()?, epoch));
            }
        }
        let persons = verified.releases().iter().zip(&measured).map(|(release, rows)| rows.persons(release));
        let persons = persons.collect::<Result<Vec<_>>>()?.into_iter().max();
        release::open(engine, verified, &mut sources, keys.as_ref()).await?;
        let shaped = release::shape(engine, verified, &released, &sources).await?;
        if let Some(recipe) = verified.recipe() {
            self.refuse_changed_data(around).await?;
            self.server.ledger.open_rows(recipe.access, shaped.names().clone(), recipe.cap).await?;
        }
        Ok((shaped, persons))
    }

    /// The proofs that an answer rests on (keys, bounds) are of the data as it was when the statement began. Files that were loaded since
    /// were not read; who is in a scope is asked of all the data.
    async fn refuse_changed_data(&self, around: &Surroundings) -> Result<()> {
        let files = &self.server.files;
        let named = around.tables.iter().map(|table| (table, None));
        let scoping = around.scoping.iter().map(|(table, snapshot)| (table, Some(snapshot)));
        for (table, of_scope) in named.chain(scoping) {
            let same = match (of_scope, around.listings.get(&table.name)) {
                (Some(then), _) => files.snapshot(&table.location).await?.as_str() == then,
                (None, Some(listing)) => files.is_unchanged(listing).await,
                (None, None) => false,
            };
            if !same {
                return Err(Error::new(
                    SqlState::ObjectNotInPrerequisiteState,
                    format!("the data of table \"{}\" changed while it was read", table.name),
                )
                .hint("ask again; replace files by renaming, so that they change at once"));
            }
        }
        Ok(())
    }

    /// The answer store: what was drawn of the same data under the same rules costs nothing more. A release that reads an earlier
    /// one is known only where that one is.
    pub(super) async fn known(&self, around: &Surroundings, verified: &Verified) -> Result<Known> {
        let (epoch, prefer_stored) = (around.context.policies.release_epoch, self.prefers_stored());
        let mut known = Known::default();
        let mut shown: Vec<Option<Released>> = Vec::new();
        for release in verified.releases() {
            let found = match release::rows_key(release, &shown, &around.snapshots, &around.context.scopes, epoch)? {
                Some(key) => {
                    let kept = self.server.ledger.stored(&key).await?;
                    match release::find(release, &kept, Drawn::with(&around.context), prefer_stored)? {
                        Some(found) => {
                            let answer = kept.get(found.number).ok_or_else(Error::internal)?;
                            let rows = found.measured(&self.server.ledger.measured(answer).await?)?;
                            Some((rows, found.origin))
                        }
                        None => None,
                    }
                }
                None => None,
            };
            let (rows, origin) = match found {
                Some((rows, origin)) => (Some(rows), origin),
                None => (None, Origin::New),
            };
            shown.push(release::shown(release, rows.as_ref(), verified.levels())?);
            known.rows.push(rows);
            known.origins.push(origin);
        }
        Ok(known)
    }

    /// Prices what is not known yet, and debits it together with the log's line.
    async fn reserve(
        &self,
        asked: &Asked<'_>,
        around: &Surroundings,
        verified: &Verified,
        known: &Known,
    ) -> Result<Reservation, Failure> {
        let fresh = |number: usize| known.origins.get(number) == Some(&Origin::New);
        let priced = verified.price(fresh)?;
        let charges = priced.into_iter().map(|(policy, price)| Charge { policy, price }).collect();
        let limits = Limits::new(&around.context.policies.settings)?;
        let mut entry = self.entry(asked)?;
        entry.tables = names_of(around);
        entry.columns = columns_read(verified);
        entry.protections = verified.protections();
        entry.access = verified.recipe().map(|recipe| recipe.access);
        self.server.ledger.reserve(entry, charges, &limits).await.map_err(|error| {
            let logged = error.sqlstate == SqlState::ConfigurationLimitExceeded;
            Failure { error, logged }
        })
    }

    pub(super) fn entry(&self, asked: &Asked<'_>) -> Result<Entry> {
        // Who may log in no more acts as nobody, and that is logged too.
        let roles = self.acts_as().map(|principal| principal.roles().clone()).unwrap_or_default();
        Ok(Entry {
            who: self.client.user.clone(),
            roles: roles.into_iter().filter(|role| *role != self.client.user).collect(),
            database: self.client.database.clone(),
            application_name: self.application_name(),
            purpose: self.purpose(),
            statement: asked.text.to_owned(),
            protocol: asked.protocol.name().to_owned(),
            kind: asked.kind.to_owned(),
            tables: Vec::new(),
            columns: Vec::new(),
            access: None,
            protections: String::new(),
        })
    }
}

/// Answers that come from raw rows leave at whole multiples of a quantum, so that how long they took says little of the rows. Whether
/// they came or failed, and after they were paid for and logged. Source: Askarov, Zhang, Myers 2010, "Predictive Black-Box Mitigation
/// of Timing Channels", section 2.
async fn wait_for_whole_quantum(began: Instant, quantum_ms: u64) {
    let took = began.elapsed().as_micros();
    let Some(whole) = took.checked_div(u128::from(quantum_ms) * 1_000).map(|quanta| (quanta + 1) as u64) else {
        return;
    };
    let until = began + Duration::from_millis(quantum_ms.saturating_mul(whole));
    tokio::time::sleep_until(until.into()).await;
}

fn names_of(around: &Surroundings) -> Vec<String> {
    around.tables.iter().map(|table| table.name.clone()).collect()
}

/// `table.column`, of what was read.
fn columns_read(verified: &Verified) -> Vec<String> {
    let reads = verified.reads();
    reads.iter().flat_map(|(table, columns)| columns.iter().map(move |column| format!("{table}.{column}"))).collect()
}

/// What a query is, as far as it can be known without a row.
pub(super) enum Compiled {
    /// An answer that has no rows whatever the data: it is given without a release.
    Empty(SchemaRef),
    Private(Box<Verified>),
}

pub(super) fn compile_or_probe(
    around: &Surroundings,
    query: &ast::Query,
    parameters: &[ScalarValue],
) -> Result<Compiled> {
    let checked = check(around, query, parameters)?;
    match query::probe(&around.context, &checked) {
        Some(columns) => Ok(Compiled::Empty(columns)),
        None => prove(around, checked).map(Box::new).map(Compiled::Private),
    }
}

/// Text to proof: nothing here reads a row or spends anything.
pub(super) fn compile(around: &Surroundings, query: &ast::Query, parameters: &[ScalarValue]) -> Result<Verified> {
    prove(around, check(around, query, parameters)?)
}

fn check(around: &Surroundings, query: &ast::Query, parameters: &[ScalarValue]) -> Result<Checked> {
    let resolved = query::resolve(&around.context, query, parameters)?;
    query::check(&around.context, resolved)
}

fn prove(around: &Surroundings, checked: Checked) -> Result<Verified> {
    let context = &around.context;
    let checked = query::with_declared_values(context, checked);
    let private = query::rewrite(context, checked)?;
    let verified = query::verify(context, private)?;
    query::refuse_outside_purpose(context, &verified)?;
    Ok(verified)
}
