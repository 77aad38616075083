//! `CALL privacy.require_training`, `waive_training`, `record_training`: see [`crate::policy`] for what they mean and who may.

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
