//! One question asked of the server and of the unprotected engine, and the two answers side by side.
//!
//! The server is asked the question itself, which must be answered as it stands, and then the same with a standard error beside
//! each noised column. The second costs nothing: it needs what the first has released.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{self, Expr, Ident, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::data::{Cell, exact};
use crate::questions::Question;
use crate::support::{Refusal, statements, texts};

/// A released number beside the exact one.
#[derive(Debug)]
pub struct Value {
    pub place: String,
    pub released: f64,
    pub exact: f64,
    /// Unknown where the answer is made of several noised numbers.
    pub stddev: Option<f64>,
}

#[derive(Debug)]
pub struct Comparison {
    pub values: Vec<Value>,
    pub rows: usize,
    pub exact_rows: usize,
    /// The answers are equal.
    pub same: bool,
}

/// Medians of several rounds over warm files, from the question on the wire to its last row.
#[derive(Debug)]
pub struct Times {
    pub protected: Duration,
    pub plain: Duration,
}

impl Times {
    pub fn ratio(&self) -> f64 {
        self.protected.as_secs_f64() / self.plain.as_secs_f64()
    }
}

impl Value {
    /// Standard errors between the two.
    pub fn errors(&self) -> f64 {
        let off = (self.released - self.exact).abs();
        match self.stddev {
            // Floating-point sums and the lattice that measures are rounded to.
            Some(stddev) if off > 1e-6 * self.exact.abs() => off / stddev,
            Some(_) | None => 0.0,
        }
    }

    pub fn relative(&self) -> f64 {
        (self.released - self.exact).abs() / self.exact.abs()
    }

    /// The relative error that the answer itself gives.
    pub fn expected(&self) -> f64 {
        self.stddev.map_or(f64::NAN, |stddev| stddev / self.exact.abs())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stddev = self.stddev.map_or("?".to_owned(), |stddev| format!("{stddev:.2e}"));
        write!(f, "{}: {:.6e} ± {stddev} for {:.6e}", self.place, self.released, self.exact)
    }
}

impl Comparison {
    pub fn median(&self, of: impl Fn(&Value) -> f64) -> Option<f64> {
        let mut all: Vec<f64> = self.values.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    pub fn largest(&self, of: impl Fn(&Value) -> f64) -> Option<f64> {
        self.values.iter().map(of).max_by(f64::total_cmp)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rows", self.rows, self.exact_rows)?;
        if self.same {
            return write!(f, ", exact");
        }
        if let (Some(error), Some(farthest)) = (self.median(Value::relative), self.largest(Value::errors)) {
            write!(f, ", {} values, relative error {error:.3}, at most {farthest:.1} sigma", self.values.len())?;
        }
        Ok(())
    }
}

/// Errors: the server's refusal, or an answer of another shape than the exact one.
pub async fn ask(
    admin: &Client,
    analyst: &Client,
    plain: &SessionContext,
    question: &Question,
) -> Result<Comparison, String> {
    let (names, rows) = protected(admin, analyst, question.text).await?;
    let (_, truth) = exact(plain, question.text).await;
    let mut comparison =
        Comparison { values: Vec::new(), rows: rows.len(), exact_rows: truth.len(), same: same(&rows, &truth) };
    let measured = question.fate.measured();
    if measured.is_empty() {
        return Ok(comparison);
    }
    let (with, shown) = match protected(admin, analyst, &with_errors(question.text, measured)).await {
        Ok(answer) => answer,
        Err(refusal) if refusal.contains("the error of this expression is not known") => (names.clone(), rows),
        Err(refusal) => return Err(refusal),
    };
    if !with.starts_with(&names) {
        return Err(format!("columns {with:?} instead of {names:?}"));
    }
    comparison.values = values(&names, measured, &shown, &truth)?;
    Ok(comparison)
}

/// Errors: the server's refusal. Each round asks of another privacy loss by a millionth, so that no answer comes from the store; and of half
/// as much as [`ask`] does, so that all rounds of all questions fit into the largest budget.
pub async fn time(
    admin: &Client,
    analyst: &Client,
    plain: &SessionContext,
    question: &Question,
) -> Result<Times, String> {
    const ROUNDS: usize = 5;
    let (mut of_protected, mut of_plain) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        let epsilon = 0.5 + (round + 1) as f64 * 1e-6;
        admin.batch_execute(&format!("ALTER SYSTEM SET privacy.epsilon = {epsilon}")).await.map_err(refusal)?;
        let start = Instant::now();
        protected(admin, analyst, question.text).await?;
        let protected_time = start.elapsed();
        let start = Instant::now();
        exact(plain, question.text).await;
        // The first warms up.
        if round > 0 {
            of_protected.push(protected_time);
            of_plain.push(start.elapsed());
        }
    }
    admin.batch_execute("ALTER SYSTEM RESET privacy.epsilon").await.map_err(refusal)?;
    Ok(Times { protected: median(of_protected), plain: median(of_plain) })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn refusal(error: tokio_postgres::Error) -> String {
    Refusal::of(error).to_string()
}

type Answer = (Vec<String>, Vec<Vec<Cell>>);

/// Views are the administrator's, questions the analyst's.
async fn protected(admin: &Client, analyst: &Client, sql: &str) -> Result<Answer, String> {
    let mut answer = (Vec::new(), Vec::new());
    for statement in statements(sql) {
        let first = crate::questions::words(statement);
        if first.starts_with("create view") || first.starts_with("drop view") {
            let name = first.trim_start_matches("create view ").split(' ').next().unwrap_or_default();
            let grant = format!("GRANT SELECT ON {name} TO insights_analyst");
            admin.batch_execute(statement).await.map_err(refusal)?;
            if first.starts_with("create") {
                admin.batch_execute(&grant).await.map_err(refusal)?;
            }
            continue;
        }
        let messages = analyst.simple_query(statement).await.map_err(refusal)?;
        let names = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => {
                Some(columns.iter().map(|column| column.name().to_owned()).collect())
            }
            _ => None,
        });
        answer = (names.unwrap_or_default(), texts(&messages));
    }
    Ok(answer)
}

/// The question with `dp_stddev(x) AS name__stddev` for each noised `x AS name` of its select list.
fn with_errors(sql: &str, measured: &[&str]) -> String {
    let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
    for statement in &mut parsed {
        if let Statement::Query(query) = statement
            && let SetExpr::Select(select) = query.body.as_mut()
        {
            let errors: Vec<SelectItem> = measured.iter().map(|name| error_of(&select.projection, name)).collect();
            select.projection.extend(errors);
        }
    }
    parsed.iter().map(|statement| format!("{statement};\n")).collect()
}

fn error_of(items: &[SelectItem], name: &str) -> SelectItem {
    let expression = items.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if alias.value == name => Some(expr.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(column)) if column.value == name => {
            Some(Expr::Identifier(column.clone()))
        }
        _ => None,
    });
    let expression = expression.unwrap_or_else(|| panic!("no column {name}"));
    let call = Parser::new(&PostgreSqlDialect {}).try_with_sql(&format!("dp_stddev({expression})"));
    let expr: ast::Expr = call.unwrap().parse_expr().unwrap();
    SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("{name}__stddev")) }
}

/// Released numbers with their standard errors behind them, beside the exact numbers of the same group.
fn values(names: &[String], measured: &[&str], rows: &[Vec<Cell>], truth: &[Vec<Cell>]) -> Result<Vec<Value>, String> {
    let is_measured: Vec<bool> = names.iter().map(|name| measured.contains(&name.as_str())).collect();
    let group = |row: &[Cell]| -> Vec<String> {
        let cells = row.iter().zip(&is_measured).filter(|(_, measured)| !**measured);
        cells.map(|(cell, _)| plain_text(cell)).collect()
    };
    let truth: BTreeMap<Vec<String>, &Vec<Cell>> = truth.iter().map(|row| (group(row), row)).collect();
    let mut values = Vec::new();
    for row in rows {
        let group = group(&row[..names.len()]);
        let exact = truth.get(&group).ok_or_else(|| format!("no such group: {group:?}"))?;
        for (n, name) in measured.iter().enumerate() {
            let column = names.iter().position(|known| known == name).ok_or_else(|| format!("no column {name}"))?;
            // NULL: too few persons have a value.
            let Some(released) = number(&row[column]) else {
                continue;
            };
            // NULL: the value stands at the edge of the band, and says no more.
            let stddev = match row.get(names.len() + n).map(number) {
                Some(None) => continue,
                known => known.flatten(),
            };
            let place = format!("{} {name}", group.join(" "));
            let exact = number(&exact[column]).ok_or_else(|| format!("{place} is NULL in truth"))?;
            values.push(Value { place, released, exact, stddev });
        }
    }
    Ok(values)
}

fn number(cell: &Cell) -> Option<f64> {
    cell.as_ref().map(|text| text.parse().unwrap())
}

/// Numbers without their trailing zeros, timestamps as Postgres writes them.
fn plain_text(cell: &Cell) -> String {
    match cell {
        None => "NULL".to_owned(),
        Some(text) => match text.parse::<f64>() {
            Ok(number) => number.to_string(),
            Err(_) => text.replacen('T', " ", usize::from(text.as_bytes().get(10) == Some(&b'T'))),
        },
    }
}

fn same(one: &[Vec<Cell>], other: &[Vec<Cell>]) -> bool {
    let texts = |rows: &[Vec<Cell>]| -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain_text).collect()).collect();
        rows.sort();
        rows
    };
    texts(one) == texts(other)
}
