//! `ANALYZE table`: private statistics, released and paid for like any answer, and kept for the compiler.
//!
//! In: a table's name. Out: a line in the ledger's `table_statistics`, and a notice of what it cost. The questions are ordinary SQL
//! through the one path; nothing here sees a row. Law: one snapshot of the data is paid for once; what is known of it is not asked
//! again.
//!
//! Sensitive and hidden columns are not asked about: nobody reads the one without a purpose that names it, nor the other outside of a
//! metric, and an administrator's ANALYZE is neither. Their bounds are declared; a notice says which have none.
//!
//! **Sensitivity** of each question: one person has one row in the inner query, so each measurement moves by one.
//! **Noise** as of any release: persons and trees of quantiles. **Cost** `privacy.analyze_epsilon` in all, over two statements: the first
//! finds the magnitudes on a logarithmic scale and spends three tenths of rho (of epsilon, where the system's mechanism is Laplace's: so
//! that a policy all of whose answers have an epsilon keeps it), the second the quantiles between them.
//! **Source** the trees are those of `percentile_cont`; two steps from coarse to fine as in Smith 2011, "Privacy-Preserving Statistical
//! Estimation with Optimal Convergence Rates", section 3.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::sql::sqlparser::ast;

use super::Session;
use super::answer::{Answer, Notice};
use super::path::{Asked, Failure, compile};
use super::surroundings::Looked;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, Capability, Class, Mechanism, Principal, Settings, Table, Weights};
use crate::query::parse;
use crate::query::statement::Statement;
use crate::query::statistics::{FRACTIONS, Quantiles, Spread, Statistics};
use crate::release::Shaped;

/// What the coarse step gets of the price.
const COARSE: f64 = 0.3;
/// The coarse scale: ln(1 + |x| · FINEST) of either sign, up to SCALE. Values are told apart from a millionth to 10^20.
const FINEST: f64 = 1e6;
const SCALE: f64 = 60.0;
/// One of the 256 leaves of the coarse scale.
const LEAF: f64 = 2.0 * SCALE / 256.0;
/// Rows per person are looked for up to e^20.
const ROWS_SCALE: f64 = 20.0;

/// How far beyond the upper quartile persons are looked for: a log-normal tail of standard deviation 1 has one in two hundred further
/// out than seven times.
const TAIL: f64 = 8.0;

/// What is asked about one table.
struct Target {
    table: Table,
    /// `FROM … JOIN …` down to the table that holds the person key, and the key.
    from: String,
    key: String,
    /// Numeric columns without declared bounds.
    columns: Vec<String>,
    /// Rows per person are not declared.
    rows: bool,
    /// Numeric columns without declared bounds that ANALYZE does not look at.
    withheld: Vec<String>,
    snapshot: String,
    of: String,
}

/// Where quantiles are looked for.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

impl Session {
    /// Errors: 42501 for anybody but administrators, 42P01, 42809 for tables without persons, 53400 where the budget is spent.
    pub(super) async fn analyze(&mut self, asked: &Asked<'_>, tables: &[String]) -> Result<Answer, Failure> {
        refuse_others(&self.principal()?)?;
        let settings = self.server.catalog.policies().settings.clone();
        for name in tables {
            let target = self.target(name).await?;
            self.notices.extend(target.of_withheld());
            let kept = self.server.ledger.statistics(name, &target.snapshot).await?;
            let known = kept.and_then(|text| Statistics::from_text(&text)).is_some_and(|known| known.of == target.of);
            if known {
                self.notices.push(Notice::new(format!(
                    "statistics of table {name} are of the present data: nothing was spent"
                )));
                continue;
            }
            let found = self.statistics(asked, &target, &settings).await?;
            self.notices.push(match found {
                Some(_) => Notice::new(format!("statistics of table {name} cost epsilon {}", settings.analyze_epsilon)),
                None => Notice::new(format!("table {name} holds too few persons for statistics")),
            });
            if let Some(statistics) = found {
                self.server.ledger.keep_statistics(name, &target.snapshot, statistics.to_text()?).await?;
            }
        }
        Ok(Answer::done("ANALYZE"))
    }

    async fn target(&self, name: &str) -> Result<Target> {
        let policies = self.server.catalog.policies();
        let table = policies.tables.get(name).ok_or_else(|| refuse_unknown(name))?.clone();
        let path = policies.persons_by(name);
        let Some((holder, person_key)) = path.last().and_then(|last| match &last.access {
            Access::Protected { person_key, .. } => Some((last.name.clone(), person_key.clone())),
            Access::Linked { .. } | Access::Public | Access::Directory | Access::Unclassified => None,
        }) else {
            return Err(refuse_public(name));
        };
        let mut from = format!("FROM {}", quoted(name));
        for pair in path.windows(2) {
            if let ([one, _], Access::Linked { by, .. }) = (pair, &pair[0].access) {
                let (left, right) = (quoted(&one.name), quoted(&by.table));
                let on = format!("{left}.{} = {right}.{}", quoted(&by.column), quoted(&by.key));
                write!(from, " JOIN {right} ON {on}").map_err(|_| Error::internal())?;
            }
        }
        let wanted = |column: &&crate::policy::Column| {
            matches!(column.class, Some(Class::Measure | Class::Attribute))
                && column.is_numeric()
                && column.bounds.is_none()
        };
        let columns = table.columns.iter().filter(wanted).map(|column| column.name.clone()).collect();
        let withheld = |column: &&crate::policy::Column| {
            matches!(column.class, Some(Class::Sensitive | Class::Hidden))
                && column.is_numeric()
                && column.bounds.is_none()
        };
        let withheld = table.columns.iter().filter(withheld).map(|column| column.name.clone()).collect();
        let rows = table.max_rows_per_person.is_none() && !table.is_unique(&[person_key.as_str()]);
        let key = format!("{}.{}", quoted(&holder), quoted(&person_key));
        let (snapshot, of) = (self.statistics_snapshot(&table).await?, format!("{:?}", table.access));
        Ok(Target { table, from, key, columns, rows, withheld, snapshot, of })
    }

    /// The identity of the data that statistics of a table are about: its own, and that of the tables its persons are found in.
    pub(super) async fn statistics_snapshot(&self, table: &Table) -> Result<String> {
        self.statistics_snapshot_of(table, &mut Looked::default()).await
    }

    /// The same, of data that a statement looks at.
    pub(super) async fn statistics_snapshot_of(&self, table: &Table, looked: &mut Looked) -> Result<String> {
        let policies = self.server.catalog.policies();
        let mut snapshots = Vec::new();
        for part in policies.persons_by(&table.name) {
            snapshots.push(looked.at(&self.server.files, &part.location).await?.snapshot().as_str().to_owned());
        }
        Ok(snapshots.join("\n"))
    }

    async fn statistics(
        &mut self,
        asked: &Asked<'_>,
        target: &Target,
        settings: &Settings,
    ) -> Result<Option<Statistics>, Failure> {
        let coarse: Vec<(String, Range)> = target.coarse();
        let part = |share: f64| Settings {
            epsilon: match settings.mechanism {
                Mechanism::Gaussian => settings.analyze_epsilon * share.sqrt(),
                Mechanism::Laplace => settings.analyze_epsilon * share,
            },
            delta: settings.delta / 2.0,
            // As much as a tree: few persons are to have statistics, too.
            weights: Weights::of_only_persons(100.0),
            ..settings.clone()
        };
        let found = self.quantiles(asked, target, &coarse, part(COARSE)).await?;
        let Some((_, found)) = found else { return Ok(None) };
        let (fine, settings) = (target.fine(&found), part(1.0 - COARSE));
        let noise = of_node(settings.mechanism, settings.epsilon, fine.len());
        let Some((persons, found)) = self.quantiles(asked, target, &fine, settings).await? else {
            return Ok(None);
        };
        let kept = kept(persons, noise);
        Ok(target.statistics(persons, found, kept))
    }

    /// The number of persons, and the quantiles of each expression; `None` where too few persons are there. A quantile that may not be
    /// shown is no number.
    async fn quantiles(
        &mut self,
        asked: &Asked<'_>,
        target: &Target,
        wanted: &[(String, Range)],
        settings: Settings,
    ) -> Result<Option<(f64, Vec<Vec<f64>>)>, Failure> {
        let sql = target.question(wanted)?;
        let query = match parse::parse(&sql).map(|mut parsed| parsed.pop().map(|parsed| parsed.statement)) {
            Ok(Some(Statement::Query(query))) => query,
            Ok(_) | Err(_) => return Err(Error::internal().into()),
        };
        let shaped = self.as_statistician(asked, &target.table.name, &query, &sql, settings).await?;
        Ok(numbers(&shaped)?.map(|numbers| {
            let (persons, rest) = numbers.split_first().map_or((0.0, &[][..]), |(first, rest)| (*first, rest));
            (persons, rest.chunks(FRACTIONS.len()).map(<[f64]>::to_vec).collect())
        }))
    }

    async fn as_statistician(
        &mut self,
        asked: &Asked<'_>,
        table: &str,
        query: &ast::Query,
        sql: &str,
        settings: Settings,
    ) -> Result<Shaped, Failure> {
        let (policies, principal) = self.server.catalog.policies().with_statistician(table);
        let principal = principal.ok_or_else(Error::internal)?;
        let around = self.surroundings_as(query, sql, Arc::new(policies), principal, &settings).await?;
        let said = self.notices.len();
        let answered = match compile(&around, query, asked.parameters) {
            Ok(verified) => self.answered(asked, &around, &verified).await,
            Err(refusal) => Err(refusal.into()),
        };
        if let Err(failure) = &answered {
            tracing::error!(sqlstate = failure.error.sqlstate.code(), "a question of ANALYZE was refused");
        }
        // What the compiler says of its questions is not what the administrator asked.
        self.notices.truncate(said);
        answered.map(|(shaped, _)| shaped)
    }
}

impl Target {
    fn of_withheld(&self) -> Option<Notice> {
        let first = self.withheld.first()?;
        let (table, columns) = (&self.table.name, self.withheld.join(", "));
        Some(Notice {
            hint: Some(format!("ALTER TABLE {table} ALTER COLUMN {first} SET (lower = …, upper = …)")),
            ..Notice::new(format!(
                "no statistics of {columns} of table {table}: bounds of sensitive and hidden columns are declared"
            ))
        })
    }

    /// One row a person: `n` rows, the largest `u…` and the least `d…` of each column; of them the wanted values `v…`.
    fn question(&self, wanted: &[(String, Range)]) -> Result<String> {
        let (mut outer, mut middle) = ("count(*)".to_owned(), "who".to_owned());
        for (i, (value, range)) in wanted.iter().enumerate() {
            write!(middle, ", clamp({value}, {:?}, {:?}) AS v{i}", range.low, range.high)
                .map_err(|_| Error::internal())?;
            for fraction in FRACTIONS {
                write!(outer, ", percentile_cont({fraction}) WITHIN GROUP (ORDER BY v{i})")
                    .map_err(|_| Error::internal())?;
            }
        }
        let mut inner = format!("{} AS who, count(*) AS n", self.key);
        for (i, column) in self.columns.iter().enumerate() {
            let column = format!("CAST({}.{} AS double precision)", quoted(&self.table.name), quoted(column));
            write!(inner, ", max({column}) AS u{i}, min({column}) AS d{i}").map_err(|_| Error::internal())?;
        }
        let persons = format!("SELECT {inner} {} GROUP BY {}", self.from, self.key);
        Ok(format!("SELECT {outer} FROM (SELECT {middle} FROM ({persons}) AS one) AS two"))
    }

    /// Rows, then each column's largest and (negated) least value of a person, on the logarithmic scale.
    fn coarse(&self) -> Vec<(String, Range)> {
        let mut wanted = Vec::new();
        if self.rows {
            wanted.push(("ln(n)".to_owned(), Range { low: 0.0, high: ROWS_SCALE }));
        }
        let scaled = |value: String| {
            let magnitude = format!("ln(1.0 + {FINEST:?} * abs({value}))");
            (
                format!("CASE WHEN {value} < 0.0 THEN -{magnitude} ELSE {magnitude} END"),
                Range { low: -SCALE, high: SCALE },
            )
        };
        for i in 0..self.columns.len() {
            wanted.push(scaled(format!("u{i}")));
            wanted.push(scaled(format!("(-d{i})")));
        }
        wanted
    }

    /// The same on their own scale, between what the coarse step found, with room for its error.
    fn fine(&self, coarse: &[Vec<f64>]) -> Vec<(String, Range)> {
        // Further out the noise decides where there are few persons.
        let fraction =
            |i: usize, at: usize| coarse.get(i).and_then(|values| values.get(at)).copied().unwrap_or(f64::NAN);
        let (first, last) = (|i: usize| fraction(i, 0), |i: usize| fraction(i, 1));
        let mut wanted = Vec::new();
        let mut next = 0;
        if self.rows {
            // Where nothing was found, no further than a dozen.
            let last = if last(0).is_finite() { last(0) } else { 0.0 };
            let high = (last + ROWS_SCALE / 256.0).clamp(0.5, ROWS_SCALE).exp() * TAIL;
            wanted.push(("n".to_owned(), Range { low: 0.0, high: high.ceil() }));
            next = 1;
        }
        for i in 0..self.columns.len() {
            for (value, at) in [(format!("u{i}"), next + 2 * i), (format!("(-d{i})"), next + 2 * i + 1)] {
                wanted.push((value, around(first(at), last(at))));
            }
        }
        wanted
    }

    fn statistics(&self, persons: f64, found: Vec<Vec<f64>>, kept: usize) -> Option<Statistics> {
        let mut found = found.into_iter();
        let rows = if self.rows {
            Quantiles::new(found.next()?, kept)?
        } else {
            let declared = self.table.max_rows_per_person.unwrap_or(1);
            Quantiles::new(vec![declared as f64; FRACTIONS.len()], FRACTIONS.len())?
        };
        let mut columns = std::collections::BTreeMap::new();
        for column in &self.columns {
            if let (Some(up), Some(down)) = (Quantiles::new(found.next()?, kept), Quantiles::new(found.next()?, kept)) {
                columns.insert(column.clone(), Spread { down, up });
            }
        }
        Some(Statistics { of: self.of.clone(), persons, rows, columns })
    }
}

/// The median and the upper quartile of the coarse scale, a leaf further out, and on the upper side room for a tail; where nothing was
/// found, nothing.
fn around(median: f64, quartile: f64) -> Range {
    if !(median.is_finite() && quartile.is_finite()) {
        return Range { low: 0.0, high: 1.0 };
    }
    let back = |scaled: f64| (scaled.abs().min(SCALE).exp() - 1.0) / FINEST * scaled.signum();
    let (low, high) = (back(median - LEAF), back(median.max(quartile) + LEAF));
    let low = if low > 0.0 { 0.0 } else { low * TAIL };
    let high = if high > 0.0 { high * TAIL } else { high / TAIL };
    Range { low, high: if high > low { high } else { low + 1.0 / FINEST } }
}

/// The noise of a node, about: each of so many trees of four levels, and the persons, get an equal part.
fn of_node(mechanism: Mechanism, epsilon: f64, trees: usize) -> f64 {
    let parts = (trees + 1) as f64;
    match mechanism {
        Mechanism::Gaussian => (4.0 * parts).sqrt() / epsilon,
        Mechanism::Laplace => std::f64::consts::SQRT_2 * 4.0 * parts / epsilon,
    }
}

/// How many of the fractions say something: beyond one there must be three times as many persons as the noise of a rank, which is
/// that of half the siblings at each of four levels of four. `node`: the noise of one.
fn kept(persons: f64, node: f64) -> usize {
    let rank = node * (4.0_f64 * 3.0 / 2.0).sqrt();
    FRACTIONS.iter().filter(|fraction| (1.0 - **fraction) * persons >= 3.0 * rank).count()
}

/// The only row's numbers; NULL is no number. `None`: no row.
fn numbers(shaped: &Shaped) -> Result<Option<Vec<f64>>> {
    let Some(batch) = shaped.batches().iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(None);
    };
    let number = |column: &Arc<dyn Array>| -> Result<f64> {
        let column = cast(column, &DataType::Float64).map_err(|_| Error::internal())?;
        let values = column.as_primitive::<Float64Type>();
        Ok(if values.is_null(0) { f64::NAN } else { values.value(0) })
    };
    batch.columns().iter().map(number).collect::<Result<_>>().map(Some)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refuse_others(principal: &Principal) -> Result<()> {
    if principal.can(Capability::Administer) {
        return Ok(());
    }
    Err(principal
        .denied(Capability::Administer, "permission denied to analyze tables")
        .detail("ANALYZE spends the budget of everybody; only members of insights_admin run it"))
}

fn refuse_unknown(name: &str) -> Error {
    Error::new(SqlState::UndefinedTable, format!("relation \"{name}\" does not exist"))
}

fn refuse_public(name: &str) -> Error {
    Error::new(SqlState::WrongObjectType, format!("table \"{name}\" has no statistics of persons"))
        .detail("ANALYZE finds how far persons' values and rows go, for tables with a person key")
}
