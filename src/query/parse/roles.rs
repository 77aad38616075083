//! `CREATE ROLE`, `ALTER ROLE`, `DROP ROLE`, `GRANT`, `REVOKE`.
//!
//! In: a statement after the words that name its kind. Out: what was written, with passwords as they were written; never
//! whether it may be done.

use super::kinds::refuse_missing;
use super::reader::Reader;
use super::settings;
use crate::error::{Error, Result, SqlState};
use crate::query::statement::{Admin, RoleOptions, Statement};

/// `login`: what `CREATE USER` says by itself.
pub(super) fn create(reader: &mut Reader<'_>, login: bool) -> Result<Statement> {
    let mut role = RoleOptions { if_not_exists: reader.take(&["IF", "NOT", "EXISTS"]), ..RoleOptions::default() };
    role.name = role_name(reader)?;
    options(reader, &mut role)?;
    if login {
        role.login.get_or_insert(true);
    }
    Ok(Statement::Admin(Admin::CreateRole(role)))
}

pub(super) fn alter(reader: &mut Reader<'_>) -> Result<Statement> {
    let place = reader.position();
    if reader.take(&["ALL"]) {
        return Err(refuse_missing("ALTER ROLE ALL", "write ALTER SYSTEM SET for everybody").at(place));
    }
    let name = role_name(reader)?;
    match reader.peek(0).as_deref() {
        Some("SET" | "RESET") => return settings::alter_role_setting(reader, name),
        Some("RENAME") => return Err(refuse_missing("renaming a role", "").at(reader.position())),
        Some("IN") => {
            return Err(refuse_missing(
                "a setting of a role in one database",
                "leave IN DATABASE out: there is one database",
            )
            .at(reader.position()));
        }
        Some("ADD" | "DROP") => {
            return Err(refuse_missing("ALTER GROUP", "write GRANT role TO role").at(reader.position()));
        }
        _ => {}
    }
    let mut role = RoleOptions { name, ..RoleOptions::default() };
    options(reader, &mut role)?;
    if !role.in_role.is_empty() {
        return Err(refuse_missing("IN ROLE of ALTER ROLE", "write GRANT role TO role").at(place));
    }
    Ok(Statement::Admin(Admin::AlterRole(role)))
}

pub(super) fn drop(reader: &mut Reader<'_>) -> Result<Statement> {
    let if_exists = reader.take(&["IF", "EXISTS"]);
    let names = reader.list(role_name)?;
    Ok(Statement::Admin(Admin::DropRole { names, if_exists }))
}

fn role_name(reader: &mut Reader<'_>) -> Result<String> {
    let place = reader.position();
    if matches!(reader.peek(0).as_deref(), Some("CURRENT_USER" | "CURRENT_ROLE" | "SESSION_USER")) {
        return Err(refuse_missing("a role by function", "write the role's name").at(place));
    }
    reader.name()
}

fn options(reader: &mut Reader<'_>, role: &mut RoleOptions) -> Result<()> {
    reader.take(&["WITH"]);
    while !reader.at_end() {
        option(reader, role)?;
    }
    Ok(())
}

fn option(reader: &mut Reader<'_>, role: &mut RoleOptions) -> Result<()> {
    let place = reader.position();
    let unexpected = reader.unexpected();
    let Some(word) = reader.peek(0) else {
        return Err(unexpected);
    };
    reader.skip();
    match word.as_str() {
        "LOGIN" => once(&mut role.login, true, place),
        "NOLOGIN" => once(&mut role.login, false, place),
        "CREATEROLE" => once(&mut role.createrole, true, place),
        "NOCREATEROLE" => once(&mut role.createrole, false, place),
        "ENCRYPTED" if reader.peek(0).as_deref() == Some("PASSWORD") => Ok(()),
        "PASSWORD" => {
            let password = if reader.take(&["NULL"]) { None } else { Some(reader.text()?) };
            once(&mut role.password, password, place)
        }
        "VALID" => {
            reader.expect(&["UNTIL"])?;
            let until = reader.text()?;
            once(&mut role.valid_until, until, place)
        }
        "IN" => {
            if reader.take_one(&["ROLE", "GROUP"]).is_none() {
                return Err(reader.unexpected());
            }
            role.in_role.extend(reader.list(role_name)?);
            Ok(())
        }
        "CONNECTION" => {
            reader.expect(&["LIMIT"])?;
            let place = reader.position();
            let limit = connection_limit(&reader.value()?).map_err(|error| error.at(place))?;
            once(&mut role.connection_limit, limit, place)
        }
        "INHERIT" | "NOSUPERUSER" | "NOCREATEDB" | "NOREPLICATION" | "NOBYPASSRLS" => Ok(()),
        "SUPERUSER" | "CREATEDB" | "REPLICATION" | "BYPASSRLS" => {
            Err(Error::new(SqlState::InsufficientPrivilege, format!("no role may be {word}"))
                .detail("nobody stands above the rules of this server")
                .hint("grant insights_admin, insights_analyst or auditor")
                .at(place))
        }
        "NOINHERIT" => Err(refuse_missing("NOINHERIT", "").at(place)),
        "ROLE" | "USER" | "ADMIN" => {
            Err(refuse_missing(&format!("the option {word} of CREATE ROLE"), "write GRANT role TO role").at(place))
        }
        _ => Err(unexpected),
    }
}

/// -1 is none, as in Postgres.
fn connection_limit(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(limit) if (0..=i64::from(i32::MAX)).contains(&limit) => Ok(u32::try_from(limit).ok()),
        _ => Err(Error::new(SqlState::InvalidParameterValue, format!("invalid connection limit: {text}"))
            .hint("write how many sessions the role may have at once, or -1 for no limit")),
    }
}

fn once<T>(slot: &mut Option<T>, value: T, place: Option<usize>) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new(SqlState::SyntaxError, "conflicting or redundant options").at(place));
    }
    Ok(())
}

/// A privilege with its columns, or roles.
enum Granted {
    Roles(Vec<String>),
    Select { columns: Option<Vec<String>>, tables: Vec<String> },
}

pub(super) fn grant(reader: &mut Reader<'_>) -> Result<Statement> {
    let granted = granted(reader)?;
    reader.expect(&["TO"])?;
    let to = reader.list(grantee)?;
    let place = reader.position();
    if reader.peek(0).as_deref() == Some("WITH") {
        return Err(refuse_missing("passing grants on", "leave WITH … OPTION out: administrators grant").at(place));
    }
    refuse_grantor(reader)?;
    Ok(Statement::Admin(match granted {
        Granted::Roles(roles) => Admin::GrantRole { roles, to },
        Granted::Select { columns, tables } => Admin::GrantSelect { tables, columns, to },
    }))
}

pub(super) fn revoke(reader: &mut Reader<'_>) -> Result<Statement> {
    let place = reader.position();
    if reader.take(&["GRANT", "OPTION", "FOR"]) || reader.take(&["ADMIN", "OPTION", "FOR"]) {
        return Err(
            refuse_missing("passing grants on", "there is nothing to take back: administrators grant").at(place)
        );
    }
    let granted = granted(reader)?;
    reader.expect(&["FROM"])?;
    let from = reader.list(grantee)?;
    refuse_grantor(reader)?;
    reader.take_one(&["CASCADE", "RESTRICT"]);
    Ok(Statement::Admin(match granted {
        Granted::Roles(roles) => Admin::RevokeRole { roles, from },
        Granted::Select { columns, tables } => Admin::RevokeSelect { tables, columns, from },
    }))
}

fn grantee(reader: &mut Reader<'_>) -> Result<String> {
    reader.take(&["GROUP"]);
    role_name(reader)
}

fn refuse_grantor(reader: &Reader<'_>) -> Result<()> {
    if reader.peek(0).as_deref() == Some("GRANTED") {
        return Err(refuse_missing("GRANTED BY", "leave it out: who grants is who asks").at(reader.position()));
    }
    Ok(())
}

fn granted(reader: &mut Reader<'_>) -> Result<Granted> {
    let place = reader.position();
    if reader.take(&["SELECT"]) {
        let columns = if reader.is(0, &datafusion::sql::sqlparser::tokenizer::Token::LParen) {
            Some(reader.parenthesized(Reader::name)?)
        } else {
            None
        };
        reader.expect(&["ON"])?;
        reader.take(&["TABLE"]);
        if matches!(reader.peek(0).as_deref(), Some("ALL" | "SCHEMA" | "DATABASE" | "FUNCTION" | "SEQUENCE")) {
            return Err(refuse_missing("a grant on anything but tables", "name the tables: GRANT SELECT ON a, b TO …")
                .at(reader.position()));
        }
        let tables = reader.list(Reader::table)?;
        return Ok(Granted::Select { columns, tables });
    }
    let privileges = [
        "ALL",
        "INSERT",
        "UPDATE",
        "DELETE",
        "TRUNCATE",
        "REFERENCES",
        "TRIGGER",
        "MAINTAIN",
        "USAGE",
        "CREATE",
        "CONNECT",
        "TEMPORARY",
        "TEMP",
        "EXECUTE",
        "SET",
    ];
    if let Some(privilege) = reader.take_one(&privileges) {
        return Err(refuse_missing(
            &format!("the privilege {privilege}"),
            "SELECT is the only privilege: GRANT SELECT ON … TO …",
        )
        .at(place));
    }
    reader.list(role_name).map(Granted::Roles)
}
