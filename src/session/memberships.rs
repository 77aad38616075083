//! `privacy.memberships`: who is a member of what, and whether it counts.
//!
//! In: policies, and who asks. Out: one row a direct membership. Administrators and auditors see all, others their own.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};

use crate::error::{Error, Result};
use crate::policy::{Capability, Membership, Policies, Principal};

pub(super) fn batch(policies: &Policies, principal: &Principal) -> Result<RecordBatch> {
    let sees_all = [Capability::ManageRoles, Capability::Administer, Capability::Audit];
    let sees_all = sees_all.into_iter().any(|capability| principal.can(capability));
    let mut rows: Vec<Membership> = policies.direct_memberships(principal.at());
    rows.retain(|row| sees_all || principal.belongs_to(&row.role));
    let texts =
        |of: fn(&Membership) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let columns = [
        ("role", texts(|row| Some(row.role.clone()))),
        ("member_of", texts(|row| Some(row.member_of.clone()))),
        ("requires_training", texts(|row| row.requires.map(|period| period.to_string()))),
        ("trained", texts(|row| row.trained.map(|day| day.to_string()))),
        ("valid_until", texts(|row| row.ends.map(|day| day.to_string()))),
        ("in_force", Arc::new(rows.iter().map(|row| row.in_force).collect::<BooleanArray>()) as ArrayRef),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .map_err(|_| Error::internal())
}
