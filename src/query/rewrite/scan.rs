//! Scans: whose rows a table holds, and what may be read of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, lit, when};

use super::link::{Way, reaches};
use super::{Rewriter, named_as, public};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, Class, ForeignKey, Reading};
use crate::query::context::{KnownTable, Source, SourceKind};
use crate::query::facts::{Node, Part, Person, PersonColumn, Public, PublicColumn, Reach, Rows, built};

impl Rewriter<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        let source = scan.source.downcast_ref::<Source>().ok_or_else(Error::internal)?;
        if scan.projection.is_some() || !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(Error::internal());
        }
        let plan = LogicalPlan::TableScan(scan.clone());
        match &source.kind {
            SourceKind::Public(name) => {
                let known = self.known(name)?;
                if !source.granted {
                    self.refuse_ungranted(known)?;
                }
                let bounds = |name: &String| known.table.column(name).and_then(|column| column.bounds);
                let columns = known.schema.fields().iter();
                let columns =
                    columns.map(|field| PublicColumn { of_table: true, bounds: bounds(field.name()), error: None });
                let columns = columns.collect();
                let unique = known.proven_keys.iter().filter_map(|key| positions(known, &key.columns)).collect();
                Ok(public(plan, Public { columns, unique, released: false }))
            }
            SourceKind::Protected(name) => {
                let known = self.known(name)?.clone();
                self.protected_scan(&known, plan, (source.granted, source.metric))
            }
            SourceKind::Opened(name) => self.opened_scan(scan, source, name),
            SourceKind::Released(_) | SourceKind::Directory(_) => Err(Error::internal()),
        }
    }

    /// A public table is read whole, so the whole of it must be granted.
    fn refuse_ungranted(&self, known: &KnownTable) -> Result<()> {
        let table = &known.table.name;
        let readable = |name: &String| self.context.policies.may_read(&self.context.principal, table, name);
        match known.schema.fields().iter().find(|field| !readable(field.name())) {
            None => Ok(()),
            Some(_) => Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for table {table}"))
                .detail("not every column of this public table is granted to one of your roles")
                .hint(format!("an administrator grants it: GRANT SELECT ON {table} TO …"))),
        }
    }

    pub(super) fn known(&self, name: &str) -> Result<&KnownTable> {
        self.context.tables.get(name).ok_or_else(Error::internal)
    }

    /// Rows of a protected table, with the person key repeated behind them; rows without a person count for nobody.
    /// Rows of a linked table have what leads to their person in its place. `allowed`: without
    /// grants on the table; and what is hidden, too.
    pub(super) fn protected_scan(
        &mut self,
        known: &KnownTable,
        scan: LogicalPlan,
        allowed: (bool, bool),
    ) -> Result<Node> {
        let table = &known.table;
        let way = self.way_of(known)?;
        let visible = known.schema.fields().len();
        let key = known.schema.index_of(way.column).map_err(|_| Error::internal())?;
        let key = Expr::Column(Column::from(scan.schema().qualified_field(key)));
        let own = self.subject.is_some();
        let domain = |i: usize| if own { Ok(None) } else { domain(known, known.schema.field(i).name()) };
        let domains = (0..visible).map(domain).collect::<Result<Vec<_>>>()?;
        let mut expressions = (0..visible)
            .zip(&domains)
            .map(|(i, domain)| within(Expr::Column(Column::from(scan.schema().qualified_field(i))), domain.as_deref()))
            .collect::<Result<Vec<_>>>()?;
        expressions.push(key.clone().alias(self.hidden_name("person")));
        let mut counts = key.clone().is_not_null();
        if let Some(subject) = &self.subject {
            // Rows of linked tables are theirs through the join that leads to them.
            if table.protection().is_some() {
                counts = counts.and(subject.of(key));
            }
        } else if let Some(scope) = self.context.scopes.of(&table.name) {
            let column = |name: &String| {
                let index = known.schema.index_of(name).map_err(|_| Error::internal())?;
                Ok(Expr::Column(Column::from(scan.schema().qualified_field(index))))
            };
            let arguments = scope.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
            counts = counts.and(scope.function.call(arguments));
        }
        let plan = built(LogicalPlanBuilder::from(scan).filter(counts).and_then(|b| b.project(expressions)?.build()))?;
        let unique = unique_keys(known, &way, &domains);
        let one_row = unique.iter().any(|parts| parts.iter().all(|part| *part == Part::Key));
        let max_rows = if one_row { Some(1) } else { self.max_rows(known) };
        let mut columns = Vec::new();
        for (field, domain) in known.schema.fields().iter().zip(domains) {
            let reaches = if domain.is_none() { reaches(known, field.name()) } else { BTreeSet::new() };
            let bounds = self.bounds(known, field.name(), max_rows);
            let refers = self.refers(known, field.name());
            let facts = self.column_facts(known, field.name(), (&way, one_row), allowed);
            columns.push(PersonColumn { domain, refers, reaches, bounds, ..facts });
        }
        let person = Person {
            columns,
            unique,
            max_rows,
            max_groups: table.max_groups_per_person.or(max_rows),
            policies: table.policy().map(str::to_owned).into_iter().collect(),
            tables: BTreeSet::from([table.name.clone()]),
            person_key: way.person_key,
            profile: false,
            open: table.link().map(Reach::from),
        };
        Ok(Node { plan, visible, rows: Rows::Person(person) })
    }

    /// The public table that a column is declared to refer to, where the asker may read it.
    fn refers(&self, known: &KnownTable, column: &str) -> Option<Reach> {
        let declared = known.table.foreign_keys.iter().filter(|key| key.column == column);
        let readable = |key: &&ForeignKey| {
            let parent = self.context.tables.get(&key.table);
            parent.is_some_and(|parent| parent.table.access == Access::Public)
                && self.context.policies.may_read(&self.context.principal, &key.table, &key.key)
        };
        declared.filter(readable).map(Reach::from).next()
    }

    fn column_facts(
        &self,
        known: &KnownTable,
        name: &str,
        (way, one_row): (&Way, bool),
        (granted, metric): (bool, bool),
    ) -> PersonColumn {
        let table = &known.table.name;
        let column = known.table.column(name);
        let class = column.and_then(|column| column.class);
        let denied = |detail: String| {
            Error::new(SqlState::InsufficientPrivilege, format!("permission denied for column {name} of table {table}"))
                .detail(detail)
        };
        let refusal = if !granted && !self.context.policies.may_read(&self.context.principal, table, name) {
            Some(
                denied("the column is not granted to any of your roles".to_owned())
                    .hint(format!("an administrator grants it: GRANT SELECT ({name}) ON {table} TO …")),
            )
        } else {
            let purpose = self.context.purpose.as_ref();
            match class.map(|class| class.rules().reading) {
                None => Some(denied("the column has no class, and nothing unclassified is readable".to_owned()).hint(
                    format!(
                        "an administrator classifies it: ALTER TABLE {table} ALTER COLUMN {name} SET (class = '…')"
                    ),
                )),
                Some(Reading::Metric) if metric => None,
                Some(Reading::Metric) => Some(
                    denied("hidden columns feed metrics that administrators define, and nothing else".to_owned())
                        .hint("ask one of the metrics: SELECT * FROM privacy.metrics"),
                ),
                Some(Reading::Purpose) if purpose.is_some_and(|purpose| purpose.names(table, name)) => None,
                Some(Reading::Purpose) => {
                    Some(denied("sensitive columns need a live purpose that names them".to_owned()).hint(
                        "SET privacy.purpose = '…'; SELECT name, columns FROM privacy.purposes says which names what",
                    ))
                }
                Some(Reading::Nobody) => Some(denied("content is never readable".to_owned())),
                Some(Reading::Granted) => None,
            }
        };
        let leads = name == way.column;
        PersonColumn {
            class: if leads { Class::Identifier } else { class.unwrap_or(Class::Hidden) },
            key: leads && known.table.protection().is_some(),
            determined: one_row || (leads && way.determined),
            outer: false,
            refusal,
            ..PersonColumn::constant(column.and_then(|column| column.bounds))
        }
    }
}

/// Keys that were found to hold; what depends on the person alone is left out beside the person.
fn unique_keys(known: &KnownTable, way: &Way, domains: &[Option<Arc<Vec<ScalarValue>>>]) -> Vec<BTreeSet<Part>> {
    let part = |i: usize| {
        let leads = way.determined && known.schema.field(i).name() == way.column;
        if leads { Part::Key } else { Part::Visible(i) }
    };
    // Two values outside a domain are both NULL.
    let told_apart = |set: &BTreeSet<usize>| set.iter().all(|i| domains.get(*i).is_some_and(Option::is_none));
    let sets = known.proven_keys.iter().filter_map(|key| positions(known, &key.columns)).filter(told_apart);
    sets.map(|set| set.into_iter().map(part).collect()).collect()
}

/// The column's declared values, in its type.
fn domain(known: &KnownTable, name: &str) -> Result<Option<Arc<Vec<ScalarValue>>>> {
    let Some(texts) = known.table.column(name).and_then(|column| column.domain.as_ref()) else {
        return Ok(None);
    };
    let data_type = known.schema.field_with_name(name).map_err(|_| Error::internal())?.data_type();
    let value = |text: &String| ScalarValue::Utf8(Some(text.clone())).cast_to(data_type);
    built(texts.iter().map(value).collect::<datafusion::common::Result<Vec<_>>>()).map(|values| Some(Arc::new(values)))
}

/// A value outside the domain is read as NULL: then the declaration is true of whatever the files hold.
fn within(column: Expr, domain: Option<&Vec<ScalarValue>>) -> Result<Expr> {
    let Some(domain) = domain else { return Ok(column) };
    let values = domain.iter().map(|value| lit(value.clone())).collect();
    let kept = built(when(column.clone().in_list(values, false), column.clone()).end())?;
    Ok(named_as(kept, &column))
}

fn positions(known: &KnownTable, columns: &[String]) -> Option<BTreeSet<usize>> {
    columns.iter().map(|column| known.schema.index_of(column).ok()).collect()
}
