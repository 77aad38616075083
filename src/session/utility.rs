//! The variables of one session: `SET`, `RESET`, `SHOW`, and what transactions do to them.
//!
//! In: names and texts. Out: texts, and the privacy settings this session's statements run under. Pure; what a session may
//! ask of a privacy setting is for [`crate::policy`] to say, and is asked again whenever the setting is used.

mod variable;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Notice;
use crate::error::{Error, Result, SqlState};
use crate::policy::{PERSON_SETTING, Setting, Settings, looks_like};
use variable::VARIABLES;

/// What the session is for, in the analyst's words.
const PURPOSE: &str = "privacy.purpose";
/// Who a session acts as: these say so, and change nothing.
const ROLE: &str = "role";
const SESSION_AUTHORIZATION: &str = "session_authorization";
/// How many variables of its own making a session may hold, and how long each may be.
const OWN_VARIABLES: usize = 1_000;
const LONGEST_VALUE: usize = 10_000;

type Values = BTreeMap<String, String>;

/// What was set, by lower-case name.
#[derive(Debug, Clone, Default)]
struct Layers {
    session: Values,
    /// `SET LOCAL`: until the transaction ends, whichever way.
    local: Values,
}

#[derive(Debug, Clone)]
pub struct Variables {
    system: Settings,
    login: String,
    /// What `RESET` goes back to: what role and client said at the start.
    start: Values,
    now: Layers,
    /// As they were when the block began, and at each savepoint.
    saved: Vec<Layers>,
}

impl Variables {
    pub fn new(system: Settings, login: impl Into<String>) -> Self {
        Self { system, login: login.into(), start: Values::new(), now: Layers::default(), saved: vec![] }
    }

    /// A value from the role's settings or the client's first message: what `RESET` goes back to.
    pub fn start_with(&mut self, name: &str, value: &str) -> Result<()> {
        let name = known(name)?;
        let value = self.read(&name, value)?;
        self.start.insert(name, value);
        Ok(())
    }

    /// Is there a variable of this name?
    pub fn has(name: &str) -> bool {
        variable::by_name(name).is_some() || Setting::by_name(&name.to_ascii_lowercase()).is_some()
    }

    /// A value from the client's first message, over the role's own. A time zone other than UTC is no error, as drivers send the
    /// one of their machine: times stay in UTC, the client is told so by `ParameterStatus`, and the user by a notice.
    pub fn start_as_asked(&mut self, name: &str, value: &str) -> Result<Option<Notice>> {
        match self.start_with(name, value) {
            Err(_) if name.eq_ignore_ascii_case("timezone") => Ok(Some(Notice {
                severity: "NOTICE",
                message: "times are shown in UTC".to_owned(),
                hint: Some("SET TimeZone = 'UTC'".to_owned()),
            })),
            other => other.map(|()| None),
        }
    }

    /// A timeout; `None`: 0, or no such variable.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        let text = self.held(name)?;
        let settings = Settings::default().set(Setting::StatementTimeout, text).ok()?;
        (settings.statement_timeout_ms > 0).then(|| Duration::from_millis(settings.statement_timeout_ms))
    }

    /// Does the session want to be told of this? `client_min_messages`.
    pub fn wants(&self, notice: &Notice) -> bool {
        let least = self.value("client_min_messages").unwrap_or_default();
        match notice.severity {
            "WARNING" => least != "error",
            _ => !["warning", "error"].contains(&least.as_str()),
        }
    }

    /// The administrator changed the system's settings. What a session asked for beyond them is no longer heard.
    pub fn follow(&mut self, system: Settings) {
        self.system = system;
    }

    /// The settings this session's statements run under.
    pub fn settings(&self) -> Settings {
        let mut settings = self.system.clone();
        for setting in Setting::OF_SESSIONS {
            let asked = self.held(setting.name());
            let allowed = asked
                .and_then(|text| self.system.session_setting_allowed(setting, text).ok())
                .and_then(|allowed| settings.set(setting, &allowed.show(setting)).ok());
            settings = allowed.unwrap_or(settings);
        }
        settings
    }

    /// `SET name = value`; `None`: `DEFAULT`. `SET LOCAL` does nothing outside a block, and says so.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Option<Notice>> {
        let name = known(name)?;
        let local = local || is_of_transaction(&name);
        let value = match value {
            Some(value) => Some(self.read(&name, value)?),
            None => {
                self.refuse_fixed(&name)?;
                None
            }
        };
        if local && !self.in_block() {
            let what = if is_of_transaction(&name) { "SET TRANSACTION" } else { "SET LOCAL" };
            return Ok(Some(Notice {
                severity: "WARNING",
                message: format!("{what} can only be used in transaction blocks"),
                hint: None,
            }));
        }
        let first = self.first(&name);
        self.now.local.remove(&name);
        let layer = if local { &mut self.now.local } else { &mut self.now.session };
        match value.or(first.filter(|_| local)) {
            Some(value) => layer.insert(name, value),
            None => layer.remove(&name),
        };
        Ok(None)
    }

    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS`: all of it or nothing.
    pub fn set_modes(&mut self, modes: &[(String, String)]) -> Result<Option<Notice>> {
        let before = self.now.clone();
        let mut notice = None;
        for (name, value) in modes {
            match self.set(name, Some(value), false) {
                Ok(said) => notice = said,
                Err(error) => {
                    self.now = before;
                    return Err(error);
                }
            }
        }
        Ok(notice)
    }

    pub fn reset(&mut self, name: &str) -> Result<()> {
        let name = known(name)?;
        if name == SESSION_AUTHORIZATION || name == ROLE {
            return Ok(());
        }
        self.refuse_fixed(&name)?;
        self.now.local.remove(&name);
        self.now.session.remove(&name);
        Ok(())
    }

    pub fn reset_all(&mut self) {
        self.now.local.retain(|name, _| is_of_transaction(name));
        self.now.session.clear();
    }

    /// Errors: 42704 where there is no such variable.
    pub fn show(&self, name: &str) -> Result<String> {
        let name = known(name)?;
        self.value(&name).ok_or_else(|| unrecognized(&name))
    }

    /// Whatever role, client and session chose: layer, lower-case name, value. Together with the system's settings it is all that the
    /// variables are made of.
    pub fn chosen(&self) -> impl Iterator<Item = (&'static str, &str, &str)> {
        let layers = [("start", &self.start), ("session", &self.now.session), ("local", &self.now.local)];
        layers
            .into_iter()
            .flat_map(|(layer, values)| values.iter().map(move |(name, value)| (layer, name.as_str(), value.as_str())))
    }

    /// `SHOW ALL`: names as they are spelled, and values.
    pub fn all(&self) -> Vec<(String, String)> {
        let ours = VARIABLES.iter().map(|variable| variable.name.to_owned());
        let settings = Setting::ALL.iter().map(|setting| setting.name().to_owned());
        let own = self.now.session.keys().chain(self.now.local.keys());
        let own = own.chain(self.start.keys()).filter(|name| is_own(name));
        let mut names: Vec<String> = ours.chain(settings).chain(own.cloned()).collect();
        names.push(PURPOSE.to_owned());
        names.sort_by_key(|name| name.to_ascii_lowercase());
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| {
                let value = self.value(&name.to_ascii_lowercase())?;
                Some((name, value))
            })
            .collect()
    }

    /// What a client is told of by `ParameterStatus`, at the start and when it changes.
    pub fn reported(&self) -> Vec<(String, String)> {
        VARIABLES
            .iter()
            .filter(|variable| variable.reported)
            .filter_map(|variable| {
                let value = self.value(&variable.name.to_ascii_lowercase())?;
                Some((variable.name.to_owned(), value))
            })
            .collect()
    }

    /// A block begins.
    pub fn begin(&mut self) {
        self.saved = vec![self.now.clone()];
    }

    pub fn commit(&mut self) {
        self.saved.clear();
        self.now.local.clear();
    }

    pub fn rollback(&mut self) {
        if !self.saved.is_empty() {
            self.now = self.saved.swap_remove(0);
        }
        self.commit();
    }

    pub fn savepoint(&mut self) {
        if self.in_block() {
            self.saved.push(self.now.clone());
        }
    }

    /// The savepoint with this many others before it in the block, and all after it, are forgotten.
    pub fn release(&mut self, before: usize) {
        if self.in_block() {
            self.saved.truncate(before + 1);
        }
    }

    /// Back to how things were at that savepoint, which stays.
    pub fn rollback_to(&mut self, before: usize) {
        if let Some(saved) = self.saved.get(before + 1) {
            self.now = saved.clone();
            self.saved.truncate(before + 2);
        }
    }

    fn in_block(&self) -> bool {
        !self.saved.is_empty()
    }

    fn held(&self, name: &str) -> Option<&String> {
        self.now.local.get(name).or_else(|| self.now.session.get(name)).or_else(|| self.start.get(name))
    }

    /// By lower-case name.
    fn value(&self, name: &str) -> Option<String> {
        if let Some(setting) = Setting::by_name(name) {
            return Some(self.settings().show(setting));
        }
        if let Some(value) = self.held(name) {
            return Some(value.clone());
        }
        self.first(name)
    }

    /// The value before anything was set in this session.
    fn first(&self, name: &str) -> Option<String> {
        if let Some(value) = self.start.get(name) {
            return Some(value.clone());
        }
        match name {
            SESSION_AUTHORIZATION => Some(self.login.clone()),
            ROLE => Some("none".to_owned()),
            PURPOSE => Some(String::new()),
            _ if is_of_transaction(name) => self.value(&format!("default_{name}")),
            _ => match Setting::by_name(name) {
                Some(setting) => Some(self.system.show(setting)),
                None => variable::by_name(name).map(|variable| variable.value.to_owned()),
            },
        }
    }

    /// The value that `text` stands for, if a session may set it.
    fn read(&self, name: &str, text: &str) -> Result<String> {
        if let Some(setting) = Setting::by_name(name) {
            return self.system.session_setting_allowed(setting, text).map(|settings| settings.show(setting));
        }
        if name == ROLE || name == SESSION_AUTHORIZATION {
            let same = text == if name == ROLE { "none" } else { &self.login };
            return if same { Ok(text.to_owned()) } else { Err(refuse_identity(name)) };
        }
        if text.len() > LONGEST_VALUE {
            return Err(Error::new(
                SqlState::InvalidParameterValue,
                format!("value for parameter \"{name}\" is too long"),
            ));
        }
        match variable::by_name(name) {
            Some(variable) => variable.read(text),
            None => self.read_own(name, text),
        }
    }

    fn read_own(&self, name: &str, text: &str) -> Result<String> {
        let held = self.now.session.len() + self.now.local.len();
        if held >= OWN_VARIABLES && self.held(name).is_none() {
            return Err(Error::new(SqlState::ConfigurationLimitExceeded, "too many variables in this session")
                .hint("RESET ALL"));
        }
        Ok(text.to_owned())
    }

    fn refuse_fixed(&self, name: &str) -> Result<()> {
        if let Some(setting) = Setting::by_name(name) {
            // Going back to the system's value is always allowed where setting is.
            let value = self.system.show(setting);
            return self.system.session_setting_allowed(setting, &value).map(|_| ());
        }
        match variable::by_name(name) {
            Some(variable) if variable.takes == variable::Takes::Nothing => variable.read("").map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// The lower-case name, if a variable may have it. Names with a dot are the session's own, as in Postgres; those under
/// `privacy.` are not.
fn known(name: &str) -> Result<String> {
    let name = name.to_ascii_lowercase();
    refuse_look_alike(&name)?;
    let there = variable::by_name(&name).is_some()
        || Setting::by_name(&name).is_some()
        || name == PURPOSE
        || name == ROLE
        || is_own(&name);
    match there {
        true => Ok(name),
        false if name.eq_ignore_ascii_case(PERSON_SETTING) => Err(refuse_person()),
        false => Err(unrecognized(&name)),
    }
}

fn is_own(name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty() && first != "privacy")
}

/// Variables that describe the current transaction.
fn is_of_transaction(name: &str) -> bool {
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable"].contains(&name)
}

/// A session's own variables are never mistaken for the server's: their names are identifiers, as in Postgres, and do not look like
/// `privacy`.
fn refuse_look_alike(name: &str) -> Result<()> {
    let Some((first, _)) = name.split_once('.').filter(|(first, _)| *first != "privacy") else {
        return Ok(());
    };
    let simple = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
    };
    if name.split('.').all(simple) && !looks_like(first, "privacy") {
        return Ok(());
    }
    let shown: String = name.escape_debug().collect();
    Err(Error::new(SqlState::InvalidName, format!("invalid configuration parameter name \"{shown}\""))
        .detail("a session's own parameters are identifiers with dots between them, and none looks like privacy")
        .hint("SHOW ALL lists the parameters there are"))
}

fn refuse_person() -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("permission denied to set parameter \"{PERSON_SETTING}\""))
        .detail("an administrator says which person a login belongs to")
        .hint(format!("ALTER ROLE … SET {PERSON_SETTING} = '…'"))
}

fn refuse_identity(name: &str) -> Error {
    Error::new(SqlState::InsufficientPrivilege, format!("permission denied to set parameter \"{name}\""))
        .detail("a session acts as the role that logged in: its grants, budget and log are that role's")
        .hint("log in as the other role")
}

fn unrecognized(name: &str) -> Error {
    let shown: String = name.escape_debug().collect();
    Error::new(SqlState::UndefinedObject, format!("unrecognized configuration parameter \"{shown}\""))
        .hint("SHOW ALL lists the parameters there are")
}
