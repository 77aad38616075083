//! Training before access (W19): a group may ask its members for a training that is still valid.
//!
//! In: `CALL privacy.require_training(group, valid_for)`, `privacy.waive_training(group)`, `privacy.record_training(login, completed)`.
//! Out: a period on the group, a day on the login. Whose training is missing or over, their membership gives nothing from that
//! moment on. Calendar days and months, in UTC: a training of 5 January that is good for a year ends as 5 January begins.
//!
//! That a group needs training is a privacy setting, so administrators of data say it; that somebody was trained belongs to the
//! account, so administrators of accounts say that. Nobody says either of a role they act as.

use std::fmt;

use chrono::{Days, Months, NaiveDate};
use serde::{Deserialize, Serialize};

use super::{Policies, Principal, Role, RoleName};
use crate::error::{Error, Result, SqlState};

/// A day in UTC, kept and shown as `2026-01-05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrainingDay(NaiveDate);

/// How long a training is good for: months and days of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingPeriod {
    months: u32,
    days: u32,
}

/// Ten years: longer is as good as for ever.
const LONGEST_MONTHS: u32 = 120;
const LONGEST_DAYS: u32 = 3_660;

impl TrainingDay {
    pub fn parse(text: &str) -> Result<Self> {
        NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").map(Self).map_err(|_| {
            Error::new(SqlState::InvalidParameterValue, "completed takes a date").hint("for example DATE '2026-01-05'")
        })
    }

    /// Seconds since 1970 at its first moment.
    pub fn begins(self) -> i64 {
        self.0.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
    }

    fn after(self, period: TrainingPeriod) -> Option<Self> {
        let months = self.0.checked_add_months(Months::new(period.months))?;
        months.checked_add_days(Days::new(u64::from(period.days))).map(Self)
    }
}

impl fmt::Display for TrainingDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl From<TrainingDay> for String {
    fn from(day: TrainingDay) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for TrainingDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|refusal| refusal.message)
    }
}

impl TrainingPeriod {
    /// `1 year`, `18 months`, `1 year 6 months`, `90 days`, `2 weeks`. Errors: 22023.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| {
            Error::new(SqlState::InvalidParameterValue, "valid_for takes years, months, weeks or days")
                .hint("for example '1 year'; from one day to ten years")
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (mut months, mut days): (u32, u32) = (0, 0);
        let text = text.to_ascii_lowercase();
        let mut words = text.split_whitespace();
        while let Some(count) = words.next() {
            let count: u32 = count.parse().ok()?;
            match words.next()? {
                "year" | "years" => months = months.checked_add(count.checked_mul(12)?)?,
                "month" | "months" | "mon" | "mons" => months = months.checked_add(count)?,
                "week" | "weeks" => days = days.checked_add(count.checked_mul(7)?)?,
                "day" | "days" => days = days.checked_add(count)?,
                _ => return None,
            }
        }
        let fits = (months, days) != (0, 0) && months <= LONGEST_MONTHS && days <= LONGEST_DAYS;
        fits.then_some(Self { months, days })
    }
}

impl fmt::Display for TrainingPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")];
        let shown: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        f.write_str(&shown.join(" "))
    }
}

impl Role {
    /// `None`: the group asks for no training. Otherwise the first day on which this login's training for it counts no more;
    /// `Some(None)` where there is none.
    pub(super) fn training_for(&self, group: &Role) -> Option<Option<TrainingDay>> {
        let period = group.requires_training?;
        Some(self.trained.and_then(|day| day.after(period)))
    }
}

/// One role's direct membership in another, for those who look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub role: RoleName,
    pub member_of: RoleName,
    pub requires: Option<TrainingPeriod>,
    pub trained: Option<TrainingDay>,
    /// The first day on which the training counts no more.
    pub ends: Option<TrainingDay>,
    /// Of a login: whether it gives something now. A group's members are judged one by one.
    pub in_force: Option<bool>,
}

impl Policies {
    pub fn direct_memberships(&self, now: i64) -> Vec<Membership> {
        let mut found = Vec::new();
        for (name, role) in &self.roles {
            let principal = self.principal(name, now).filter(|_| role.login);
            for group in &role.member_of {
                let held = self.roles.get(group);
                found.push(Membership {
                    role: name.clone(),
                    member_of: group.clone(),
                    requires: held.and_then(|held| held.requires_training),
                    trained: role.trained,
                    ends: held.and_then(|held| role.training_for(held)).flatten(),
                    in_force: principal.as_ref().map(|principal| principal.is(group)),
                });
            }
        }
        found
    }

    pub(super) fn require_training(
        &mut self,
        actor: &Principal,
        group: &str,
        period: Option<TrainingPeriod>,
    ) -> Result<()> {
        let role = self.role_mut(group)?;
        if role.login {
            return Err(Error::new(SqlState::WrongObjectType, format!("role \"{group}\" is a login"))
                .detail("a group asks its members for a training")
                .hint("name a group, such as insights_analyst"));
        }
        if actor.belongs_to(group) {
            return Err(own_training(format!("permission denied to change the training of role \"{group}\"")));
        }
        role.requires_training = period;
        Ok(())
    }

    pub(super) fn record_training(&mut self, actor: &Principal, login: &str, completed: TrainingDay) -> Result<()> {
        let role = self.role_mut(login)?;
        if !role.login {
            return Err(Error::new(SqlState::WrongObjectType, format!("role \"{login}\" is not a login"))
                .detail("who was trained is a person with a login, not a group")
                .hint("name the member itself"));
        }
        if actor.belongs_to(login) {
            return Err(own_training("permission denied to record one's own training".to_owned()));
        }
        if completed.begins() > actor.at() {
            return Err(Error::new(SqlState::InvalidParameterValue, "the training lies in the future")
                .detail("a training counts once it was completed")
                .hint("record it on the day it was completed, in UTC, or later"));
        }
        role.trained = Some(completed);
        Ok(())
    }

    /// A login is not let into a group whose training it lacks; a group may be, and its members are held to it one by one.
    pub(super) fn refuse_untrained(&self, login: &str, group: &str, now: i64) -> Result<()> {
        let Some(member) = self.roles.get(login).filter(|role| role.login) else {
            return Ok(());
        };
        for name in self.memberships(group) {
            let missing = self.roles.get(&name).and_then(|group| member.training_for(group));
            let Some(ended) = missing.filter(|ended| ended.is_none_or(|day| day.begins() <= now)) else {
                continue;
            };
            let what = match ended {
                Some(day) => format!("the last one was valid until {day}"),
                None => "none is recorded".to_owned(),
            };
            return Err(Error::new(
                SqlState::InsufficientPrivilege,
                format!("role \"{login}\" lacks the training that role \"{name}\" requires"),
            )
            .detail(format!("members of {name} need a valid training; {what}"))
            .hint(format!("CALL privacy.record_training('{login}', completed => DATE '…'), then grant")));
        }
        Ok(())
    }
}

fn own_training(message: String) -> Error {
    Error::new(SqlState::InsufficientPrivilege, message)
        .detail("nobody decides on the training of a role they act as")
        .hint("another administrator does it")
}
