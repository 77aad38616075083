//! `audit.changes`: what administrators changed, from what to what.
//!
//! In: what is kept before a change and after it, as JSON. Out: a list of `{kind, name, old, new}` that holds only what differs, and the
//! view over all of them. Never a password's verifier, nor anything else whose name says that it is a secret, nor which person
//! a login is: such values are there as `***`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Bodies by kind and name.
pub(super) type Objects = BTreeMap<(String, String), String>;

const HIDDEN: &str = "***";
/// Parts of the names of what is not shown.
const SECRETS: [&str; 8] =
    ["verifier", "passw", "pwd", "secret", "token", "access_key", "credential", "privacy.person"];
/// Which person a login is, as a digest.
const PERSON: &str = "person";

/// A JSON list, the empty one where nothing differs.
pub(super) fn differences(before: &Objects, after: &Objects) -> Result<String> {
    let mut found: Vec<Value> = Vec::new();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for key in names {
        let (old, new) = (before.get(key), after.get(key));
        if old == new {
            continue;
        }
        let (old, new) = (parsed(old)?, parsed(new)?);
        let (kind, name) = key;
        match (kind.as_str(), name.as_str()) {
            // One object holds them all: each is told by itself.
            ("settings", _) => found.extend(settings(&old, &new)),
            ("grants", _) => found.extend(grants(&old, &new)),
            _ => {
                let (old, new) = narrowed(old, new);
                found.push(json!({ "kind": kind, "name": name, "old": shown(old), "new": shown(new) }));
            }
        }
    }
    serde_json::to_string(&found).map_err(|_| Error::internal())
}

fn parsed(body: Option<&String>) -> Result<Value> {
    body.map_or(Ok(Value::Null), |body| serde_json::from_str(body).map_err(|_| Error::internal()))
}

fn settings(old: &Value, new: &Value) -> Vec<Value> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| json!({ "kind": "setting", "name": name, "old": old.get(name), "new": new.get(name) }))
        .collect()
}

/// By role and table; a grant of a table and one of columns are told together.
fn grants(old: &Value, new: &Value) -> Vec<Value> {
    let by_name = |grants: &Value| -> BTreeMap<String, Vec<Value>> {
        let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for grant in grants.as_array().into_iter().flatten() {
            let text = |field: &str| grant.get(field).and_then(Value::as_str).unwrap_or_default();
            let columns = grant.get("columns").cloned().unwrap_or_default();
            by_name.entry(format!("{} TO {}", text("table"), text("role"))).or_default().push(columns);
        }
        by_name
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let columns = |held: Option<&Vec<Value>>| held.map(|held| json!({ "columns": held }));
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| json!({ "kind": "grant", "name": name, "old": columns(old.get(name)), "new": columns(new.get(name)) }))
        .collect()
}

/// Of two objects what differs; of two lists of things with names the things that differ.
fn narrowed(old: Value, new: Value) -> (Value, Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let (mut before, mut after) = (Map::new(), Map::new());
            let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
            for name in names.into_iter().filter(|name| old.get(name) != new.get(name)) {
                let of = |object: &Map<String, Value>| object.get(&name).cloned().unwrap_or_default();
                let (a, b) = narrowed(of(&old), of(&new));
                before.insert(name.clone(), a);
                after.insert(name, b);
            }
            (Value::Object(before), Value::Object(after))
        }
        (Value::Array(old), Value::Array(new)) => match (named(&old), named(&new)) {
            (Some(before), Some(after)) => {
                let differ = |one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>| -> Value {
                    let own = one.iter().filter(|(name, value)| other.get(*name) != Some(value));
                    own.map(|(_, value)| value.clone()).collect()
                };
                (differ(&before, &after), differ(&after, &before))
            }
            _ => (Value::Array(old), Value::Array(new)),
        },
        (old, new) => (old, new),
    }
}

fn named(list: &[Value]) -> Option<BTreeMap<String, Value>> {
    let named: Option<BTreeMap<String, Value>> =
        list.iter().map(|one| Some((one.get("name")?.as_str()?.to_owned(), one.clone()))).collect();
    named.filter(|named| named.len() == list.len())
}

/// Without what nobody is shown.
fn shown(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| {
                let hidden = (name == PERSON || SECRETS.iter().any(|part| name.to_ascii_lowercase().contains(part)))
                    && !value.is_null();
                (name, if hidden { Value::String(HIDDEN.to_owned()) } else { shown(value) })
            })
            .collect(),
        Value::Array(list) => list.into_iter().map(shown).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// One row a difference; a change of which none is known has one row too.
pub(super) fn batch(connection: &Connection) -> Result<RecordBatch> {
    let mut epoch = Int64Builder::new();
    let mut at = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut texts: [StringBuilder; TEXTS.len()] = Default::default();
    let mut statement =
        connection.prepare("SELECT epoch, at, actor, change, differences FROM catalog_change ORDER BY epoch")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (actor, change, differences): (String, String, String) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let mut found: Vec<Value> = serde_json::from_str(&differences).map_err(|_| Error::internal())?;
        if found.is_empty() {
            found.push(Value::Null);
        }
        for difference in found {
            epoch.append_value(row.get(0)?);
            at.append_value(row.get(1)?);
            let text = |field: &str| difference.get(field).and_then(Value::as_str).map(str::to_owned);
            let json = |field: &str| difference.get(field).filter(|value| !value.is_null()).map(Value::to_string);
            let values =
                [Some(actor.clone()), Some(change.clone()), text("kind"), text("name"), json("old"), json("new")];
            for (column, value) in texts.iter_mut().zip(values) {
                column.append_option(value);
            }
        }
    }
    let text = |name: &&str| Field::new(*name, DataType::Utf8, true);
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let first = [Field::new("epoch", DataType::Int64, false), Field::new("at", instant, false)];
    let schema = Schema::new(first.into_iter().chain(TEXTS.iter().map(text)).collect::<Vec<_>>());
    let [actor, change, kind, name, old, new] = texts.each_mut().map(StringBuilder::finish);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(epoch.finish()),
            Arc::new(at.finish()),
            Arc::new(actor),
            Arc::new(change),
            Arc::new(kind),
            Arc::new(name),
            Arc::new(old),
            Arc::new(new),
        ],
    )
    .map_err(|_| Error::internal())
}

const TEXTS: [&str; 6] = ["actor", "statement", "kind", "name", "old", "new"];
