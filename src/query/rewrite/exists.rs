//! `EXISTS`, `IN` and their negations over rows of persons: semi, anti and mark joins.
//!
//! Persons meet persons on the person key; a row of theirs is there or is not, and nothing of it is handed on. Where the
//! condition says something about behaviour, existence is a profile: the rows stay, flagged, and are compared with their group.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};

use super::join::{is_key, refuse_listed_identifier, same_person, tables_of};
use super::{Rewriter, above, flag_profile};
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;
use crate::query::expression::{Derived, Scope};
use crate::query::facts::{Node, Person, PersonColumn, Rows, built, weight};

/// Under which condition a row of the other side counts as there.
struct Condition {
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
    by_key: bool,
    /// What is compared, on either side.
    facts: Vec<PersonColumn>,
    /// The person's own side of it is one value a person.
    determined: bool,
}

impl Condition {
    fn class(&self) -> Class {
        self.facts.iter().map(|facts| facts.class).max_by_key(|class| weight(*class)).unwrap_or(Class::Attribute)
    }
}

impl Rewriter<'_> {
    pub(super) fn exists(&mut self, join: &Join, left: &Node, right: &Node) -> Result<Node> {
        let Rows::Person(person) = &left.rows else {
            return Err(refuse_deciding_persons());
        };
        let written = right;
        let right = self.set_apart(written)?;
        let condition = self.existence(join, left, written, &right)?;
        if let (Rows::Person(other), false) = (&right.rows, condition.by_key) {
            return Err(refuse_uncorrelated(person, other));
        }
        let flag = right.profile();
        let profile = flag.is_some() || condition.facts.iter().any(PersonColumn::profiles);
        let filter = condition.filter.clone().into_iter().chain(flag.map(Expr::Column)).reduce(Expr::and);
        let join_type = if profile { JoinType::LeftMark } else { join.join_type };
        // One person's NULL must not empty the answer for the others.
        let null_aware = join.null_aware && !profile && matches!(right.rows, Rows::Public(_));
        let joined = Join::try_new(
            Arc::new(left.plan.clone()),
            Arc::new(right.plan.clone()),
            condition.on.clone(),
            filter,
            join_type,
            join.join_constraint,
            join.null_equality,
            null_aware,
        );
        let plan = LogicalPlan::Join(built(joined)?);
        let mut person = person.clone();
        if let Rows::Person(other) = &right.rows {
            person.policies.extend(other.policies.iter().cloned());
            person.tables.extend(other.tables.iter().cloned());
        }
        let node = Node { plan, visible: left.visible, rows: Rows::Person(person) };
        match (join.join_type, profile) {
            (JoinType::LeftMark, _) => self.marked(join, node, left, &condition, profile),
            (_, false) => Ok(node),
            (join_type, true) => {
                let there = Expr::Column(last(&node));
                let fits = match join_type {
                    JoinType::LeftAnti => not_there(join, there, &condition),
                    _ => there,
                };
                let name = self.hidden_name("profile");
                flag_profile(node, fits, &name)
            }
        }
    }

    /// The other side under names of its own, in the same order: both sides may come from one table.
    fn set_apart(&mut self, node: &Node) -> Result<Node> {
        let alias = self.hidden_name("there");
        let count = node.plan.schema().fields().len();
        let columns = (0..count).map(|i| Expr::Column(node.column(i)).alias(format!("__c{i}")));
        let plan = LogicalPlanBuilder::from(node.plan.clone())
            .project(columns.collect::<Vec<_>>())
            .and_then(|plan| plan.alias(alias))
            .and_then(LogicalPlanBuilder::build);
        Ok(Node { plan: built(plan)?, visible: node.visible, rows: node.rows.clone() })
    }

    /// `written`: the other side as the query names it; `right`: the same under its own names.
    fn existence(&mut self, join: &Join, left: &Node, written: &Node, right: &Node) -> Result<Condition> {
        let scope = Scope::new(self.context, left)?;
        let mut condition =
            Condition { on: Vec::new(), filter: None, by_key: false, facts: Vec::new(), determined: true };
        let nulls_differ = join.null_equality == NullEquality::NullEqualsNothing;
        for (mine, theirs) in &join.on {
            let derived = scope.derive(mine)?;
            let theirs = renamed(theirs, &[(written, right)])?;
            let other = match &right.rows {
                Rows::Person(_) => {
                    let other = Scope::new(self.context, right)?;
                    condition.by_key |= (is_key(&scope, mine) && is_key(&other, &theirs))
                        || (nulls_differ && same_person(&scope, mine, &other, &theirs));
                    let derived = other.derive(&theirs)?;
                    condition.facts.push(derived.facts);
                    derived.expression
                }
                Rows::Public(rows) => {
                    let column = above::plain_index(right, &theirs);
                    let of_table = column.and_then(|i| rows.columns.get(i)).is_some_and(|c| c.of_table);
                    if derived.facts.class == Class::Identifier && !of_table {
                        return Err(refuse_listed_identifier());
                    }
                    self.public_expression(right, rows, &theirs)?
                }
            };
            condition.determined &= derived.facts.determined;
            condition.facts.push(derived.facts);
            condition.on.push((derived.expression, other));
        }
        if let Some(filter) = &join.filter {
            let filter = renamed(filter, &[(left, left), (written, right)])?;
            let Derived { expression, facts } = self.condition(join, left, right, &filter)?;
            let schema = left.plan.schema();
            let own = filter.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column));
            condition.determined &= own.into_iter().all(|i| scope.person.columns.get(i).is_some_and(|c| c.determined));
            condition.facts.push(facts);
            condition.filter = Some(expression);
        }
        // Identifiers only meet one another here; what that says is no more than whose rows these are.
        for facts in condition.facts.iter_mut().filter(|facts| facts.class == Class::Identifier) {
            facts.class = Class::Attribute;
        }
        Ok(condition)
    }

    /// The mark as a visible column, under the name that the plan above knows.
    fn marked(&mut self, join: &Join, node: Node, left: &Node, condition: &Condition, profile: bool) -> Result<Node> {
        let Rows::Person(person) = &node.rows else {
            return Err(Error::internal());
        };
        let (relation, field) = join.schema.qualified_field(join.schema.fields().len().saturating_sub(1));
        let mark = Expr::Column(last(&node)).alias_qualified(relation.cloned(), field.name());
        let mut wanted: Vec<Expr> = (0..left.visible).map(|i| Expr::Column(node.column(i))).collect();
        wanted.push(mark);
        wanted.extend((left.visible..left.plan.schema().fields().len()).map(|i| Expr::Column(node.column(i))));
        let plan =
            built(LogicalPlanBuilder::from(node.plan.clone()).project(wanted).and_then(LogicalPlanBuilder::build))?;
        let class = if profile && weight(condition.class()) < weight(Class::Measure) {
            Class::Measure
        } else {
            condition.class()
        };
        let mut person = person.clone();
        person.columns.push(PersonColumn { class, determined: condition.determined, ..PersonColumn::constant(None) });
        Ok(Node { plan, visible: left.visible + 1, rows: Rows::Person(person) })
    }
}

fn last(node: &Node) -> Column {
    node.column(node.plan.schema().fields().len().saturating_sub(1))
}

/// `NOT IN` of a NULL is not true.
fn not_there(join: &Join, there: Expr, condition: &Condition) -> Expr {
    let asked = condition.on.first().filter(|_| join.null_aware).map(|(mine, _)| mine.clone().is_not_null());
    asked.into_iter().fold(Expr::Not(Box::new(there)), Expr::and)
}

/// Columns of a node under the names that another of the same layout has; the first that knows a column has it.
fn renamed(expression: &Expr, layouts: &[(&Node, &Node)]) -> Result<Expr> {
    let moved = expression.clone().transform(|part| {
        let Expr::Column(column) = &part else {
            return Ok(Transformed::no(part));
        };
        let place = layouts.iter().find_map(|(from, to)| {
            let index = from.plan.schema().maybe_index_of_column(column)?;
            Some(Column { spans: column.spans.clone(), ..to.column(index) })
        });
        Ok(match place {
            Some(column) => Transformed::yes(Expr::Column(column)),
            None => Transformed::no(part),
        })
    });
    built(moved).map(|moved| moved.data)
}

fn refuse_deciding_persons() -> Error {
    Error::new(SqlState::FeatureNotSupported, "rows of persons cannot decide which public or released rows are shown")
        .detail("a row would be there because some person's row is")
        .hint("aggregate the rows of persons with GROUP BY first, then compare with the groups")
}

fn refuse_uncorrelated(left: &Person, right: &Person) -> Error {
    Error::new(SqlState::FeatureNotSupported, "a subquery over rows of persons that is not about the same person")
        .detail(format!(
            "whether a row of {} is there for a row of {} would depend on other persons",
            tables_of(right),
            tables_of(left)
        ))
        .hint(format!(
            "correlate it on the person key, {} = {}, or aggregate inside the subquery",
            left.person_key, right.person_key
        ))
}
