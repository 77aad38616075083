//! `CREATE TABLE`, `CREATE EXTERNAL TABLE`, `ALTER TABLE`, `DROP TABLE`.
//!
//! In: a statement after the words that name its kind. Out: names, options and declared columns as written; no file is
//! looked at and no option is judged here.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::kinds::refuse_missing;
use super::reader::Reader;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Format, Location, Reference, UniqueKey};
use crate::query::statement::{Admin, DeclaredColumn, Statement};

/// After `CREATE EXTERNAL`.
pub(super) fn create(reader: &mut Reader<'_>) -> Result<Statement> {
    reader.expect(&["TABLE"])?;
    let if_not_exists = reader.take(&["IF", "NOT", "EXISTS"]);
    let name = reader.table()?;
    let mut declared = Declared::default();
    if reader.peek_is(&Token::LParen) {
        reader.parenthesized(|reader| declared.element(reader))?;
    }
    declared.finish();
    let location = location(reader)?;
    Ok(Statement::Admin(Admin::CreateExternalTable {
        name,
        location,
        columns: declared.columns,
        unique_keys: declared.keys,
        references: declared.references,
        if_not_exists,
    }))
}

/// `TABLE [IF NOT EXISTS] name (columns) [WITH (options)]`, after `CREATE`.
pub(super) fn create_own(reader: &mut Reader<'_>) -> Result<Statement> {
    let start = reader.position();
    let refused = |what: &str| {
        let hint = "write CREATE TABLE name (column type, …), then COPY name FROM STDIN";
        refuse_missing(what, hint).at(start)
    };
    reader.expect(&["TABLE"])?;
    let if_not_exists = reader.take(&["IF", "NOT", "EXISTS"]);
    let name = reader.table()?;
    match reader.peek(0).as_deref() {
        Some("AS") => return Err(refused("CREATE TABLE AS")),
        Some("OF" | "PARTITION") => return Err(refused("this form of CREATE TABLE")),
        _ => {}
    }
    let mut declared = Declared::default();
    reader.parenthesized(|reader| declared.element(reader))?;
    declared.finish();
    let options = match reader.take(&["WITH"]) {
        true => reader.parenthesized(storage_option)?,
        false => vec![],
    };
    match reader.peek(0).as_deref() {
        Some("AS") => return Err(refused("CREATE TABLE AS")),
        Some("INHERITS" | "PARTITION" | "USING" | "ON" | "TABLESPACE" | "WITHOUT") => {
            return Err(refused("this form of CREATE TABLE"));
        }
        _ => {}
    }
    let Declared { columns, keys: unique_keys, references } = declared;
    Ok(Statement::Admin(Admin::CreateTable { name, columns, unique_keys, references, options, if_not_exists }))
}

#[derive(Default)]
struct Declared {
    columns: Vec<DeclaredColumn>,
    keys: Vec<UniqueKey>,
    references: Vec<Reference>,
}

impl Declared {
    /// A column, or `PRIMARY KEY (…)`, `UNIQUE (…)`, `FOREIGN KEY (…) REFERENCES …`.
    fn element(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        if matches!(reader.peek(0).as_deref(), Some("CONSTRAINT"))
            || reader.is(1, &Token::LParen) && reader.peek(0).as_deref() == Some("UNIQUE")
            || matches!(reader.peek(0).as_deref(), Some("PRIMARY" | "FOREIGN"))
                && reader.peek(1).as_deref() == Some("KEY")
        {
            match constraint(reader)? {
                Constraint::Key(key) => self.keys.push(key),
                Constraint::Reference(reference) => self.references.push(reference),
            }
            return Ok(());
        }
        let name = reader.name()?;
        let data_type = reader.data_type()?;
        let mut not_null = false;
        while !reader.peek_is(&Token::Comma) && !reader.peek_is(&Token::RParen) {
            if reader.take(&["CONSTRAINT"]) {
                reader.name()?;
            }
            let key = |primary| UniqueKey { columns: vec![name.clone()], primary };
            if reader.take(&["NOT", "NULL"]) {
                not_null = true;
            } else if reader.take(&["PRIMARY", "KEY"]) {
                self.keys.push(key(true));
            } else if reader.take(&["UNIQUE"]) {
                self.keys.push(key(false));
            } else if reader.peek(0).as_deref() == Some("REFERENCES") {
                self.references.push(reference(reader, name.clone())?);
            } else if !reader.take(&["NULL"]) {
                return Err(refuse_constraint(reader));
            }
        }
        self.columns.push(DeclaredColumn { name, data_type, not_null });
        Ok(())
    }

    /// A primary key's columns are not null.
    fn finish(&mut self) {
        for key in self.keys.iter().filter(|key| key.primary) {
            for column in &mut self.columns {
                column.not_null |= key.columns.contains(&column.name);
            }
        }
    }
}

enum Constraint {
    Key(UniqueKey),
    Reference(Reference),
}

/// `[CONSTRAINT name] {PRIMARY KEY | UNIQUE} (columns)`, `[CONSTRAINT name] FOREIGN KEY (column) REFERENCES …`
fn constraint(reader: &mut Reader<'_>) -> Result<Constraint> {
    if reader.take(&["CONSTRAINT"]) {
        reader.name()?;
    }
    if reader.take(&["FOREIGN", "KEY"]) {
        let place = reader.position();
        let mut columns = reader.parenthesized(Reader::name)?;
        return match (columns.pop(), columns.is_empty()) {
            (Some(column), true) => reference(reader, column).map(Constraint::Reference),
            _ => Err(refuse_several_columns().at(place)),
        };
    }
    let primary = reader.take(&["PRIMARY", "KEY"]);
    if !primary && !reader.take(&["UNIQUE"]) {
        return Err(refuse_constraint(reader));
    }
    let columns = reader.parenthesized(Reader::name)?;
    Ok(Constraint::Key(UniqueKey { columns, primary }))
}

/// `REFERENCES table [(key)]`
fn reference(reader: &mut Reader<'_>, column: String) -> Result<Reference> {
    reader.expect(&["REFERENCES"])?;
    let table = reader.table()?;
    let place = reader.position();
    let mut keys = if reader.peek_is(&Token::LParen) { reader.parenthesized(Reader::name)? } else { vec![] };
    let key = keys.pop();
    if !keys.is_empty() {
        return Err(refuse_several_columns().at(place));
    }
    if matches!(reader.peek(0).as_deref(), Some("MATCH" | "ON" | "DEFERRABLE" | "INITIALLY")) {
        return Err(refuse_missing("a rule of a foreign key", "data does not change here: leave MATCH and ON out")
            .at(reader.position()));
    }
    Ok(Reference { column, table, key })
}

fn refuse_several_columns() -> Error {
    refuse_missing("a foreign key of several columns", "refer by one column to a unique one")
}

fn refuse_constraint(reader: &Reader<'_>) -> Error {
    let error = match reader.peek(0).as_deref() {
        Some(word @ ("CHECK" | "DEFAULT" | "GENERATED" | "COLLATE" | "EXCLUDE")) => {
            refuse_missing(word, "a column has a type, NOT NULL, PRIMARY KEY, UNIQUE and REFERENCES")
        }
        _ => return reader.unexpected(),
    };
    error.at(reader.position())
}

/// `STORED AS format LOCATION '…' [OPTIONS (…)]` in any order.
fn location(reader: &mut Reader<'_>) -> Result<Location> {
    let (mut format, mut url) = (None, None);
    let mut options = BTreeMap::new();
    while !reader.at_end() {
        let place = reader.position();
        if reader.take(&["STORED", "AS"]) {
            once(&mut format, file_format(reader)?, place)?;
        } else if reader.take(&["LOCATION"]) {
            if reader.peek_is(&Token::LParen) {
                return Err(refuse_missing("a table in several places", "write a folder: LOCATION 'folder/'").at(place));
            }
            once(&mut url, reader.text()?, place)?;
        } else if reader.take(&["OPTIONS"]) {
            for (key, value) in reader.parenthesized(file_option)? {
                if options.insert(key, value).is_some() {
                    return Err(redundant().at(place));
                }
            }
        } else if reader.take(&["WITH", "HEADER", "ROW"]) {
            options.insert("header".to_owned(), "true".to_owned());
        } else if reader.take(&["DELIMITER"]) {
            options.insert("delimiter".to_owned(), reader.text()?);
        } else if matches!(reader.peek(0).as_deref(), Some("PARTITIONED" | "WITH" | "COMPRESSION")) {
            return Err(refuse_missing(
                "this clause of CREATE EXTERNAL TABLE",
                "write STORED AS, LOCATION and OPTIONS",
            )
            .at(place));
        } else {
            return Err(reader.unexpected());
        }
    }
    let missing = |clause: &str| {
        Error::new(SqlState::SyntaxError, format!("{clause} is missing"))
            .hint("write CREATE EXTERNAL TABLE name STORED AS PARQUET LOCATION '…'")
            .at(reader.position_at_end())
    };
    Ok(Location {
        format: format.ok_or_else(|| missing("STORED AS"))?,
        url: url.ok_or_else(|| missing("LOCATION"))?,
        options,
    })
}

fn file_format(reader: &mut Reader<'_>) -> Result<Format> {
    let place = reader.position();
    match reader.name()?.as_str() {
        "parquet" => Ok(Format::Parquet),
        "csv" => Ok(Format::Csv),
        other => {
            Err(refuse_missing(&format!("the format \"{other}\""), "write STORED AS PARQUET or STORED AS CSV")
                .at(place))
        }
    }
}

/// `key value` or `key = value`; the engine's prefix `format.` may stand before the key.
fn file_option(reader: &mut Reader<'_>) -> Result<(String, String)> {
    let key = match reader.peek(0) {
        Some(_) => reader.dotted_name()?,
        None => reader.text().or_else(|_| reader.dotted_name())?.to_ascii_lowercase(),
    };
    reader.sign(&Token::Eq);
    let value = reader.value()?;
    let key = key.strip_prefix("format.").unwrap_or(&key);
    let key = if key == "has_header" { "header" } else { key };
    Ok((key.to_owned(), value))
}

fn once<T>(slot: &mut Option<T>, value: T, place: Option<usize>) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(redundant().at(place)),
    }
}

fn redundant() -> Error {
    Error::new(SqlState::SyntaxError, "conflicting or redundant options")
}

/// After `DROP TABLE`.
pub(super) fn drop(reader: &mut Reader<'_>) -> Result<Statement> {
    let if_exists = reader.take(&["IF", "EXISTS"]);
    let names = reader.list(Reader::table)?;
    // Nothing hangs on a table but its grants, which go with it.
    reader.take_one(&["CASCADE", "RESTRICT"]);
    Ok(Statement::Admin(Admin::DropTable { names, if_exists }))
}

/// After `ALTER TABLE`.
pub(super) fn alter(reader: &mut Reader<'_>) -> Result<Statement> {
    let place = reader.position();
    let if_exists = reader.take(&["IF", "EXISTS"]);
    reader.take(&["ONLY"]);
    let name = reader.table()?;
    // As in Postgres, what renames a table renames a view; tables keep their names.
    if let Some(rename) = super::views::rename(reader, name.clone(), if_exists)? {
        return Ok(Statement::Admin(rename));
    }
    if if_exists {
        return Err(refuse_missing("ALTER TABLE IF EXISTS", "leave IF EXISTS out").at(place));
    }
    let statement = action(reader, name)?;
    if reader.peek_is(&Token::Comma) {
        return Err(
            refuse_missing("several changes in one ALTER TABLE", "write one statement for each").at(reader.position())
        );
    }
    Ok(Statement::Admin(statement))
}

fn action(reader: &mut Reader<'_>, name: String) -> Result<Admin> {
    let place = reader.position();
    if let Some(options) = storage_options(reader)? {
        return Ok(Admin::AlterTable { name, options });
    }
    if reader.take(&["ADD"]) {
        if matches!(
            reader.peek(0).as_deref(),
            Some("CONSTRAINT" | "PRIMARY" | "UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE")
        ) {
            return Ok(match constraint(reader)? {
                Constraint::Key(key) => Admin::AddUniqueKey { table: name, key },
                Constraint::Reference(reference) => Admin::AddReference { table: name, reference },
            });
        }
    } else if reader.take(&["ALTER"]) {
        reader.take(&["COLUMN"]);
        let column = reader.name()?;
        if let Some(options) = storage_options(reader)? {
            return Ok(Admin::AlterColumn { table: name, column, options });
        }
    } else if !matches!(
        reader.peek(0).as_deref(),
        Some(
            "DROP"
                | "RENAME"
                | "OWNER"
                | "SET"
                | "ENABLE"
                | "DISABLE"
                | "VALIDATE"
                | "INHERIT"
                | "NO"
                | "CLUSTER"
                | "REPLICA"
                | "ATTACH"
                | "DETACH"
                | "FORCE"
        )
    ) {
        return Err(reader.unexpected());
    }
    Err(refuse_missing(
        "this form of ALTER TABLE",
        "write SET (…), RESET (…), ALTER COLUMN … SET (…), ADD PRIMARY KEY (…) or ADD FOREIGN KEY (…) REFERENCES …",
    )
    .at(place))
}

type StorageOption = (String, Option<String>);

/// `SET (name = value, …)`; `RESET (name, …)` gives each name without a value.
pub(super) fn storage_options(reader: &mut Reader<'_>) -> Result<Option<Vec<StorageOption>>> {
    if !reader.is(1, &Token::LParen) {
        return Ok(None);
    }
    if reader.take(&["SET"]) {
        return reader.parenthesized(storage_option).map(Some);
    }
    if reader.take(&["RESET"]) {
        return reader.parenthesized(|reader| Ok((reader.dotted_name()?, None))).map(Some);
    }
    Ok(None)
}

/// A name alone stands for `true`.
pub(super) fn storage_option(reader: &mut Reader<'_>) -> Result<StorageOption> {
    let name = reader.dotted_name()?;
    let value = if reader.sign(&Token::Eq) { reader.value()? } else { "true".to_owned() };
    Ok((name, Some(value)))
}
