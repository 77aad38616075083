//! Aggregates over rows of persons: by the person key they stay rows of persons, otherwise they are a release point.
//!
//! A release point becomes the plan of design §4: contributions per person and group, at most M groups a person, exact sums,
//! and (in `private`, where the price is known) the release.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::functions_aggregate::expr_fn::{bool_or, count, sum};
use datafusion::functions_nested::expr_fn::make_array;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, try_cast, when};
use paravent_udfs::{BoundGroups, person_bins, person_values};

use super::calls::{call_of, metric};
use super::{Rewriter, copies, named_as, public};
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;
use crate::query::contributions::{Call, Contributions, Gathered, Shown, UnderProfile};
use crate::query::expression::{Derived, Scope};
use crate::query::facts::{ErrorColumns, Node, Part, Person, PersonColumn, Public, PublicColumn, Rows, built};
use crate::query::identity::identity;
use crate::query::position;
use crate::query::private::{Draft, Proof};

impl Rewriter<'_> {
    /// `SELECT keys, calls … GROUP BY keys` over rows of persons.
    pub(super) fn grouped(&mut self, node: Node, keys: &[Expr], calls: &[Expr]) -> Result<Node> {
        let scope = Scope::new(self.context, &node)?;
        let by_person = keys
            .iter()
            .any(|key| scope.index_of(key).and_then(|i| scope.person.columns.get(i)).is_some_and(names_person));
        if by_person { self.per_person(&node, keys, calls) } else { self.release(&node, keys, calls) }
    }

    /// Aggregates of one person's own rows: a metric per person (and week, …).
    fn per_person(&mut self, node: &Node, keys: &[Expr], calls: &[Expr]) -> Result<Node> {
        let scope = Scope::new(self.context, node)?;
        let derived = keys.iter().map(|key| scope.derive(key)).collect::<Result<Vec<_>>>()?;
        let determined = derived.iter().all(|key| key.facts.determined);
        let metrics = calls.iter().map(|call| metric(&scope, call, node, determined)).collect::<Result<Vec<_>>>()?;
        let mut groups: Vec<Expr> =
            derived.iter().zip(keys).map(|(d, was)| named_as(d.expression.clone(), was)).collect();
        groups.push(Expr::Column(node.key()));
        let mut values: Vec<Expr> =
            metrics.iter().zip(calls).map(|(d, was)| named_as(d.expression.clone(), was)).collect();
        let flag = node.profile().map(|flag| (bool_or(Expr::Column(flag)), self.hidden_name("profile")));
        if let Some((any, name)) = &flag {
            values.push(any.clone().alias(name));
        }
        let plan = built(
            Aggregate::try_new(std::sync::Arc::new(node.plan.clone()), groups, values).map(LogicalPlan::Aggregate),
        )?;
        let at = |index: usize| Expr::Column(Column::from(plan.schema().qualified_field(index)));
        let mut wanted: Vec<Expr> = (0..keys.len()).chain(keys.len() + 1..=keys.len() + calls.len()).map(at).collect();
        wanted.push(at(keys.len()));
        if flag.is_some() {
            wanted.push(at(keys.len() + 1 + calls.len()));
        }
        let plan = built(LogicalPlanBuilder::from(plan).project(wanted).and_then(LogicalPlanBuilder::build))?;
        let parts = derived.iter().enumerate().filter(|(_, key)| !key.facts.determined).map(|(i, _)| Part::Visible(i));
        let person = Person {
            columns: derived.iter().chain(&metrics).map(|d| d.facts.clone()).collect(),
            unique: vec![parts.chain([Part::Key]).collect()],
            max_rows: if determined { Some(1) } else { scope.person.max_rows },
            max_groups: if determined { Some(1) } else { scope.person.max_groups },
            ..scope.person.clone()
        };
        Ok(Node { plan, visible: keys.len() + calls.len(), rows: Rows::Person(person) })
    }

    fn release(&mut self, node: &Node, keys: &[Expr], calls: &[Expr]) -> Result<Node> {
        let scope = Scope::new(self.context, node)?;
        let derived = keys.iter().map(|key| key_of(&scope, key)).collect::<Result<Vec<_>>>()?;
        let firsts = copies::firsts(node, &derived)?;
        if firsts.iter().enumerate().any(|(i, first)| *first != i) {
            let asked: Vec<Expr> = (0..keys.len()).filter(|i| firsts[*i] == *i).map(|i| keys[i].clone()).collect();
            return copies::handed_on(self.release(node, &asked, calls)?, keys, &firsts);
        }
        let calls = calls.iter().map(|call| call_of(&scope, call, node)).collect::<Result<Vec<_>>>()?;
        let plain: BTreeSet<usize> = keys.iter().filter_map(|key| scope.index_of(key)).collect();
        let (max_groups, groups_proof) = groups_per_person(scope.person, &derived)?;
        let one_row = scope.person.one_row_per(&plain);
        let (cap, rows_proof) = if one_row { (Some(1), Proof::Key) } else { (scope.person.max_rows, Proof::Declared) };
        let profile_keys: Vec<usize> =
            derived.iter().enumerate().filter(|(_, key)| key.facts.profiles()).map(|(i, _)| i).collect();
        let under = UnderProfile {
            rows: node.profile(),
            keys: (0..keys.len()).filter(|i| !profile_keys.contains(i)).collect::<Vec<_>>(),
            by_keys: !profile_keys.is_empty(),
        };
        let mut contributions = Contributions::new(self.context, cap, max_groups, self.budget_share, under, &calls);
        for call in &calls {
            self.notice_of(call);
            contributions.add(call).map_err(|error| error.at(position::of_expression(self.context, &call.written)))?;
        }
        let cells = contributions.cells();
        let single = matches!(groups_proof, Proof::Key | Proof::Dependency);
        let identity = identity(node, &derived, &contributions, &cells, (max_groups, single), self.context.moment)?;
        let rows = per_group_rows(node, &derived, &contributions, one_row)?;
        let bounded = match groups_proof {
            Proof::Key | Proof::Dependency => rows,
            Proof::Domain | Proof::Declared => {
                built(BoundGroups::try_new(rows, Expr::Column(Column::new_unqualified("__u")), max_groups))?.into_plan()
            }
        };
        let groups: Vec<Expr> =
            (0..keys.len()).map(|i| Expr::Column(Column::new_unqualified(format!("__k{i}")))).collect();
        let plan = built(
            LogicalPlanBuilder::from(bounded)
                .aggregate(groups, contributions.states())
                .and_then(LogicalPlanBuilder::build),
        )?;
        let labels = labels(&calls, &contributions.shown);
        let weights = labels.iter().map(|label| self.names.weight(&self.context.weights, label)).collect();
        let draft = Draft {
            plan,
            keys: keys.len(),
            key_names: keys.iter().map(|key| key.schema_name().to_string()).collect(),
            max_groups,
            groups_proof,
            cap,
            rows_proof,
            measurements: contributions.measurements,
            outputs: contributions.outputs,
            cells,
            identity,
            labels,
            weights,
            policies: scope.person.policies.clone(),
            tables: scope.person.tables.clone(),
            person_key: scope.person.person_key.clone(),
        };
        let shown = contributions.shown;
        let released = self.above(draft, keys, &calls.into_iter().zip(shown).collect::<Vec<_>>())?;
        self.with_declared(released, &derived)
    }

    /// The released rows under the names and types that the query expects.
    fn above(&mut self, draft: Draft, keys: &[Expr], calls: &[(Call, Shown)]) -> Result<Node> {
        let number = self.drafts.iter().position(|known| known.same_as(&draft)).unwrap_or(self.drafts.len());
        let levels = self.levels.len();
        let scan = draft.released_scan(number, levels)?;
        if number == self.drafts.len() {
            self.drafts.push(draft);
        }
        let at = |index: usize| Expr::Column(Column::from(scan.schema().qualified_field(index)));
        let first = |output: usize| keys.len() + (2 + 2 * levels) * output;
        let mut expressions: Vec<Expr> = keys.iter().enumerate().map(|(i, key)| named_as(at(i), key)).collect();
        let mut columns = vec![PublicColumn::default(); keys.len()];
        let mut errors = Vec::new();
        for (call, shown) in calls {
            let value = value_of(shown, &|output| at(first(output)))?;
            let type_now = built(value.get_type(scan.schema().as_ref()))?;
            let value = if type_now == call.data_type { value } else { try_cast(value, call.data_type.clone()) };
            expressions.push(named_as(value, &call.written));
            let Shown::One(output) = shown else {
                columns.push(PublicColumn::default());
                continue;
            };
            let mut hidden = |index: usize| {
                let name = self.hidden_name("stddev");
                errors.push(at(first(*output) + index).alias(name.clone()));
                Column::new_unqualified(name)
            };
            let stddev = hidden(1);
            let ends = (0..levels).map(|level| [hidden(2 + 2 * level), hidden(3 + 2 * level)]).collect();
            columns.push(PublicColumn { error: Some(ErrorColumns { stddev, ends }), ..PublicColumn::default() });
        }
        let visible = expressions.len();
        expressions.extend(errors);
        let plan =
            built(LogicalPlanBuilder::from(scan.clone()).project(expressions).and_then(LogicalPlanBuilder::build))?;
        let unique = vec![(0..keys.len()).collect()];
        let mut node = public(plan, Public { columns, unique, released: true });
        node.visible = visible;
        Ok(node)
    }
}

/// What the query calls each output.
fn labels(calls: &[Call], shown: &[Shown]) -> Vec<String> {
    let label = |call: &Call| call.written.schema_name().to_string().replace("count(Int64(1))", "count(*)");
    let outputs = |shown: &Shown| match shown {
        Shown::One(_) | Shown::Member(..) => 1,
        Shown::Several(outputs) => outputs.len(),
    };
    calls.iter().zip(shown).flat_map(|(call, shown)| std::iter::repeat_n(label(call), outputs(shown))).collect()
}

/// A call's value from its outputs.
fn value_of(shown: &Shown, output: &dyn Fn(usize) -> Expr) -> Result<Expr> {
    match shown {
        Shown::One(number) => Ok(output(*number)),
        Shown::Several(numbers) => Ok(make_array(numbers.iter().map(|number| output(*number)).collect())),
        Shown::Member(number, members) => {
            let mut numbered = members.iter().enumerate().map(|(i, member)| (lit(i as i64), lit(member.clone())));
            let (is, then) = numbered.next().ok_or_else(Error::internal)?;
            let mut case = datafusion::logical_expr::case(output(*number));
            let mut case = case.when(is, then);
            for (is, then) in numbered {
                case = case.when(is, then);
            }
            built(case.end())
        }
    }
}

/// Is there one person to a value: the person key, or the key of a row of the person's?
fn names_person(facts: &PersonColumn) -> bool {
    facts.key || (!facts.reaches.is_empty() && !facts.outer)
}

/// How many groups one person can reach, and why.
fn groups_per_person(person: &Person, keys: &[Derived]) -> Result<(u64, Proof)> {
    if keys.iter().all(|key| key.facts.determined) {
        return Ok((1, Proof::Dependency));
    }
    if person.one_row() {
        return Ok((1, Proof::Key));
    }
    let there_are = combinations(keys).filter(|groups| person.max_groups.is_none_or(|declared| *groups < declared));
    let proven = there_are.map(|groups| (groups, Proof::Domain));
    proven.or_else(|| person.max_groups.map(|groups| (groups, Proof::Declared))).ok_or_else(|| {
        let table = person.tables.iter().next().cloned().unwrap_or_default();
        Error::new(SqlState::InvalidParameterValue, "nothing says how many groups one person may reach")
            .detail("the noise depends on how many rows of the answer one person can change")
            .hint(format!("an administrator declares it: ALTER TABLE {table} SET (max_groups_per_person = …) or (max_rows_per_person = …), or runs ANALYZE {table}"))
    })
}

/// How many groups there are for one person, NULL among the values, where every key that varies has declared values.
fn combinations(keys: &[Derived]) -> Option<u64> {
    let varying = keys.iter().filter(|key| !key.facts.determined);
    varying
        .map(|key| key.facts.domain.as_ref().map(|domain| domain.len() as u64 + 1))
        .try_fold(1_u64, |all, values| all.checked_mul(values?))
}

/// One row a person and group: the keys `__k…`, the person `__u`, the profile `__p`, sums `__s…`, counts `__c…` and what is gathered,
/// `__g…`.
fn per_group_rows(node: &Node, keys: &[Derived], contributions: &Contributions, one_row: bool) -> Result<LogicalPlan> {
    let name = |prefix: &str, i: usize| format!("__{prefix}{i}");
    let col = |name: String| Expr::Column(Column::new_unqualified(name));
    let mut inputs: Vec<Expr> =
        keys.iter().enumerate().map(|(i, key)| key.expression.clone().unalias().alias(name("k", i))).collect();
    inputs.push(Expr::Column(node.key()).alias("__u"));
    if let Some(flag) = node.profile() {
        inputs.push(Expr::Column(flag).alias("__p"));
    }
    for (i, value) in contributions.values().iter().enumerate() {
        inputs.push(value.expression.clone().alias(name("x", i)));
    }
    let rows = LogicalPlanBuilder::from(node.plan.clone()).project(inputs).and_then(LogicalPlanBuilder::build);
    let rows = built(rows)?;
    let mut groups: Vec<Expr> = (0..keys.len()).map(|i| col(name("k", i))).collect();
    groups.push(col("__u".to_owned()));
    let flag = node.profile().map(|_| col("__p".to_owned()));
    let mut made = Vec::new();
    for (i, value) in contributions.values().iter().enumerate() {
        let x = col(name("x", i));
        if value.summed {
            made.push(if one_row { x.clone() } else { sum(x.clone()) }.alias(name("s", i)));
        }
        let counted = match (one_row, value.nullable) {
            (false, _) => count(x),
            (true, false) => lit(1_i64),
            (true, true) => built(when(x.is_null(), lit(0_i64)).otherwise(lit(1_i64)))?,
        };
        made.push(counted.alias(name("c", i)));
        let x = col(name("x", i));
        let gathered = match value.gathered {
            Gathered::No => continue,
            Gathered::Bins | Gathered::Values if one_row => x,
            Gathered::Bins => person_bins(x),
            Gathered::Values => person_values(x),
        };
        made.push(gathered.alias(name("g", i)));
    }
    let plan = if one_row {
        let all = groups.into_iter().chain(flag).chain(made);
        LogicalPlanBuilder::from(rows).project(all)
    } else {
        made.extend(flag.map(|flag| bool_or(flag).alias("__p")));
        LogicalPlanBuilder::from(rows).aggregate(groups, made)
    };
    built(plan.and_then(LogicalPlanBuilder::build))
}

fn key_of(scope: &Scope, key: &Expr) -> Result<Derived> {
    let derived = scope.derive(key)?;
    if derived.facts.class == Class::Identifier {
        return Err(Error::new(SqlState::InsufficientPrivilege, "an identifier cannot be a group of an answer")
            .detail("each group would be one person, or name one")
            .hint("group by an attribute, or by the person key in a subquery that is aggregated again")
            .at(position::of_expression(scope.context, key)));
    }
    if !derived.facts.class.rules().groups {
        return Err(Error::new(
            SqlState::InsufficientPrivilege,
            format!("a column of class {} cannot be a group of an answer", derived.facts.class.name()),
        )
        .detail("each group would show a value of it")
        .hint("use share(condition), or an aggregate with FILTER (WHERE condition)")
        .at(position::of_expression(scope.context, key)));
    }
    Ok(derived)
}
