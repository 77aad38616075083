//! Changes an administrator makes, one statement each. `Policies::apply` is pure: it validates and returns the next value.

use std::collections::BTreeSet;

use super::{
    AccessRequest, Column, Decision, Exclusion, Location, NewPurpose, RoleName, RowPolicy, RowPolicyChange,
    TrainingDay, TrainingPeriod, UniqueKey, Verifier, View,
};

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    CreateRole {
        name: RoleName,
        login: bool,
        createrole: bool,
        verifier: Option<Verifier>,
        valid_until: Option<i64>,
        member_of: BTreeSet<RoleName>,
    },
    AlterRole {
        name: RoleName,
        login: Option<bool>,
        createrole: Option<bool>,
        /// `Some(None)`: no password, so no login.
        verifier: Option<Option<Verifier>>,
        /// `Some(None)`: without end.
        valid_until: Option<Option<i64>>,
    },
    /// `limit`: sessions at once; `None` for as many as there is room for.
    LimitConnections {
        role: RoleName,
        limit: Option<u32>,
    },
    DropRole {
        name: RoleName,
        if_exists: bool,
    },
    GrantRole {
        role: RoleName,
        to: RoleName,
    },
    RevokeRole {
        role: RoleName,
        from: RoleName,
    },
    /// `period`: `None` asks for a training no more.
    RequireTraining {
        group: RoleName,
        period: Option<TrainingPeriod>,
    },
    RecordTraining {
        login: RoleName,
        completed: TrainingDay,
    },
    /// `columns`: `None` for the whole table.
    GrantSelect {
        table: String,
        columns: Option<BTreeSet<String>>,
        to: RoleName,
    },
    RevokeSelect {
        table: String,
        columns: Option<BTreeSet<String>>,
        from: RoleName,
    },
    /// `value`: `None` resets to the default.
    SetSystem {
        name: String,
        value: Option<String>,
    },
    /// `privacy.person` has a digest as its value: see [`super::PERSON_SETTING`].
    SetRole {
        role: RoleName,
        name: String,
        value: Option<String>,
    },
    CreateTable {
        name: String,
        location: Location,
        columns: Vec<Column>,
        unique_keys: Vec<UniqueKey>,
        references: Vec<Reference>,
        if_not_exists: bool,
    },
    DropTable {
        name: String,
        if_exists: bool,
    },
    /// `person_key`, `privacy_policy`, `public`, `access`, `max_rows_per_person`, `max_groups_per_person`; `None` resets.
    AlterTable {
        name: String,
        options: Vec<(String, Option<String>)>,
    },
    /// `class`, `lower`, `upper`, `domain`, `mask`, `visible_when`, `family`; `None` resets.
    AlterColumn {
        table: String,
        column: String,
        options: Vec<(String, Option<String>)>,
    },
    AddUniqueKey {
        table: String,
        key: UniqueKey,
    },
    AddReference {
        table: String,
        reference: Reference,
    },
    CreateView {
        view: View,
        or_replace: bool,
    },
    DropView {
        name: String,
        if_exists: bool,
    },
    /// The next key for the pseudonyms of a family.
    RotateKey {
        family: String,
    },
    CreatePolicy {
        table: String,
        policy: RowPolicy,
        options: Vec<(String, Option<String>)>,
    },
    AlterPolicy {
        table: String,
        name: String,
        change: RowPolicyChange,
    },
    DropPolicy {
        table: String,
        name: String,
        if_exists: bool,
    },
    /// Persons are named by digests of their keys.
    ExcludePerson {
        digest: String,
        exclusion: Exclusion,
    },
    IncludePerson {
        digest: String,
    },
    /// `now`: seconds since 1970, as in every change that depends on the time.
    RequestAccess {
        request: AccessRequest,
        now: i64,
    },
    /// `COMMENT ON`; `text`: `None` takes it away.
    Comment {
        relation: String,
        column: Option<String>,
        text: Option<String>,
    },
    CreatePurpose {
        purpose: NewPurpose,
        now: i64,
    },
    EndPurpose {
        name: String,
        now: i64,
    },
    DecideAccess {
        id: u64,
        decision: Decision,
        now: i64,
    },
}

/// `FOREIGN KEY (column) REFERENCES table [(key)]`, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    pub column: String,
    pub table: String,
    pub key: Option<String>,
}
