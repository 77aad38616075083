//! Row policies: `CREATE POLICY`, `ALTER POLICY`, `DROP POLICY`.
//!
//! In: a statement after the word POLICY. Out: names, the condition as text and tree, options. All policies of a table hold at once,
//! as Postgres's restrictive ones do; a permissive one, which could only let more through, is refused.

use datafusion::sql::sqlparser::ast::{Expr, Value};

use super::kinds::refuse_missing;
use super::reader::Reader;
use super::tables::{storage_option, storage_options};
use crate::error::Result;
use crate::query::statement::{Admin, Condition, Statement};

pub(super) fn policy(reader: &mut Reader<'_>, verb: &str) -> Result<Statement> {
    let if_exists = verb == "DROP" && reader.take(&["IF", "EXISTS"]);
    let name = reader.name()?;
    reader.expect(&["ON"])?;
    let table = reader.table()?;
    let admin = match verb {
        "CREATE" => create(reader, name, table)?,
        "ALTER" => alter(reader, name, table)?,
        _ => {
            reader.take_one(&["RESTRICT", "CASCADE"]);
            Admin::DropPolicy { name, table, if_exists }
        }
    };
    Ok(Statement::Admin(admin))
}

/// `[AS RESTRICTIVE] [FOR {ALL | SELECT}] [TO roles] [USING (condition)] [WITH (min_group_size = n)]`
fn create(reader: &mut Reader<'_>, name: String, table: String) -> Result<Admin> {
    if reader.take(&["AS"]) {
        let place = reader.position();
        if reader.take(&["PERMISSIVE"]) {
            let hint =
                "leave AS PERMISSIVE out: every policy holds, as with AS RESTRICTIVE; combine alternatives with OR";
            return Err(refuse_missing("a permissive policy", hint).at(place));
        }
        reader.expect(&["RESTRICTIVE"])?;
    }
    if reader.take(&["FOR"]) {
        let place = reader.position();
        if reader.take_one(&["INSERT", "UPDATE", "DELETE"]).is_some() {
            return Err(
                refuse_missing("a policy for changes of data", "data is only read here: write FOR SELECT").at(place)
            );
        }
        if reader.take_one(&["ALL", "SELECT"]).is_none() {
            return Err(reader.unexpected());
        }
    }
    let roles = roles(reader)?.unwrap_or_default();
    let using = using(reader)?;
    let options = if reader.peek(0).as_deref() == Some("WITH") {
        refuse_check(reader)?;
        reader.skip();
        reader.parenthesized(storage_option)?
    } else {
        Vec::new()
    };
    Ok(Admin::CreatePolicy { name, table, roles, using, options })
}

/// `[TO roles] [USING (condition)]`, or `SET (…)`, or `RESET (…)`
fn alter(reader: &mut Reader<'_>, name: String, table: String) -> Result<Admin> {
    if reader.peek(0).as_deref() == Some("RENAME") {
        return Err(refuse_missing("renaming a policy", "drop it and create it again").at(reader.position()));
    }
    if let Some(options) = storage_options(reader)? {
        return Ok(Admin::AlterPolicy { name, table, roles: None, using: None, options });
    }
    let roles = roles(reader)?;
    let using = using(reader)?;
    refuse_check(reader)?;
    if roles.is_none() && using.is_none() {
        return Err(reader.unexpected());
    }
    Ok(Admin::AlterPolicy { name, table, roles, using, options: Vec::new() })
}

/// `TO PUBLIC` is everybody.
fn roles(reader: &mut Reader<'_>) -> Result<Option<Vec<String>>> {
    if !reader.take(&["TO"]) {
        return Ok(None);
    }
    let place = reader.position();
    let named = reader.list(|reader| {
        let public = reader.take(&["PUBLIC"]);
        let session = matches!(reader.peek(0).as_deref(), Some("CURRENT_USER" | "CURRENT_ROLE" | "SESSION_USER"));
        if session {
            return Err(refuse_missing("a role by function", "write the role's name").at(place));
        }
        if public { Ok(None) } else { reader.name().map(Some) }
    })?;
    Ok(Some(if named.contains(&None) { Vec::new() } else { named.into_iter().flatten().collect() }))
}

fn using(reader: &mut Reader<'_>) -> Result<Option<Condition>> {
    if !reader.take(&["USING"]) {
        return Ok(None);
    }
    let position = reader.position();
    let (text, expression) = reader.condition()?;
    Ok(Some(Condition { text, expression: Box::new(expression), position }))
}

fn refuse_check(reader: &Reader<'_>) -> Result<()> {
    if reader.peek(0).as_deref() == Some("WITH") && reader.peek(1).as_deref() == Some("CHECK") {
        return Err(
            refuse_missing("WITH CHECK", "data is only read here: USING says which rows count").at(reader.position())
        );
    }
    Ok(())
}

impl Condition {
    /// Is it `true`, which takes nothing out?
    pub fn allows_all(&self) -> bool {
        matches!(self.expression.as_ref(), Expr::Value(value) if value.value == Value::Boolean(true))
    }
}
