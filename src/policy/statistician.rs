//! Who `ANALYZE` asks as: nobody who can log in.
//!
//! An administrator reads nobody, and ANALYZE lets none read: it asks, under the rules of every statement, for released numbers
//! that the server keeps. The questions need somebody who may ask them, who exists in one copy of the policies and in no other.

use super::{Access, Grant, Policies, Principal, Role, Table};

/// No statement can make a role of this name.
const NAME: &str = "ANALYZE\0";

impl Policies {
    /// These policies with one principal more, who may read `table` and the tables that say whose its rows are.
    pub fn with_statistician(&self, table: &str) -> (Self, Option<Principal>) {
        let mut policies = self.clone();
        let role = Role { member_of: ["insights_analyst".to_owned()].into(), built_in: true, ..Role::default() };
        // Statistics are of a whole table and serve the compiler: how far the values of nearly everyone go is what they are for.
        (policies.settings.mask_low, policies.settings.mask_high) = (0.0, 1.0);
        policies.roles.insert(NAME.to_owned(), role);
        // Nobody asks, so nobody needs a training.
        policies.roles.values_mut().for_each(|role| role.requires_training = None);
        for table in self.persons_by(table) {
            policies.grants.push(Grant { role: NAME.to_owned(), table: table.name.clone(), columns: None });
        }
        let principal = policies.principal(NAME, 0);
        (policies, principal)
    }

    /// The table and those that its rows reach their persons through, in that order.
    pub fn persons_by(&self, table: &str) -> Vec<&Table> {
        let mut path: Vec<&Table> = Vec::new();
        let mut next = Some(table);
        while let Some(table) = next.and_then(|name| self.tables.get(name)) {
            if path.iter().any(|known| known.name == table.name) {
                break;
            }
            path.push(table);
            next = match &table.access {
                Access::Linked { by, .. } => Some(by.table.as_str()),
                Access::Protected { .. } | Access::Public | Access::Directory | Access::Unclassified => None,
            };
        }
        path
    }
}
