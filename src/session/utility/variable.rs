//! The session variables there are: their names, first values, and which texts each takes.
//!
//! In: a name and a text. Out: the text as Postgres would show it, or a refusal. Knows nothing of sessions; the settings of
//! [`crate::policy::Setting`] are not here.

use crate::catalog::system::SERVER_VERSION;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Setting, Settings};

/// What a variable takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: it tells what is so.
    Nothing,
    Bool,
    Integer(i64, i64),
    Milliseconds,
    Text,
    /// Any case; shown as written here.
    OneOf(&'static [&'static str]),
    /// One of several that mean the same, all shown as the first value.
    Only(&'static [&'static str]),
    DateStyle,
}

#[derive(Debug)]
pub(super) struct Variable {
    /// As `SHOW ALL` spells it.
    pub name: &'static str,
    pub value: &'static str,
    pub takes: Takes,
    /// Clients are told when it changes (Postgres's `GUC_REPORT`).
    pub reported: bool,
}

const fn variable(name: &'static str, value: &'static str, takes: Takes) -> Variable {
    Variable { name, value, takes, reported: false }
}

const fn reported(name: &'static str, value: &'static str, takes: Takes) -> Variable {
    Variable { name, value, takes, reported: true }
}

const ISOLATION: Takes = Takes::OneOf(&["serializable", "repeatable read", "read committed", "read uncommitted"]);
const LEVELS: Takes =
    Takes::OneOf(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]);
const UTC: Takes = Takes::Only(&[
    "utc",
    "gmt",
    "etc/utc",
    "etc/gmt",
    "zulu",
    "z",
    "uct",
    "etc/uct",
    "universal",
    "0",
    "+0",
    "-0",
    "00:00",
    "+00:00",
]);
const UTF8: Takes = Takes::Only(&["utf8", "utf-8", "unicode"]);
const ON: Takes = Takes::Only(&["on", "true", "yes", "1", "t", "y"]);
const OFF: Takes = Takes::Only(&["off", "false", "no", "0", "f", "n"]);

/// In the order of `SHOW ALL`.
pub(super) const VARIABLES: &[Variable] = &[
    reported("application_name", "", Takes::Text),
    variable("array_nulls", "on", Takes::Bool),
    variable("backslash_quote", "safe_encoding", Takes::Only(&["safe_encoding"])),
    variable("block_size", "8192", Takes::Nothing),
    variable("bytea_output", "hex", Takes::Only(&["hex"])),
    variable("check_function_bodies", "on", Takes::Bool),
    reported("client_encoding", "UTF8", UTF8),
    variable("client_min_messages", "notice", LEVELS),
    reported("DateStyle", "ISO, MDY", Takes::DateStyle),
    variable("default_table_access_method", "heap", Takes::Nothing),
    variable("default_tablespace", "", Takes::Text),
    variable("default_text_search_config", "pg_catalog.simple", Takes::Text),
    variable("default_transaction_deferrable", "off", Takes::Bool),
    variable("default_transaction_isolation", "read committed", ISOLATION),
    reported("default_transaction_read_only", "off", Takes::Bool),
    variable("enable_bitmapscan", "on", Takes::Bool),
    variable("enable_hashagg", "on", Takes::Bool),
    variable("enable_hashjoin", "on", Takes::Bool),
    variable("enable_indexscan", "on", Takes::Bool),
    variable("enable_mergejoin", "on", Takes::Bool),
    variable("enable_nestloop", "on", Takes::Bool),
    variable("enable_seqscan", "on", Takes::Bool),
    variable("escape_string_warning", "on", Takes::Bool),
    variable("extra_float_digits", "1", Takes::Integer(-15, 3)),
    variable("from_collapse_limit", "8", Takes::Integer(1, 2_147_483_647)),
    variable("geqo", "on", Takes::Bool),
    variable("idle_in_transaction_session_timeout", "0", Takes::Milliseconds),
    variable("idle_session_timeout", "0", Takes::Milliseconds),
    reported("in_hot_standby", "off", Takes::Nothing),
    reported("integer_datetimes", "on", Takes::Nothing),
    reported("IntervalStyle", "postgres", Takes::Only(&["postgres"])),
    reported("is_superuser", "off", Takes::Nothing),
    variable("jit", "off", Takes::Bool),
    variable("join_collapse_limit", "8", Takes::Integer(1, 2_147_483_647)),
    variable("lc_collate", "C", Takes::Nothing),
    variable("lc_ctype", "C", Takes::Nothing),
    variable("lc_messages", "C", Takes::Text),
    variable("lc_monetary", "C", Takes::Text),
    variable("lc_numeric", "C", Takes::Text),
    variable("lc_time", "C", Takes::Text),
    variable("lock_timeout", "0", Takes::Milliseconds),
    variable("max_identifier_length", "63", Takes::Nothing),
    variable("max_index_keys", "32", Takes::Nothing),
    variable("max_parallel_workers_per_gather", "0", Takes::Integer(0, 1024)),
    variable("password_encryption", "scram-sha-256", Takes::Nothing),
    variable("privacy.prefer", "accuracy", Takes::OneOf(&["accuracy", "stored"])),
    variable("privacy.show_suppressed", "off", Takes::Bool),
    variable("quote_all_identifiers", "off", Takes::Bool),
    variable("row_security", "on", ON),
    reported("scram_iterations", "4096", Takes::Nothing),
    variable("search_path", "\"$user\", public", Takes::Text),
    reported("server_encoding", "UTF8", Takes::Nothing),
    reported("server_version", SERVER_VERSION, Takes::Nothing),
    variable("server_version_num", "160004", Takes::Nothing),
    reported("session_authorization", "", Takes::Nothing),
    reported("standard_conforming_strings", "on", ON),
    variable("synchronize_seqscans", "on", Takes::Bool),
    variable("synchronous_commit", "on", Takes::Text),
    reported("TimeZone", "UTC", UTC),
    variable("transaction_deferrable", "off", Takes::Bool),
    variable("transaction_isolation", "read committed", ISOLATION),
    variable("transaction_read_only", "off", Takes::Bool),
    variable("transform_null_equals", "off", OFF),
    variable("work_mem", "4MB", Takes::Text),
    variable("xmloption", "content", Takes::OneOf(&["content", "document"])),
];

/// Case does not matter.
pub(super) fn by_name(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name.eq_ignore_ascii_case(name))
}

impl Variable {
    /// The value that `text` stands for, as it is shown.
    pub fn read(&self, text: &str) -> Result<String> {
        let refuse = || Err(refuse_value(self.name, text));
        // Drivers write 'utf-8' with its quotes: Postgres looks at letters and digits alone.
        let cleaned: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        let text = if self.name == "client_encoding" { cleaned.as_str() } else { text };
        let is_one = |known: &[&str]| known.iter().any(|one| one.eq_ignore_ascii_case(text.trim()));
        match self.takes {
            Takes::Nothing => Err(Error::new(
                SqlState::CantChangeRuntimeParam,
                format!("parameter \"{}\" cannot be changed", self.name),
            )),
            Takes::Bool => read_bool(text).map_or_else(refuse, |on| Ok(show_bool(on))),
            Takes::Integer(least, most) => match text.trim().parse::<i64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number.to_string()),
                Ok(number) => Err(Error::new(
                    SqlState::InvalidParameterValue,
                    format!("{number} is outside the valid range for parameter \"{}\" ({least} .. {most})", self.name),
                )),
                Err(_) => refuse(),
            },
            Takes::Milliseconds => Settings::default()
                .set(Setting::StatementTimeout, text)
                .map_or_else(|_| refuse(), |settings| Ok(settings.show(Setting::StatementTimeout))),
            Takes::Text => Ok(text.to_owned()),
            Takes::OneOf(known) => known
                .iter()
                .find(|one| one.eq_ignore_ascii_case(text.trim()))
                .map_or_else(refuse, |one| Ok((*one).to_owned())),
            Takes::Only(same) if is_one(same) => Ok(self.value.to_owned()),
            Takes::Only(_) => Err(refuse_value(self.name, text).detail(format!("this server has {} only", self.value))),
            Takes::DateStyle => read_date_style(text).map_or_else(refuse, Ok),
        }
    }
}

pub(super) fn refuse_value(name: &str, text: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("invalid value for parameter \"{name}\": \"{text}\""))
}

/// As Postgres reads one: any beginning that is not ambiguous.
fn read_bool(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

fn show_bool(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

/// Dates are always written in ISO; the order matters to nothing but is kept for those who ask.
fn read_date_style(text: &str) -> Option<String> {
    let mut order = "MDY";
    for word in text.split(',') {
        match word.trim().to_ascii_lowercase().as_str() {
            "iso" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "dmy" | "euro" | "european" => order = "DMY",
            "ymd" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}
