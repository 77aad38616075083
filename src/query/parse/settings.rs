//! `SET`, `RESET`, `SHOW`, `ALTER SYSTEM` and the statements around transactions.
//!
//! In: a statement after its first word. Out: names and texts; which names there are and what may be set is decided by those
//! who hold the values.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::kinds::refuse_missing;
use super::reader::Reader;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{Admin, Statement};

pub(super) fn set(reader: &mut Reader<'_>) -> Result<Statement> {
    refuse_other_identity(reader)?;
    if reader.take(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        return Ok(Statement::SetTransaction(modes(reader, "default_")?));
    }
    let scope = reader.take_one(&["LOCAL", "SESSION"]);
    refuse_other_identity(reader)?;
    if reader.take(&["TRANSACTION"]) {
        if reader.take(&["SNAPSHOT"]) {
            return Err(refuse_missing("SET TRANSACTION SNAPSHOT", ""));
        }
        return Ok(Statement::SetTransaction(modes(reader, "")?));
    }
    for missing in ["CONSTRAINTS", "XML"] {
        if reader.peek(0).as_deref() == Some(missing) {
            return Err(refuse_missing(&format!("SET {missing}"), "").at(reader.position()));
        }
    }
    let (name, value) = if reader.take(&["TIME", "ZONE"]) {
        ("timezone".to_owned(), time_zone(reader)?)
    } else if reader.take(&["NAMES"]) {
        let value = if reader.at_end() { None } else { value(reader)? };
        ("client_encoding".to_owned(), value)
    } else if reader.take(&["SCHEMA"]) {
        ("search_path".to_owned(), Some(reader.text()?))
    } else {
        assignment(reader)?
    };
    Ok(Statement::Set { name, value, local: scope == Some("LOCAL") })
}

/// A session acts as who logged in: grants and budgets are that principal's.
fn refuse_other_identity(reader: &Reader<'_>) -> Result<()> {
    let next = (reader.peek(0), reader.peek(1));
    let what = match (next.0.as_deref(), next.1.as_deref()) {
        (Some("ROLE"), _) => "SET ROLE",
        (Some("SESSION"), Some("AUTHORIZATION")) => "SET SESSION AUTHORIZATION",
        _ => return Ok(()),
    };
    Err(Error::new(SqlState::InsufficientPrivilege, format!("{what} is not allowed"))
        .detail("a session acts as the role that logged in: its grants, budget and log are that role's")
        .hint("log in as the other role")
        .at(reader.position()))
}

/// `name {TO | =} value [, …]`
fn assignment(reader: &mut Reader<'_>) -> Result<(String, Option<String>)> {
    let name = reader.dotted_name()?;
    if !reader.sign(&Token::Eq) {
        reader.expect(&["TO"])?;
    }
    if name == "search_path" && reader.peek(0).as_deref() != Some("DEFAULT") {
        let path = reader.list(|reader| Ok(quoted_where_needed(&reader.value()?)))?;
        return Ok((name, Some(path.join(", "))));
    }
    Ok((name, value(reader)?))
}

fn value(reader: &mut Reader<'_>) -> Result<Option<String>> {
    if reader.take(&["DEFAULT"]) {
        return Ok(None);
    }
    Ok(Some(reader.list(Reader::value)?.join(", ")))
}

/// As `quote_identifier` does: `"$user", public`.
fn quoted_where_needed(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && name.starts_with(|c: char| !c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

fn time_zone(reader: &mut Reader<'_>) -> Result<Option<String>> {
    if reader.take_one(&["LOCAL", "DEFAULT"]).is_some() {
        return Ok(None);
    }
    if reader.take(&["INTERVAL"]) {
        let value = reader.text()?;
        reader.take(&["HOUR", "TO", "MINUTE"]);
        return Ok(Some(value));
    }
    reader.value().map(Some)
}

/// Transaction modes as the variables that stand for them.
fn modes(reader: &mut Reader<'_>, prefix: &str) -> Result<Vec<(String, String)>> {
    let mut modes = vec![mode(reader, prefix)?];
    while !reader.at_end() {
        reader.sign(&Token::Comma);
        modes.push(mode(reader, prefix)?);
    }
    Ok(modes)
}

fn mode(reader: &mut Reader<'_>, prefix: &str) -> Result<(String, String)> {
    let forms: [(&[&str], &str, &str); 8] = [
        (&["READ", "ONLY"], "read_only", "on"),
        (&["READ", "WRITE"], "read_only", "off"),
        (&["DEFERRABLE"], "deferrable", "on"),
        (&["NOT", "DEFERRABLE"], "deferrable", "off"),
        (&["ISOLATION", "LEVEL", "SERIALIZABLE"], "isolation", "serializable"),
        (&["ISOLATION", "LEVEL", "REPEATABLE", "READ"], "isolation", "repeatable read"),
        (&["ISOLATION", "LEVEL", "READ", "COMMITTED"], "isolation", "read committed"),
        (&["ISOLATION", "LEVEL", "READ", "UNCOMMITTED"], "isolation", "read uncommitted"),
    ];
    for (words, name, value) in forms {
        if reader.take(words) {
            return Ok((format!("{prefix}transaction_{name}"), value.to_owned()));
        }
    }
    Err(reader.unexpected())
}

pub(super) fn reset(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.take(&["ALL"]) {
        return Ok(Statement::Reset(None));
    }
    named(reader).map(|name| Statement::Reset(Some(name)))
}

pub(super) fn show(reader: &mut Reader<'_>) -> Result<Statement> {
    if reader.take(&["ALL"]) {
        return Ok(Statement::Show(None));
    }
    named(reader).map(|name| Statement::Show(Some(name)))
}

fn named(reader: &mut Reader<'_>) -> Result<String> {
    let spelled: [(&[&str], &str); 3] = [
        (&["TIME", "ZONE"], "timezone"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    ];
    for (words, name) in spelled {
        if reader.take(words) {
            return Ok(name.to_owned());
        }
    }
    reader.dotted_name()
}

/// `ALTER SYSTEM …`
pub(super) fn alter_system(reader: &mut Reader<'_>) -> Result<Statement> {
    let (name, value) = if reader.take(&["SET"]) {
        assignment(reader)?
    } else {
        reader.expect(&["RESET"])?;
        if reader.take(&["ALL"]) {
            return Err(refuse_missing(
                "ALTER SYSTEM RESET ALL",
                "reset settings one by one: each is a decision about people",
            ));
        }
        (reader.dotted_name()?, None)
    };
    Ok(Statement::Admin(Admin::AlterSystem { name, value }))
}

/// `ALTER ROLE name {SET | RESET} …`, after the name.
pub(super) fn alter_role_setting(reader: &mut Reader<'_>, role: String) -> Result<Statement> {
    let (name, value) = if reader.take(&["RESET"]) {
        if reader.take(&["ALL"]) {
            return Err(refuse_missing("ALTER ROLE … RESET ALL", "reset settings one by one"));
        }
        (reader.dotted_name()?, None)
    } else {
        reader.expect(&["SET"])?;
        assignment(reader)?
    };
    Ok(Statement::Admin(Admin::AlterRoleSet { role, name, value }))
}

/// `BEGIN`, `START TRANSACTION`: their modes are accepted, as every statement here reads one state and changes none.
pub(super) fn begin(reader: &mut Reader<'_>, first: &str) -> Result<Statement> {
    if first == "START" {
        reader.expect(&["TRANSACTION"])?;
    } else {
        work(reader);
    }
    if !reader.at_end() {
        modes(reader, "")?;
    }
    Ok(Statement::Begin)
}

/// `COMMIT`, `END`.
pub(super) fn commit(reader: &mut Reader<'_>) -> Result<Statement> {
    refuse_two_phase(reader)?;
    work(reader);
    chain(reader)?;
    Ok(Statement::Commit)
}

/// `ROLLBACK`, `ABORT`.
pub(super) fn rollback(reader: &mut Reader<'_>) -> Result<Statement> {
    refuse_two_phase(reader)?;
    work(reader);
    if reader.take(&["TO"]) {
        reader.take(&["SAVEPOINT"]);
        return reader.name().map(Statement::RollbackTo);
    }
    chain(reader)?;
    Ok(Statement::Rollback)
}

pub(super) fn release(reader: &mut Reader<'_>) -> Result<Statement> {
    reader.take(&["SAVEPOINT"]);
    reader.name().map(Statement::ReleaseSavepoint)
}

fn work(reader: &mut Reader<'_>) {
    reader.take_one(&["WORK", "TRANSACTION"]);
}

fn chain(reader: &mut Reader<'_>) -> Result<()> {
    if reader.take(&["AND", "NO", "CHAIN"]) || reader.peek(0).as_deref() != Some("AND") {
        return Ok(());
    }
    let position = reader.position();
    reader.expect(&["AND", "CHAIN"])?;
    Err(refuse_missing("AND CHAIN", "write BEGIN for the next block").at(position))
}

fn refuse_two_phase(reader: &Reader<'_>) -> Result<()> {
    if reader.peek(0).as_deref() == Some("PREPARED") {
        return Err(refuse_missing("two-phase commit", "").at(reader.position()));
    }
    Ok(())
}

pub(super) fn discard(reader: &mut Reader<'_>) -> Result<Statement> {
    match reader.take_one(&["ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY"]) {
        Some("ALL") => Ok(Statement::Discard),
        // There are no sequences and no temporary tables, and plans are kept for nobody.
        Some(_) => Ok(Statement::Unlisten),
        None => Err(reader.unexpected()),
    }
}
