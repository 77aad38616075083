//! Joins that keep every row with at most one person (design §3).
//!
//! Persons join persons on the person key and nothing else makes it a join of persons; persons join public rows under any
//! condition on attributes. What would give a row two persons, or a person's row to nobody, is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder};

use super::Rewriter;
use super::above::plain_index;
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;
use crate::query::expression::{Derived, Scope, keeps_apart};
use crate::query::facts::{Node, Part, Person, PersonColumn, Public, PublicColumn, Reach, Rows, built, weight};
use crate::query::position;

/// What a join's equalities say of one another.
struct Pairs {
    /// Total forms of both sides.
    on: Vec<(Expr, Expr)>,
    by_key: bool,
    /// Plain columns equated, by side.
    left: BTreeSet<Part>,
    right: BTreeSet<Part>,
}

impl Rewriter<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Node> {
        let turned = turned(join);
        let join = turned.as_ref().unwrap_or(join);
        let (left, right) = (self.open_node(&join.left)?, self.open_node(&join.right)?);
        let (left, right) = self.both_closed(join, left, right)?;
        let place = join.on.first().and_then(|(l, _)| position::of_expression(self.context, l));
        let existence = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark);
        let joined = match (&left.rows, &right.rows) {
            (Rows::Public(l), Rows::Public(r)) => self.join_public(join, &left, &right, l, r),
            _ if existence => self.exists(join, &left, &right),
            (Rows::Person(_), Rows::Person(_)) => {
                let (join, left, right) = self.narrowed_sides(join, left, right)?;
                self.join_persons(&join, &left, &right)
            }
            (Rows::Person(l), Rows::Public(r)) => self.join_lookup(join, (&left, l), (&right, r), true),
            (Rows::Public(l), Rows::Person(r)) => self.join_lookup(join, (&right, r), (&left, l), false),
        };
        joined.map_err(|error| error.at(place))
    }

    fn join_public(&mut self, join: &Join, left: &Node, right: &Node, l: &Public, r: &Public) -> Result<Node> {
        let mut on = Vec::new();
        for (a, b) in &join.on {
            on.push((self.public_expression(left, l, a)?, self.public_expression(right, r, b)?));
        }
        let (one, other) = (self.visible_only(left.clone())?, self.visible_only(right.clone())?);
        let plan = build(join, one, other, on, join.filter.clone())?;
        let drop_error = |c: &PublicColumn| PublicColumn { error: None, ..c.clone() };
        let columns = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => l.columns.iter().map(drop_error).collect(),
            JoinType::RightSemi | JoinType::RightAnti => r.columns.iter().map(drop_error).collect(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                l.columns.iter().chain(&r.columns).map(drop_error).collect()
            }
            JoinType::LeftMark => l.columns.iter().map(drop_error).chain([PublicColumn::default()]).collect(),
            JoinType::RightMark => return Err(Error::internal()),
        };
        Ok(super::public(plan, Public { columns, unique: Vec::new(), released: l.released || r.released }))
    }

    /// What an outer join asks of the side that may be missing is a filter of that side.
    fn narrowed_sides(&mut self, join: &Join, left: Node, right: Node) -> Result<(Join, Node, Node)> {
        let (mut side, other, outer_left) = match join.join_type {
            JoinType::Left => (right, left, true),
            JoinType::Right => (left, right, false),
            JoinType::Inner
            | JoinType::Full
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark => return Ok((join.clone(), left, right)),
        };
        let mut rest = Vec::new();
        for part in join.filter.iter().flat_map(split_conjunction) {
            let columns = part.column_refs();
            let own =
                |column: &&Column| side.plan.schema().has_column(column) && !other.plan.schema().has_column(column);
            if !columns.is_empty() && columns.iter().all(own) {
                side = self.person_filter(side, part)?;
            } else {
                rest.push(part.clone());
            }
        }
        let join = Join { filter: rest.into_iter().reduce(Expr::and), ..join.clone() };
        Ok(if outer_left { (join, other, side) } else { (join, side, other) })
    }

    /// The side that may be missing, with the rows that fit its profile only. That a row is there then tells of behaviour, and
    /// so does each of its columns; with one row at most, how many rows there are tells nothing.
    fn settled(&self, node: &Node, may_miss: bool, single: bool) -> Result<Node> {
        let (Some(flag), Rows::Person(person), true) = (node.profile(), &node.rows, may_miss) else {
            return Ok(node.clone());
        };
        if !single {
            return Err(refuse_measure_condition());
        }
        let columns: Vec<Expr> = (0..=node.visible).map(|i| Expr::Column(node.column(i))).collect();
        let plan = LogicalPlanBuilder::from(node.plan.clone())
            .filter(Expr::Column(flag))
            .and_then(|plan| plan.project(columns)?.build());
        let mut person = Person { profile: false, ..person.clone() };
        for column in &mut person.columns {
            column.key = false;
            if column.class == Class::Identifier {
                column.refusal.get_or_insert_with(refuse_missing_identifier);
            } else if weight(column.class) < weight(Class::Measure) {
                column.class = Class::Measure;
            }
        }
        Ok(Node { plan: built(plan)?, visible: node.visible, rows: Rows::Person(person) })
    }

    /// Rows of linked tables stay open where this join gives them their person, or where they meet public rows only.
    fn both_closed(&mut self, join: &Join, left: Node, right: Node) -> Result<(Node, Node)> {
        if let (Rows::Person(_), Rows::Person(_)) = (&left.rows, &right.rows) {
            let (scope_l, scope_r) = (Scope::new(self.context, &left)?, Scope::new(self.context, &right)?);
            let gives_person = join.join_type == JoinType::Inner
                && join.null_equality == NullEquality::NullEqualsNothing
                && join.on.iter().any(|(a, b)| same_person(&scope_l, a, &scope_r, b));
            if !gives_person {
                return Ok((self.closed(left)?, self.closed(right)?));
            }
        }
        Ok((left, right))
    }

    /// Which of two sides of the same person has what leads there sooner; `None`: one of them has the person key.
    fn sooner(&self, l: &Person, r: &Person) -> Result<Option<Reach>> {
        match (&l.open, &r.open) {
            (None, _) | (_, None) => Ok(None),
            (Some(a), Some(b)) => Ok(Some(if self.hops(a)? <= self.hops(b)? { a.clone() } else { b.clone() })),
        }
    }

    fn join_persons(&mut self, join: &Join, left: &Node, right: &Node) -> Result<Node> {
        let (scope_l, scope_r) = (Scope::new(self.context, left)?, Scope::new(self.context, right)?);
        let (l, r) = (scope_l.person, scope_r.person);
        let mut late = Vec::new();
        let mut pairs = Pairs { on: Vec::new(), by_key: false, left: BTreeSet::new(), right: BTreeSet::new() };
        // Does whether there is a partner depend on the person alone?
        let (mut fixed_l, mut fixed_r) = (join.filter.is_none(), join.filter.is_none());
        for (a, b) in &join.on {
            let (da, db) = (scope_l.derive(a)?, scope_r.derive(b)?);
            if da.facts.profiles() || db.facts.profiles() {
                late.push(a.clone().eq(b.clone()));
                continue;
            }
            (fixed_l, fixed_r) = (fixed_l && da.facts.determined, fixed_r && db.facts.determined);
            let keys = is_key(&scope_l, a) && is_key(&scope_r, b);
            let found = join.null_equality == NullEquality::NullEqualsNothing && same_person(&scope_l, a, &scope_r, b);
            if keys || found {
                pairs.by_key = true;
                pairs.left.insert(Part::Key);
                pairs.right.insert(Part::Key);
            }
            pairs.left.extend(plain_index(left, a).filter(|_| !keys).map(Part::Visible));
            pairs.right.extend(plain_index(right, b).filter(|_| !keys).map(Part::Visible));
            pairs.on.push((da.expression, db.expression));
        }
        if !pairs.by_key {
            return Err(refuse_two_persons(l, r));
        }
        let left_single = l.unique.iter().any(|set| set.is_subset(&pairs.left));
        let right_single = r.unique.iter().any(|set| set.is_subset(&pairs.right));
        let (left, right) = (
            &self.settled(left, join.join_type == JoinType::Right, left_single)?,
            &self.settled(right, join.join_type == JoinType::Left, right_single)?,
        );
        let (Rows::Person(l), Rows::Person(r)) = (&left.rows, &right.rows) else {
            return Err(Error::internal());
        };
        let shift = |parts: &BTreeSet<Part>| -> BTreeSet<Part> {
            parts
                .iter()
                .map(|part| match part {
                    Part::Key => Part::Key,
                    Part::Visible(i) => Part::Visible(i + left.visible),
                })
                .collect()
        };
        let mut unique = Vec::new();
        if right_single {
            unique.extend(l.unique.iter().cloned());
        }
        if left_single {
            unique.extend(r.unique.iter().map(shift));
        }
        if unique.is_empty() {
            unique.extend(
                l.unique.iter().flat_map(|a| r.unique.iter().map(move |b| a.union(&shift(b)).copied().collect())),
            );
        }
        let times = |a: Option<u64>, b: Option<u64>| match (left_single, right_single) {
            (_, true) => a,
            (true, false) => b,
            (false, false) => a.zip(b).map(|(a, b)| a.saturating_mul(b)),
        };
        let (max_rows, max_groups) = (times(l.max_rows, r.max_rows), times(l.max_groups, r.max_groups));
        // Which side's columns are NULL where there is no partner.
        let may_miss = match join.join_type {
            JoinType::Left => (false, true),
            JoinType::Right => (true, false),
            JoinType::Full => (true, true),
            JoinType::Inner
            | JoinType::LeftSemi
            | JoinType::RightSemi
            | JoinType::LeftAnti
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark => (false, false),
        };
        let person = Person {
            columns: optional(&l.columns, may_miss.0, fixed_r)
                .chain(optional(&r.columns, may_miss.1, fixed_l))
                .collect(),
            unique,
            max_rows,
            max_groups,
            policies: l.policies.union(&r.policies).cloned().collect(),
            tables: l.tables.union(&r.tables).cloned().collect(),
            person_key: l.person_key.clone(),
            profile: l.profile || r.profile,
            open: self.sooner(l, r)?,
        };
        self.finish_person_join(join, (left, right), pairs.on, late, person)
    }

    /// Persons with public rows: a look-up, a calendar, a released threshold.
    pub(super) fn join_lookup(
        &mut self,
        join: &Join,
        (node, person): (&Node, &Person),
        (table, rows): (&Node, &Public),
        person_left: bool,
    ) -> Result<Node> {
        let kept = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left => person_left,
            JoinType::Right => !person_left,
            JoinType::Full
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark => false,
        };
        if !kept {
            return Err(refuse_ownerless(join.join_type));
        }
        let scope = Scope::new(self.context, node)?;
        let mut on = Vec::new();
        let mut equated = BTreeSet::new();
        let mut determined = true;
        for (a, b) in &join.on {
            let (mine, theirs) = if person_left { (a, b) } else { (b, a) };
            let derived = scope.derive(mine)?;
            let column = plain_index(table, theirs);
            if derived.facts.class == Class::Identifier
                && !column.and_then(|i| rows.columns.get(i)).is_some_and(|c| c.of_table)
            {
                return Err(refuse_listed_identifier());
            }
            if derived.facts.profiles() {
                return Err(refuse_measure_condition());
            }
            determined &= derived.facts.determined;
            equated.extend(column);
            let total = self.public_expression(table, rows, theirs)?;
            on.push(if person_left { (derived.expression, total) } else { (total, derived.expression) });
        }
        let single = rows.unique.iter().any(|set| set.is_subset(&equated));
        let determined = determined && single;
        let others = rows.columns.iter().map(|column| PersonColumn {
            class: Class::Attribute,
            determined,
            bounds: column.bounds,
            ..PersonColumn::constant(None)
        });
        let offset = if person_left { 0 } else { table.visible };
        let columns: Vec<PersonColumn> = if person_left {
            person.columns.iter().cloned().chain(others).collect()
        } else {
            others.chain(person.columns.iter().cloned()).collect()
        };
        let unique = if single { person.unique_after(|i| Some(i + offset)) } else { Vec::new() };
        let joined = Person { columns, unique, ..person.clone() };
        let plain =
            Node { plan: self.visible_only(table.clone())?, visible: table.visible, rows: Rows::Public(rows.clone()) };
        let sides = if person_left { (node, &plain) } else { (&plain, node) };
        self.finish_person_join(join, sides, on, Vec::new(), joined)
    }

    /// Builds the join, puts the hidden columns behind the visible ones, and applies what is left of the condition.
    fn finish_person_join(
        &mut self,
        join: &Join,
        (left, right): (&Node, &Node),
        on: Vec<(Expr, Expr)>,
        mut late: Vec<Expr>,
        person: Person,
    ) -> Result<Node> {
        let inner = join.join_type == JoinType::Inner;
        let filter = match (&join.filter, inner) {
            (Some(filter), true) => {
                late.push(filter.clone());
                None
            }
            (Some(filter), false) => {
                let derived = self.condition(join, left, right, filter)?;
                if derived.facts.profiles() {
                    return Err(refuse_measure_condition());
                }
                Some(derived.expression)
            }
            (None, _) => None,
        };
        if !inner && !late.is_empty() {
            return Err(refuse_measure_condition());
        }
        refuse_lost_profile(join.join_type, left, right)?;
        let plan = build(join, left.plan.clone(), right.plan.clone(), on, filter)?;
        let columns = |node: &Node| (0..node.visible).map(|i| Expr::Column(node.column(i))).collect::<Vec<_>>();
        let mut wanted: Vec<Expr> = columns(left).into_iter().chain(columns(right)).collect();
        let visible = wanted.len();
        let keys: Vec<Expr> = match join.join_type {
            JoinType::Right => vec![right],
            JoinType::Left => vec![left],
            JoinType::Inner | JoinType::Full => vec![left, right],
            JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark => return Err(Error::internal()),
        }
        .into_iter()
        .filter(|node| matches!(&node.rows, Rows::Person(of) if of.open == person.open))
        .map(|node| Expr::Column(node.key()))
        .collect();
        let key = match (join.join_type, keys.as_slice()) {
            (JoinType::Full, [a, b]) => datafusion::functions::expr_fn::coalesce(vec![a.clone(), b.clone()]),
            (_, [first, ..]) => first.clone(),
            (_, []) => return Err(Error::internal()),
        };
        wanted.push(key.alias(self.hidden_name("person")));
        let flags = [left, right].into_iter().filter_map(Node::profile).map(Expr::Column).reduce(Expr::and);
        if let Some(flags) = flags {
            wanted.push(flags.alias(self.hidden_name("profile")));
        }
        let plan = built(LogicalPlanBuilder::from(plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
        let mut node = Node { plan, visible, rows: Rows::Person(person) };
        for predicate in late {
            node = self.person_filter(node, &predicate)?;
        }
        Ok(node)
    }

    /// The condition of a join beyond its equalities, over the columns of both sides.
    pub(super) fn condition(&self, join: &Join, left: &Node, right: &Node, filter: &Expr) -> Result<Derived> {
        let cross = Join::try_new(
            Arc::new(left.plan.clone()),
            Arc::new(right.plan.clone()),
            Vec::new(),
            None,
            JoinType::Inner,
            join.join_constraint,
            join.null_equality,
            false,
        );
        let plan = LogicalPlan::Join(built(cross)?);
        let facts = |node: &Node| -> Vec<PersonColumn> {
            let hidden =
                PersonColumn { class: Class::Hidden, refusal: Some(Error::internal()), ..PersonColumn::constant(None) };
            let mut columns = match &node.rows {
                Rows::Person(person) => person.columns.clone(),
                Rows::Public(rows) => rows
                    .columns
                    .iter()
                    .map(|_| PersonColumn { class: Class::Attribute, ..PersonColumn::constant(None) })
                    .collect(),
            };
            columns.resize(node.plan.schema().fields().len(), hidden);
            columns
        };
        let ((Rows::Person(person), _) | (_, Rows::Person(person))) = (&left.rows, &right.rows) else {
            return Err(Error::internal());
        };
        let columns: Vec<PersonColumn> = facts(left).into_iter().chain(facts(right)).collect();
        let visible = columns.len();
        let node = Node { plan, visible, rows: Rows::Person(Person { columns, profile: false, ..person.clone() }) };
        Scope::new(self.context, &node)?.derive(filter)
    }

    pub(super) fn hidden_name(&mut self, what: &str) -> String {
        self.hidden += 1;
        format!("__{what}_{}", self.hidden)
    }
}

/// A side's columns; `outer`: they are NULL where there is no partner, and `fixed` says that the person alone decides that.
fn optional(columns: &[PersonColumn], outer: bool, fixed: bool) -> impl Iterator<Item = PersonColumn> {
    columns.iter().map(move |column| match outer {
        false => column.clone(),
        true => PersonColumn {
            outer: true,
            determined: column.determined && fixed,
            reaches: BTreeSet::new(),
            ..column.clone()
        },
    })
}

/// Is `expression` the person key, at most widened? Not where it is NULL for want of a partner. A cast that brings different keys together
/// would mix persons.
pub(super) fn is_key(scope: &Scope, expression: &Expr) -> bool {
    match expression {
        Expr::Cast(cast) => {
            is_key(scope, &cast.expr)
                && cast
                    .expr
                    .get_type(scope.node.plan.schema().as_ref())
                    .is_ok_and(|from| keeps_apart(&from, cast.field.data_type()))
        }
        _ => scope
            .index_of(expression)
            .and_then(|i| scope.person.columns.get(i))
            .is_some_and(|facts| facts.key && !facts.outer),
    }
}

/// Do both values find one row, by its table's unique key? Then both rows belong to that row's person.
pub(super) fn same_person(left: &Scope, a: &Expr, right: &Scope, b: &Expr) -> bool {
    match (reaches(left, a), reaches(right, b)) {
        (Some(a), Some(b)) => !a.is_disjoint(b),
        (None, _) | (_, None) => false,
    }
}

/// What a column's value finds, at most widened.
fn reaches<'a>(scope: &'a Scope, expression: &Expr) -> Option<&'a BTreeSet<Reach>> {
    match expression {
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(scope.node.plan.schema().as_ref()).ok()?;
            reaches(scope, &cast.expr).filter(|_| keeps_apart(&from, cast.field.data_type()))
        }
        _ => scope.index_of(expression).and_then(|i| scope.person.columns.get(i)).map(|facts| &facts.reaches),
    }
}

/// `a RIGHT SEMI JOIN b` as `b LEFT SEMI JOIN a`.
fn turned(join: &Join) -> Option<Join> {
    let join_type = match join.join_type {
        JoinType::RightSemi => JoinType::LeftSemi,
        JoinType::RightAnti => JoinType::LeftAnti,
        JoinType::RightMark => JoinType::LeftMark,
        JoinType::Inner
        | JoinType::Left
        | JoinType::Right
        | JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark => return None,
    };
    let on = join.on.iter().map(|(a, b)| (b.clone(), a.clone())).collect();
    Some(Join { left: join.right.clone(), right: join.left.clone(), on, join_type, ..join.clone() })
}

fn build(
    join: &Join,
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let joined = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    );
    built(joined).map(LogicalPlan::Join)
}

/// A flagged row on the side that may be missing would pair up although it should not.
fn refuse_lost_profile(join_type: JoinType, left: &Node, right: &Node) -> Result<()> {
    let lost = match join_type {
        JoinType::Inner => false,
        JoinType::Left => right.profile().is_some(),
        JoinType::Right => left.profile().is_some(),
        JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => left.profile().or(right.profile()).is_some(),
    };
    if lost { Err(refuse_measure_condition()) } else { Ok(()) }
}

fn refuse_measure_condition() -> Error {
    Error::new(SqlState::FeatureNotSupported, "a join condition on a measure is not supported")
        .detail("which persons meet it could not be compared with their group")
        .hint("join first, then filter in WHERE, or use CASE or FILTER (WHERE …)")
}

fn refuse_missing_identifier() -> Error {
    Error::new(
        SqlState::InsufficientPrivilege,
        "an identifier cannot be read where a measure decides whether it is there",
    )
    .hint("use the person key of the side whose rows are kept")
}

fn refuse_two_persons(left: &Person, right: &Person) -> Error {
    Error::new(SqlState::FeatureNotSupported, "this join would give a row two persons")
        .detail(format!(
            "rows of {} and rows of {} are joined on something other than the person key",
            tables_of(left),
            tables_of(right)
        ))
        .hint(format!("join on {} = {}, or aggregate one side first", left.person_key, right.person_key))
}

pub(super) fn tables_of(person: &Person) -> String {
    person.tables.iter().cloned().collect::<Vec<_>>().join(", ")
}

pub(super) fn refuse_listed_identifier() -> Error {
    Error::new(SqlState::InsufficientPrivilege, "an identifier can only be joined to a column of a table")
        .detail("a list of identifiers in the query would single out persons")
}

pub(super) fn refuse_ownerless(join_type: JoinType) -> Error {
    Error::new(
        SqlState::FeatureNotSupported,
        format!("a {join_type} join that adds rows without a person is not supported"),
    )
    .detail("a row of nobody's beside rows of persons would show who is missing")
    .hint("make the table of persons the side whose rows are kept")
}
