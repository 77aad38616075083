//! Bounds that nobody declared: from the statistics that `ANALYZE` released, and with a notice that says so.
//!
//! They hold by being enforced (values are clamped, rows scaled, groups chosen), like declared ones.

use super::Rewriter;
use crate::policy::{Bounds, Class};
use crate::query::context::KnownTable;
use crate::query::contributions::Call;

impl Rewriter<'_> {
    /// Rows of one person that count: declared, else from statistics.
    pub(super) fn max_rows(&mut self, known: &KnownTable) -> Option<u64> {
        if known.table.max_rows_per_person.is_some() {
            return known.table.max_rows_per_person;
        }
        let rows = known.statistics.as_ref()?.max_rows(self.usage)?;
        self.notice(format!("of table {}, {rows} rows of one person count (from statistics)", known.table.name));
        Some(rows)
    }

    /// Bounds of a column: declared, else from statistics. `max_rows`: of one person.
    pub(super) fn bounds(&mut self, known: &KnownTable, name: &str, max_rows: Option<u64>) -> Option<Bounds> {
        let column = known.table.column(name)?;
        let summed = match column.class {
            Some(Class::Measure | Class::Attribute) => column.is_numeric(),
            Some(Class::Identifier | Class::Sensitive | Class::Hidden | Class::Content | Class::Public) | None => false,
        };
        if column.bounds.is_some() || !summed {
            return column.bounds;
        }
        let statistics = known.statistics.as_ref()?;
        let bounds = statistics.bounds(name, max_rows.unwrap_or(1), self.usage)?;
        if self.names.uses(name) {
            let (table, low, high) = (&known.table.name, bounds.lower(), bounds.upper());
            self.notice(format!("values of {table}.{name} are counted from {low} to {high} (from statistics)"));
        }
        Some(bounds)
    }

    /// What a released aggregate is, where its name says something else.
    pub(super) fn notice_of(&mut self, call: &Call) {
        let settings = &self.context.policies.settings;
        let edge = match call.name.as_str() {
            "min" => settings.mask_low,
            "max" => settings.mask_high,
            _ => return,
        };
        self.notice(format!(
            "{} is released as the percentile at {edge}: the extreme itself would be one person's",
            call.name
        ));
    }

    fn notice(&mut self, notice: String) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}
