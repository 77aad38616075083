//! Policies as rows: one JSON object for each role and table, one for the settings, one for all grants.
//!
//! In: the policies before and after a change. Out: only what differs is written, in one transaction with the record of the
//! change, and only if the file still holds the epoch that the change was made from.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes::{self, Objects};
use crate::error::{Error, Result};
use crate::policy::Policies;
use crate::state::{ChangeRow, Writing, record_change};

const ROLE: &str = "role";
const TABLE: &str = "table";
const VIEW: &str = "view";
const SETTINGS: &str = "settings";
const GRANTS: &str = "grants";
const KEY_EPOCH: &str = "key_epoch";
const EXCLUDED: &str = "excluded";
const ACCESS: &str = "access";
const PURPOSE: &str = "purpose";
const COMMENTS: &str = "comments";
const LOADERS: &str = "loaders";

pub(super) enum Saved {
    Done,
    /// Another server changed something first; nothing was written.
    Outdated,
}

/// Of the policies, and of the statistics; `None` before the first start.
pub(super) fn epochs(connection: &Connection) -> Result<Option<(u64, u64)>> {
    let epochs: Option<(i64, i64)> = connection
        .prepare_cached("SELECT epoch, statistics_epoch FROM catalog_epoch")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(epochs.map(|(policies, statistics)| (policies as u64, statistics as u64)))
}

/// `None` before the first start.
fn epoch(connection: &Connection) -> Result<Option<u64>> {
    let epoch: Option<i64> =
        connection.prepare_cached("SELECT epoch FROM catalog_epoch")?.query_row([], |row| row.get(0)).optional()?;
    Ok(epoch.map(|epoch| epoch as u64))
}

pub(super) fn load(connection: &Connection) -> Result<Option<Policies>> {
    let epochs: Option<(i64, i64)> = connection
        .query_row("SELECT epoch, release_epoch FROM catalog_epoch", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((epoch, release_epoch)) = epochs else {
        return Ok(None);
    };
    let mut policies = Policies { epoch: epoch as u64, release_epoch: release_epoch as u64, ..Policies::default() };
    let mut statement = connection.prepare("SELECT kind, name, body FROM catalog_object")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, body): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        match kind.as_str() {
            ROLE => drop(policies.roles.insert(name, from_json(&body)?)),
            TABLE => drop(policies.tables.insert(name, from_json(&body)?)),
            VIEW => drop(policies.views.insert(name, from_json(&body)?)),
            EXCLUDED => drop(policies.excluded.insert(name, from_json(&body)?)),
            ACCESS => drop(policies.access.insert(name.parse().map_err(|_| unreadable())?, from_json(&body)?)),
            PURPOSE => drop(policies.purposes.insert(name, from_json(&body)?)),
            COMMENTS => drop(policies.comments.insert(name, from_json(&body)?)),
            LOADERS => drop(policies.loaders.insert(name, from_json(&body)?)),
            SETTINGS => policies.settings = from_json(&body)?,
            GRANTS => policies.grants = from_json(&body)?,
            KEY_EPOCH => drop(policies.key_epochs.insert(name, from_json(&body)?)),
            _ => return Err(unreadable()),
        }
    }
    Ok(Some(policies))
}

pub(super) fn save(tx: &Writing, before: &Policies, after: &Policies, actor: &str, statement: &str) -> Result<Saved> {
    if epoch(tx)?.unwrap_or(0) != before.epoch {
        return Ok(Saved::Outdated);
    }
    let held = objects(tx)?;
    write_difference(tx, ROLE, &before.roles, &after.roles)?;
    write_difference(tx, TABLE, &before.tables, &after.tables)?;
    write_difference(tx, VIEW, &before.views, &after.views)?;
    write_difference(tx, COMMENTS, &before.comments, &after.comments)?;
    write_difference(tx, PURPOSE, &before.purposes, &after.purposes)?;
    write_difference(tx, KEY_EPOCH, &before.key_epochs, &after.key_epochs)?;
    write_difference(tx, LOADERS, &before.loaders, &after.loaders)?;
    write_difference(tx, EXCLUDED, &before.excluded, &after.excluded)?;
    write_difference(tx, ACCESS, &before.access, &after.access)?;
    if before.epoch == 0 || before.settings != after.settings {
        put(tx, SETTINGS, "", &after.settings)?;
    }
    if before.grants != after.grants {
        put(tx, GRANTS, "", &after.grants)?;
    }
    for (name, table) in &before.tables {
        let location = after.tables.get(name).map(|table| &table.location);
        if location != Some(&table.location) {
            tx.execute("DELETE FROM verified_key WHERE table_name = ?1", [name])?;
        }
    }
    tx.execute(
        "INSERT INTO catalog_epoch (only, epoch, release_epoch) VALUES (1, ?1, ?2)
         ON CONFLICT (only) DO UPDATE SET epoch = excluded.epoch, release_epoch = excluded.release_epoch",
        (after.epoch as i64, after.release_epoch as i64),
    )?;
    let differences = changes::differences(&held, &objects(tx)?)?;
    let change = ChangeRow {
        epoch: after.epoch as i64,
        at: chrono::Utc::now().timestamp_micros(),
        actor: actor.to_owned(),
        change: statement.to_owned(),
        differences,
    };
    record_change(tx, &change)?;
    Ok(Saved::Done)
}

/// Everything that is kept, by kind and name. The log of changes compares this before and after, so it misses no kind.
fn objects(connection: &Connection) -> Result<Objects> {
    let mut statement = connection.prepare_cached("SELECT kind, name, body FROM catalog_object")?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write_difference<K: Ord + ToString, T: Serialize + PartialEq>(
    tx: &Transaction,
    kind: &str,
    before: &BTreeMap<K, T>,
    after: &BTreeMap<K, T>,
) -> Result<()> {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        tx.execute("DELETE FROM catalog_object WHERE kind = ?1 AND name = ?2", (kind, name.to_string()))?;
    }
    for (name, value) in after {
        if before.get(name) != Some(value) {
            put(tx, kind, &name.to_string(), value)?;
        }
    }
    Ok(())
}

fn put(tx: &Transaction, kind: &str, name: &str, value: &impl Serialize) -> Result<()> {
    let body = serde_json::to_string(value).map_err(|_| Error::internal())?;
    tx.execute("INSERT OR REPLACE INTO catalog_object VALUES (?1, ?2, ?3)", (kind, name, body))?;
    Ok(())
}

fn from_json<T: DeserializeOwned>(body: &str) -> Result<T> {
    serde_json::from_str(body).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    tracing::error!("the state file holds an object that this server cannot read");
    Error::internal()
}

/// 144 bits from the operating system.
pub(super) fn generate_password() -> Result<String> {
    let mut bytes = [0; 18];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::internal())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
