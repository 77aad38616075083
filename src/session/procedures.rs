//! `CALL privacy.…(…)`: which procedures there are, what each takes, and the changes that it stands for.
//!
//! One line of [`Session::procedure`] a procedure. Who may call it is checked where the change is applied.

use std::collections::BTreeSet;

use super::{Session, access, pseudonyms, purposes, training};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Change, Principal, elements};
use crate::query::statement::Call;

impl Session {
    pub(super) fn procedure(&self, _actor: &Principal, call: &Call) -> Result<Vec<Change>> {
        match call.procedure.as_str() {
            "privacy.create_purpose" => purposes::create(call),
            "privacy.end_purpose" => purposes::end(call),
            "privacy.rotate_key" => pseudonyms::rotate(call),
            "privacy.require_training" => training::require(call),
            "privacy.waive_training" => training::waive(call),
            "privacy.record_training" => training::record(call),
            "privacy.exclude_person" => self.exclude_person(call),
            "privacy.include_person" => self.include_person(call),
            "privacy.request_access" => access::request(call, self.server.catalog.digester()),
            "privacy.approve_access" => access::approve(call, self.server.catalog.digester()),
            "privacy.deny_access" => access::deny(call),
            "privacy.revoke_access" => access::revoke(call),
            _ => Err(Error::new(SqlState::UndefinedFunction, format!("procedure {} does not exist", call.procedure))
                .detail("the procedures are the server's own: nobody can make another")
                .hint("README.md lists them with their arguments")
                .at(call.position)),
        }
    }
}

/// The arguments of a call by the names that the procedure gives them.
pub(super) struct Arguments<'a> {
    call: &'a Call,
    names: &'static [&'static str],
}

impl<'a> Arguments<'a> {
    /// Refuses a name that the procedure does not have, one given twice, and too many of them.
    pub fn new(call: &'a Call, names: &'static [&'static str]) -> Result<Self> {
        let mut given: Vec<&str> = Vec::new();
        for (place, argument) in call.arguments.iter().enumerate() {
            let name = match &argument.name {
                Some(name) => names.iter().find(|known| *known == name),
                None => names.get(place),
            };
            let name = name.ok_or_else(|| no_such_call(call, names).at(argument.position))?;
            if given.contains(name) {
                return Err(Error::new(SqlState::SyntaxError, format!("argument name \"{name}\" used more than once"))
                    .hint(signature(call, names))
                    .at(argument.position));
            }
            given.push(name);
        }
        Ok(Self { call, names })
    }

    /// The text of an argument; `None` where it was left out or is NULL.
    pub fn optional(&self, name: &str) -> Option<&'a str> {
        let place = self.names.iter().position(|known| *known == name)?;
        let named = |argument: &&crate::query::statement::Argument| argument.name.as_deref() == Some(name);
        let unnamed = self.call.arguments.get(place).filter(|argument| argument.name.is_none());
        self.call.arguments.iter().find(named).or(unnamed)?.value.as_deref()
    }

    pub fn required(&self, name: &str) -> Result<&'a str> {
        self.optional(name).filter(|value| !value.trim().is_empty()).ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, format!("{} needs {name}", self.call.procedure))
                .hint(signature(self.call, self.names))
                .at(self.call.position)
        })
    }

    /// The elements of `ARRAY['…', …]` or `'{…}'`, each once; none where it was left out.
    pub fn list(&self, name: &str) -> Result<BTreeSet<String>> {
        let Some(text) = self.optional(name) else { return Ok(BTreeSet::new()) };
        elements(text).map(|elements| elements.into_iter().collect()).ok_or_else(|| {
            self.refuse_value(name)
                .hint(format!("write {name} as an array, such as ARRAY['one', 'two'] or '{{one,two}}'"))
        })
    }

    pub fn refuse_value(&self, name: &str) -> Error {
        Error::new(SqlState::InvalidParameterValue, format!("invalid value for argument \"{name}\""))
            .detail(format!("{} cannot use it", self.call.procedure))
            .at(self.call.position)
    }
}

fn signature(call: &Call, names: &[&str]) -> String {
    format!("CALL {}({})", call.procedure, names.join(", "))
}

fn no_such_call(call: &Call, names: &[&str]) -> Error {
    Error::new(SqlState::UndefinedFunction, format!("{} does not take these arguments", call.procedure))
        .hint(signature(call, names))
}
