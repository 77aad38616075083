//! Joins that lead rows of linked tables to their persons.
//!
//! A row of a linked table belongs to the person of the row it refers to. Where the query joins the two anyway, that join
//! gives the person; elsewhere the rewrite joins the referenced table's unique key and person key, and nothing else of it.
//! The analyst needs no grant on that table: nothing of it is shown but whose a row is, which is never shown either.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, NullEquality};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder};

use super::Rewriter;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, ForeignKey};
use crate::query::context::{KnownTable, Source, SourceKind};
use crate::query::facts::{Node, Reach, Rows, built};

/// How a table's rows reach their person.
pub(super) struct Way<'a> {
    /// The person key, or the column that refers to a row of the person's.
    pub column: &'a str,
    /// One value per person.
    pub determined: bool,
    /// For people: where the person key is.
    pub person_key: String,
}

impl From<&ForeignKey> for Reach {
    fn from(by: &ForeignKey) -> Self {
        Self { table: by.table.clone(), key: by.key.clone() }
    }
}

impl Rewriter<'_> {
    /// Errors: 55000 where the referenced table's key does not hold on its data any more.
    pub(super) fn way_of<'a>(&self, known: &'a KnownTable) -> Result<Way<'a>> {
        match &known.table.access {
            Access::Protected { person_key, .. } => {
                Ok(Way { column: person_key, determined: true, person_key: person_key.clone() })
            }
            Access::Linked { by, .. } => {
                let parent = self.known(&by.table)?;
                if !is_proven(parent, &by.key) {
                    return Err(refuse_unproven(&known.table.name, by));
                }
                let above = self.way_of(parent)?;
                // One row a person in the referenced table: then one value that refers to it.
                let single = parent.proven_keys.iter().any(|key| key.columns.iter().all(|c| c == above.column));
                let person_key = match parent.table.link() {
                    None => format!("{}.{}", by.table, above.person_key),
                    Some(_) => above.person_key,
                };
                Ok(Way { column: &by.column, determined: single && above.determined, person_key })
            }
            Access::Unclassified | Access::Public | Access::Directory => Err(Error::internal()),
        }
    }

    /// Joins what is still missing between a row and its person. Rows that lead to nobody are left out.
    pub(super) fn closed(&mut self, node: Node) -> Result<Node> {
        let reach = match &node.rows {
            Rows::Person(person) => person.open.clone(),
            Rows::Public(_) => None,
        };
        let Some(reach) = reach else { return Ok(node) };
        let way = self.way_to(&reach)?;
        let at = |index: usize| Expr::Column(Column::from(way.schema().qualified_field(index)));
        let (key, person) = (at(0), at(1));
        let mut wanted: Vec<Expr> = (0..node.visible).map(|i| Expr::Column(node.column(i))).collect();
        wanted.push(person.alias(self.hidden_name("person")));
        wanted.extend(node.profile().map(Expr::Column));
        let joined = Join::try_new(
            Arc::new(node.plan.clone()),
            Arc::new(way),
            vec![(Expr::Column(node.key()), key)],
            None,
            JoinType::Inner,
            datafusion::common::JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        );
        let plan = built(joined.map(LogicalPlan::Join))?;
        let plan = built(LogicalPlanBuilder::from(plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
        let rows = match node.rows {
            Rows::Person(person) => Rows::Person(crate::query::facts::Person { open: None, ..person }),
            Rows::Public(_) => return Err(Error::internal()),
        };
        Ok(Node { plan, visible: node.visible, rows })
    }

    /// A table's unique key, and the person of the row that has it.
    fn way_to(&mut self, reach: &Reach) -> Result<LogicalPlan> {
        let known = self.known(&reach.table)?.clone();
        let index = known.schema.index_of(&reach.key).map_err(|_| Error::internal())?;
        let source = Source::new(SourceKind::Protected(reach.table.clone()), known.schema.clone());
        let scan = LogicalPlanBuilder::scan(reach.table.as_str(), Arc::new(source), None);
        let node = self.protected_scan(&known, built(scan.and_then(LogicalPlanBuilder::build))?, true)?;
        let node = self.closed(node)?;
        let wanted = vec![Expr::Column(node.column(index)).alias("__key"), Expr::Column(node.key())];
        built(LogicalPlanBuilder::from(node.plan).project(wanted).and_then(LogicalPlanBuilder::build))
    }

    /// How many joins it is from a reach to a person key.
    pub(super) fn hops(&self, reach: &Reach) -> Result<usize> {
        match self.known(&reach.table)?.table.link() {
            None => Ok(1),
            Some(by) => Ok(1 + self.hops(&Reach::from(by))?),
        }
    }
}

/// Rows of the same person that a column's value finds: of its own table by a unique key, of the table it refers to.
pub(super) fn reaches(known: &KnownTable, column: &str) -> BTreeSet<Reach> {
    let own = is_proven(known, column).then(|| Reach { table: known.table.name.clone(), key: column.to_owned() });
    let linked = known.table.link().filter(|by| by.column == column).map(Reach::from);
    own.into_iter().chain(linked).collect()
}

fn is_proven(known: &KnownTable, column: &str) -> bool {
    known.proven_keys.iter().any(|key| key.columns == [column])
}

fn refuse_unproven(table: &str, by: &ForeignKey) -> Error {
    Error::new(
        SqlState::ObjectNotInPrerequisiteState,
        format!("the key ({}) of table \"{}\" does not hold on its data", by.key, by.table),
    )
    .detail(format!("rows of table \"{table}\" find their person by it, and would find several"))
    .hint("correct the files: rows that agree in the key, or have no value there")
}
