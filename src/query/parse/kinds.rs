//! Statements that are not there: what each refusal says, and what to write instead.
//!
//! In: the word a statement begins with. Out: an error. What stands here is refused by name; any other word is a syntax
//! error, so nothing is let through because nobody thought of it.

use super::reader::Reader;
use crate::error::{Error, SqlState};

/// What would change data, or read and write files.
pub(super) fn refuse_change(what: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("{what} is not allowed"))
        .detail("data is only read here: what changes it happens where its files are made")
        .hint("ask with SELECT; who may load adds rows with COPY table FROM STDIN, an administrator files with CREATE EXTERNAL TABLE")
}

pub(super) fn refuse_missing(what: &str, hint: &str) -> Error {
    let error = Error::new(SqlState::FeatureNotSupported, format!("{what} is not supported"));
    if hint.is_empty() { error } else { error.hint(hint) }
}

const QUERIES: &str = "write the query itself, with common table expressions (WITH) for its parts";
const PROTOCOL: &str = "prepare statements through the protocol, as drivers do";
const NO_PROCEDURES: &str =
    "nobody can make functions or procedures: everything is a query or an administrator's statement";
const NO_UPKEEP: &str = "nothing here needs upkeep: tables are files that others write";

/// The refusal of a statement that begins here with none of the words the parser knows.
pub(super) fn refuse(reader: &Reader<'_>) -> Error {
    let Some(first) = reader.peek(0) else {
        return reader.unexpected();
    };
    let error = match first.as_str() {
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" | "LOAD" | "IMPORT" => refuse_change(&first),
        "PREPARE" | "EXECUTE" => refuse_missing(&first, PROTOCOL),
        "DO" => refuse_missing(&first, NO_PROCEDURES),
        "VACUUM" | "REINDEX" | "CLUSTER" | "CHECKPOINT" | "REFRESH" => refuse_missing(&first, NO_UPKEEP),
        "LOCK" | "NOTIFY" | "SECURITY" | "REASSIGN" => refuse_missing(&first, ""),
        _ => reader.unexpected(),
    };
    error.at(reader.position())
}

/// `CREATE …`, `ALTER …`, `DROP …` of something there is none of.
pub(super) fn refuse_object(verb: &str, reader: &Reader<'_>) -> Error {
    let Some(kind) = object_kind(reader) else {
        return reader.unexpected();
    };
    let temporary = (0..3).filter_map(|ahead| reader.peek(ahead)).any(|word| word == "TEMP" || word == "TEMPORARY");
    let hint = match kind.as_str() {
        "TABLE" | "VIEW" if temporary => QUERIES,
        "TABLE" | "FOREIGN TABLE" if verb == "CREATE" => {
            "write CREATE TABLE name (column type, …), or CREATE EXTERNAL TABLE … STORED AS PARQUET LOCATION '…'"
        }
        "VIEW" | "MATERIALIZED VIEW" => QUERIES,
        "FUNCTION" | "PROCEDURE" | "AGGREGATE" | "TRIGGER" | "RULE" => NO_PROCEDURES,
        _ => "",
    };
    refuse_missing(&format!("{verb} {kind}"), hint).at(reader.position())
}

fn object_kind(reader: &Reader<'_>) -> Option<String> {
    let mut words = (0..6).map_while(|ahead| reader.peek(ahead)).peekable();
    words.next_if_eq("OR");
    let skipped = ["REPLACE", "TEMP", "TEMPORARY", "LOCAL", "GLOBAL", "UNLOGGED", "RECURSIVE"];
    while words.next_if(|word| skipped.contains(&word.as_str())).is_some() {}
    let kind = words.next()?;
    let two = match kind.as_str() {
        "MATERIALIZED" => "VIEW",
        "FOREIGN" => return words.next().map(|second| format!("FOREIGN {second}")),
        "EVENT" => "TRIGGER",
        "UNIQUE" => "INDEX",
        "ACCESS" => "METHOD",
        "TEXT" => return Some("TEXT SEARCH".to_owned()),
        "USER" => "MAPPING",
        "AGGREGATE" | "CAST" | "COLLATION" | "CONVERSION" | "DATABASE" | "DEFAULT" | "DOMAIN" | "EXTENSION"
        | "FUNCTION" | "INDEX" | "LANGUAGE" | "LARGE" | "OPERATOR" | "OWNED" | "POLICY" | "PROCEDURE"
        | "PUBLICATION" | "ROUTINE" | "RULE" | "SCHEMA" | "SEQUENCE" | "SERVER" | "STATISTICS" | "SUBSCRIPTION"
        | "TABLE" | "TABLESPACE" | "TRANSFORM" | "TRIGGER" | "TYPE" | "VIEW" => return Some(kind),
        _ => return None,
    };
    words.next_if_eq(two).map(|second| format!("{kind} {second}"))
}
