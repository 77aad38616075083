//! `CALL privacy.require_training`, `waive_training`, `record_training`: see [`crate::policy`] for what they mean and who may. And what
//! a session is told of its own trainings: as it begins, and when one lapses while it is open.

use super::Session;
use super::answer::Notice;
use super::procedures::Arguments;
use crate::error::Result;
use crate::policy::{Change, TrainingDay, TrainingPeriod};
use crate::query::statement::Call;

/// `(group, valid_for)`
pub(super) fn require(call: &Call) -> Result<Vec<Change>> {
    let arguments = Arguments::new(call, &["role", "valid_for"])?;
    let group = arguments.required("role")?.to_owned();
    let period = TrainingPeriod::parse(arguments.required("valid_for")?).map_err(|error| error.at(call.position))?;
    Ok(vec![Change::RequireTraining { group, period: Some(period) }])
}

/// `(group)`
pub(super) fn waive(call: &Call) -> Result<Vec<Change>> {
    let arguments = Arguments::new(call, &["role"])?;
    Ok(vec![Change::RequireTraining { group: arguments.required("role")?.to_owned(), period: None }])
}

/// `(login, completed)`
pub(super) fn record(call: &Call) -> Result<Vec<Change>> {
    let arguments = Arguments::new(call, &["role", "completed"])?;
    let login = arguments.required("role")?.to_owned();
    let completed = TrainingDay::parse(arguments.required("completed")?).map_err(|error| error.at(call.position))?;
    Ok(vec![Change::RecordTraining { login, completed }])
}

/// How long before the end of a training its login is told: two weeks, in seconds.
const SOON: i64 = 14 * 24 * 3600;

impl Session {
    /// Each thing once a session. Errors: 28000 for a login that is none any more.
    pub(super) fn tell_of_trainings(&mut self) -> Result<()> {
        for (message, hint) in self.acts_as()?.training_notices(SOON) {
            if self.told.insert(message.clone()) {
                self.notices.push(Notice { hint: Some(hint), ..Notice::new(message) });
            }
        }
        Ok(())
    }
}
