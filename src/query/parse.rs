//! From SQL text to statements.
//!
//! In: a query string. Out: its statements, each of a kind this server has, or a refusal that names the kind, the place and
//! what to write instead. A thin reader looks at the words in front and reads everything but queries itself; query bodies go
//! to the engine's parser, and only clauses that the planner obeys come back ([`clauses`]). Nothing is looked up, and a
//! statement that is not listed in [`statement`] does not exist.

mod clauses;
mod comments;
mod complexity;
mod copy;
mod cursors;
mod dialect;
mod expressions;
mod kinds;
mod persons;
mod policies;
mod procedures;
mod reader;
mod relations;
mod reports;
mod roles;
mod settings;
mod tables;
mod tokens;
mod views;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_admin;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::statement::{Parsed, Statement};
use crate::error::{Error, Result};
use dialect::BoundedPostgres;
use reader::Reader;
use tokens::Slice;

pub use reader::DATABASE;
pub use tokens::redact;

/// Every statement of a query string, or the first error in it: then none of them is run. Errors: 42601, 0A000, 42501, 54000;
/// their positions count from the start of the string.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    let pieces = tokens::tokenize(sql)?;
    let dialect = BoundedPostgres::new();
    tokens::statements(sql, &pieces)
        .iter()
        .map(|slice| {
            Ok(Parsed {
                statement: parse_one(slice, &dialect)?,
                text: tokens::without_secrets(slice),
                offset: slice.offset,
            })
        })
        .collect()
}

/// A condition that was read before, again. Errors: XX000.
pub fn expression(text: &str) -> Result<ast::Expr> {
    let pieces = tokens::tokenize(text)?;
    let dialect = BoundedPostgres::new();
    let slices = tokens::statements(text, &pieces);
    let slice = slices.first().filter(|_| slices.len() == 1).ok_or_else(Error::internal)?;
    complexity::refuse_too_complex(slice)?;
    let mut reader = Reader::new(slice, &dialect);
    let expression = reader.expression()?;
    reader.end()?;
    Ok(expression)
}

impl Parsed {
    /// Where a place of this statement's syntax tree is in the query string: trees count lines and columns of `text`.
    pub fn position(&self, place: Location) -> Option<usize> {
        tokens::position_in(&self.text, place).map(|position| self.offset + position)
    }
}

fn parse_one(slice: &Slice<'_>, dialect: &BoundedPostgres) -> Result<Statement> {
    complexity::refuse_too_complex(slice)?;
    let mut reader = Reader::new(slice, dialect);
    let start = reader.position();
    let statement = statement(&mut reader).map_err(|error| error.at(start))?;
    reader.end()?;
    Ok(statement)
}

/// What a statement other than a query may begin with.
const FIRST_WORDS: [&str; 30] = [
    "ANALYZE",
    "ANALYSE",
    "EXPLAIN",
    "COPY",
    "DECLARE",
    "FETCH",
    "MOVE",
    "CLOSE",
    "SET",
    "RESET",
    "SHOW",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "DISCARD",
    "DEALLOCATE",
    "LISTEN",
    "UNLISTEN",
    "CREATE",
    "ALTER",
    "DROP",
    "GRANT",
    "REVOKE",
    "CALL",
    "COMMENT",
];

fn statement(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.peek_is(&Token::LParen) {
        return cursors::query(reader).map(Statement::Query);
    }
    let Some(first) = reader.take_one(&FIRST_WORDS) else {
        return cursors::query(reader).map(Statement::Query);
    };
    match first {
        "EXPLAIN" => cursors::explain(reader),
        "ANALYZE" | "ANALYSE" => analyze(reader),
        "COPY" => copy::copy(reader),
        "DECLARE" => cursors::declare(reader),
        "FETCH" => cursors::fetch(reader, false),
        "MOVE" => cursors::fetch(reader, true),
        "CLOSE" => cursors::close(reader),
        "SET" => settings::set(reader),
        "RESET" => settings::reset(reader),
        "SHOW" => settings::show(reader),
        "BEGIN" | "START" => settings::begin(reader, first),
        "COMMIT" | "END" => settings::commit(reader),
        "ROLLBACK" | "ABORT" => settings::rollback(reader),
        "SAVEPOINT" => reader.name().map(Statement::Savepoint),
        "RELEASE" => settings::release(reader),
        "DISCARD" => settings::discard(reader),
        "DEALLOCATE" => {
            reader.take(&["PREPARE"]);
            let all = reader.take(&["ALL"]);
            let name = if all { None } else { Some(reader.name()?) };
            Ok(Statement::Deallocate(name))
        }
        "UNLISTEN" if reader.sign(&Token::Mul) => Ok(Statement::Unlisten),
        "LISTEN" | "UNLISTEN" => reader.name().map(|_| Statement::Unlisten),
        "GRANT" => roles::grant(reader),
        "REVOKE" => roles::revoke(reader),
        "CALL" => procedures::call(reader),
        "COMMENT" => comments::comment(reader),
        verb => object(reader, verb),
    }
}

/// `ANALYZE table, …`. Each table costs budget, so they are named.
fn analyze(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.at_end() {
        let hint = "name the tables: each ANALYZE spends privacy.analyze_epsilon";
        return Err(kinds::refuse_missing("ANALYZE of all tables", hint).at(reader.position()));
    }
    let tables = reader.list(|reader| reader.table())?;
    if reader.peek_is(&Token::LParen) {
        return Err(kinds::refuse_missing("ANALYZE of some columns", "name the table alone").at(reader.position()));
    }
    Ok(Statement::Analyze(tables))
}

/// `CREATE`, `ALTER`, `DROP`.
fn object(reader: &mut Reader<'_>, verb: &str) -> Result<Statement> {
    let mapping = reader.peek(0).as_deref() == Some("USER") && reader.peek(1).as_deref() == Some("MAPPING");
    let or_replace = verb == "CREATE"
        && ["OR", "REPLACE", "VIEW"].iter().enumerate().all(|(i, word)| reader.peek(i).as_deref() == Some(*word));
    if or_replace {
        reader.take(&["OR", "REPLACE"]);
    }
    let kinds = ["ROLE", "USER", "GROUP", "EXTERNAL", "TABLE", "SYSTEM", "VIEW", "POLICY"];
    let next = reader.peek(0);
    let kind = kinds.into_iter().find(|kind| !mapping && next.as_deref() == Some(kind));
    match (verb, kind) {
        ("CREATE", Some(kind @ ("ROLE" | "USER" | "GROUP"))) => {
            reader.skip();
            roles::create(reader, kind == "USER")
        }
        ("ALTER", Some("ROLE" | "USER" | "GROUP")) => {
            reader.skip();
            roles::alter(reader)
        }
        ("DROP", Some("ROLE" | "USER" | "GROUP")) => {
            reader.skip();
            roles::drop(reader)
        }
        ("CREATE", Some("EXTERNAL")) => {
            reader.skip();
            tables::create(reader)
        }
        ("CREATE", Some("TABLE")) => tables::create_own(reader),
        ("ALTER", Some("TABLE")) => {
            reader.skip();
            tables::alter(reader)
        }
        ("DROP", Some("TABLE")) => {
            reader.skip();
            tables::drop(reader)
        }
        ("CREATE", Some("VIEW")) => {
            reader.skip();
            views::create(reader, or_replace)
        }
        ("ALTER", Some("VIEW")) => {
            reader.skip();
            views::alter(reader)
        }
        ("DROP", Some("VIEW")) => {
            reader.skip();
            views::drop(reader)
        }
        (_, Some("POLICY")) => {
            reader.skip();
            policies::policy(reader, verb)
        }
        ("ALTER", Some("SYSTEM")) => {
            reader.skip();
            settings::alter_system(reader)
        }
        _ => Err(kinds::refuse_object(verb, reader)),
    }
}
