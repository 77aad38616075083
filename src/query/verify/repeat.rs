//! Proves that one person reaches no more rows and groups than the noise was made for.
//!
//! Law: rows that enter the states are one a person and group, and a person reaches one group unless the plan bounds them.
//! The proof names every value of the rewritten plan by an id, gathers functional dependencies between ids (keys of tables,
//! equalities of joins, groups of aggregates, arguments of expressions), and asks whether person and group keys determine a
//! whole row. It reads the plan before it is optimised, where no column has been left out yet.
//! Source: functional dependencies and attribute closure, Abiteboul, Hull, Vianu, "Foundations of Databases", chapter 8.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, FetchType, Join, LogicalPlan, Operator, TableScan, Union, Unnest, Window,
    WindowFunctionDefinition,
};
use paravent_udfs::{BoundGroups, Release};

use super::unproven;
use crate::error::{Error, Result};
use crate::policy::Access;
use crate::query::bounds::number;
use crate::query::context::{Context, Source, SourceKind};

type Id = usize;
type Ids = BTreeSet<Id>;

/// What is known of a plan's rows.
struct Known {
    /// One id a column of the plan's schema.
    columns: Vec<Id>,
    /// Sets of ids of which no two rows agree.
    unique: Vec<Ids>,
}

/// One scan of a table.
struct Scanned {
    table: SourceKind,
    columns: BTreeMap<String, Id>,
    keys: Vec<BTreeSet<String>>,
}

struct Prover<'a> {
    context: &'a Context,
    /// Keys of earlier releases: how many of their first columns tell rows apart.
    released: &'a [usize],
    next: Id,
    /// The left determines the right.
    dependencies: Vec<(Ids, Id)>,
    /// Person keys of protected tables.
    persons: Ids,
    /// Pairs that are equal in every row: what inner joins equate.
    equal: Vec<(Id, Id)>,
    /// Every scan of a table with keys: its name, its columns by name, its keys.
    scans: Vec<Scanned>,
    /// Pairs that a full join equates: whichever is there stands for both.
    either: Vec<BTreeSet<Id>>,
    /// Row numbers, and what they count within.
    numbered: Vec<(Id, Ids)>,
}

/// `release`: before optimisation. `released`: the number of keys of each earlier release.
pub(super) fn verify(context: &Context, release: &Release, released: &[usize]) -> Result<()> {
    let states = match release.input() {
        LogicalPlan::Aggregate(states) => states,
        _ => return Err(unproven("a release over something other than an aggregate")),
    };
    let mut prover = Prover {
        context,
        released,
        next: 0,
        dependencies: vec![],
        persons: Ids::new(),
        equal: vec![],
        scans: vec![],
        either: vec![],
        numbered: vec![],
    };
    let rows = prover.walk(&states.input)?;
    prover.same_rows();
    let schema = states.input.schema();
    let person = schema.maybe_index_of_column(&Column::new_unqualified("__u")).and_then(|i| rows.columns.get(i));
    let person = *person.ok_or_else(|| unproven("rows without a person"))?;
    let of_person = prover.closure(&Ids::from([person]));
    if prover.persons.is_disjoint(&of_person) {
        return Err(unproven("a person that is no person key"));
    }
    let keys = states.group_expr.iter().map(|key| prover.id_of(key, schema, &rows.columns)).collect::<Result<Ids>>()?;
    let of_group = prover.closure(&keys.iter().copied().chain([person]).collect());
    if !rows.unique.iter().any(|set| set.is_subset(&of_group)) {
        return Err(unproven("a person can have several rows in a group"));
    }
    let bounded =
        matches!(states.input.as_ref(), LogicalPlan::Extension(extension) if extension.node.name() == "BoundGroups");
    let one_group = keys.is_subset(&of_person) || rows.unique.iter().any(|set| set.is_subset(&of_person));
    if bounded || one_group { Ok(()) } else { Err(unproven("a person can reach several groups")) }
}

impl Prover<'_> {
    fn fresh(&mut self) -> Id {
        self.next += 1;
        self.next
    }

    fn unknown(&mut self, schema: &DFSchema) -> Known {
        Known { columns: schema.fields().iter().map(|_| self.fresh()).collect(), unique: vec![] }
    }

    fn depends(&mut self, on: &Ids, what: Id) {
        self.dependencies.push((on.clone(), what));
    }

    /// Everything that `known` determines.
    fn closure(&self, known: &Ids) -> Ids {
        let mut closure = known.clone();
        loop {
            let more: Vec<Id> = self
                .dependencies
                .iter()
                .filter(|(on, what)| !closure.contains(what) && on.is_subset(&closure))
                .map(|(_, what)| *what)
                .collect();
            if more.is_empty() {
                return closure;
            }
            closure.extend(more);
        }
    }

    /// Two scans of one table that agree in a key are the same row, and agree in every column.
    fn same_rows(&mut self) {
        loop {
            let class = self.classes();
            let mut new = Vec::new();
            for (i, one) in self.scans.iter().enumerate() {
                for other in self.scans.iter().skip(i + 1).filter(|other| other.table == one.table) {
                    let equal = |name: &String| match (one.columns.get(name), other.columns.get(name)) {
                        (Some(a), Some(b)) => class.get(a).unwrap_or(a) == class.get(b).unwrap_or(b),
                        (None, _) | (_, None) => false,
                    };
                    if one.keys.iter().any(|key| !key.is_empty() && key.iter().all(equal)) {
                        let apart = one.columns.iter().filter(|(name, _)| !equal(name));
                        new.extend(apart.filter_map(|(name, a)| Some((*a, *other.columns.get(name)?))));
                    }
                }
            }
            if new.is_empty() {
                return;
            }
            for (a, b) in new {
                self.depends(&Ids::from([a]), b);
                self.depends(&Ids::from([b]), a);
                self.equal.push((a, b));
            }
        }
    }

    /// The least of the ids that each one is equal to.
    fn classes(&self) -> BTreeMap<Id, Id> {
        let mut class: BTreeMap<Id, Id> = self.equal.iter().flat_map(|(a, b)| [(*a, *a), (*b, *b)]).collect();
        loop {
            let lower: Vec<(Id, Id)> = self
                .equal
                .iter()
                .map(|(a, b)| (*a, *b, class[a].min(class[b])))
                .flat_map(|(a, b, least)| [(a, least), (b, least)])
                .filter(|(id, least)| class[id] > *least)
                .collect();
            if lower.is_empty() {
                return class;
            }
            for (id, least) in lower {
                class.entry(id).and_modify(|held| *held = least.min(*held));
            }
        }
    }

    fn walk(&mut self, plan: &LogicalPlan) -> Result<Known> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Filter(filter) => {
                let mut below = self.walk(&filter.input)?;
                self.first_of_each(&filter.predicate, filter.input.schema(), &mut below);
                Ok(below)
            }
            LogicalPlan::Sort(sort) => self.walk(&sort.input),
            LogicalPlan::Limit(limit) => {
                let mut below = self.walk(&limit.input)?;
                if matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1)))) {
                    self.at_most_one(&mut below);
                }
                Ok(below)
            }
            LogicalPlan::SubqueryAlias(alias) => self.walk(&alias.input),
            LogicalPlan::Projection(projection) => {
                let below = self.walk(&projection.input)?;
                let schema = projection.input.schema();
                let columns =
                    projection.expr.iter().map(|e| self.id_of(e, schema, &below.columns)).collect::<Result<_>>()?;
                Ok(Known { columns, unique: below.unique })
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<BoundGroups>() {
                Some(bound) => self.walk(bound.input()),
                None => Err(unproven("an unknown operator below a release")),
            },
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let below = self.walk(input)?;
                let unique = vec![below.columns.iter().copied().collect()];
                Ok(Known { columns: below.columns, unique })
            }
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::EmptyRelation(_) => {
                let mut row = self.unknown(plan.schema());
                self.at_most_one(&mut row);
                Ok(row)
            }
            LogicalPlan::Values(values) => {
                let mut rows = self.unknown(plan.schema());
                if values.values.len() <= 1 {
                    self.at_most_one(&mut rows);
                }
                Ok(rows)
            }
            LogicalPlan::Distinct(Distinct::On(_)) => Ok(self.unknown(plan.schema())),
            LogicalPlan::Subquery(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::RecursiveQuery(_) => Err(unproven("an operator that is not allowed below a release")),
        }
    }

    /// Proven keys determine the row.
    fn scan(&mut self, scan: &TableScan) -> Result<Known> {
        let mut known = self.unknown(&scan.projected_schema);
        let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
        let at = |name: &String| scan.projected_schema.index_of_column_by_name(Some(&scan.table_name), name);
        let mut keys: Vec<Ids> = Vec::new();
        match &source.kind {
            SourceKind::Released(number) => {
                let count = self.released.get(*number).ok_or_else(|| unproven("a release that comes later"))?;
                keys.push(known.columns.iter().take(*count).copied().collect());
            }
            SourceKind::Protected(name) | SourceKind::Public(name) => {
                let table = self.context.tables.get(name).ok_or_else(Error::internal)?;
                for key in &table.proven_keys {
                    let ids = key.columns.iter().map(|column| at(column).map(|i| known.columns[i])).collect();
                    keys.extend::<Option<Ids>>(ids);
                }
                if let Access::Protected { person_key, .. } = &table.table.access {
                    self.persons.extend(at(person_key).map(|i| known.columns[i]));
                }
            }
            SourceKind::Directory(_) | SourceKind::Opened(_) => {
                return Err(unproven("rows that are shown below a release"));
            }
        }
        let names = scan.projected_schema.fields().iter().map(|field| field.name().clone());
        let columns: BTreeMap<String, Id> = names.zip(known.columns.iter().copied()).collect();
        let named =
            |key: &Ids| columns.iter().filter(|(_, id)| key.contains(id)).map(|(name, _)| name.clone()).collect();
        self.scans.push(Scanned { table: source.kind.clone(), keys: keys.iter().map(named).collect(), columns });
        for key in &keys {
            for column in &known.columns {
                self.depends(key, *column);
            }
        }
        known.unique = keys;
        Ok(known)
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Known> {
        let below = self.walk(&aggregate.input)?;
        if aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
            return Ok(self.unknown(&aggregate.schema));
        }
        let schema = aggregate.input.schema();
        let groups =
            aggregate.group_expr.iter().map(|e| self.id_of(e, schema, &below.columns)).collect::<Result<Vec<_>>>()?;
        let unique: Ids = groups.iter().copied().collect();
        let mut columns = groups;
        for _ in &aggregate.aggr_expr {
            let value = self.fresh();
            self.depends(&unique, value);
            columns.push(value);
        }
        Ok(Known { columns, unique: vec![unique] })
    }

    fn join(&mut self, join: &Join) -> Result<Known> {
        let (left, right) = (self.walk(&join.left)?, self.walk(&join.right)?);
        let mut pairs = BTreeMap::new();
        for (a, b) in &join.on {
            let (a, b) = (plain(a, join.left.schema()), plain(b, join.right.schema()));
            if let (Some(a), Some(b)) = (a, b) {
                pairs.insert(left.columns[a], right.columns[b]);
            }
        }
        let whole = join.filter.is_none() && pairs.len() == join.on.len();
        let (lefts, rights): (Ids, Ids) = (pairs.keys().copied().collect(), pairs.values().copied().collect());
        match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => return Ok(left),
            JoinType::RightSemi | JoinType::RightAnti => return Ok(right),
            JoinType::Inner => {
                for (a, b) in &join.on {
                    let a = self.id_of(a, join.left.schema(), &left.columns)?;
                    let b = self.id_of(b, join.right.schema(), &right.columns)?;
                    self.depends(&Ids::from([a]), b);
                    self.depends(&Ids::from([b]), a);
                    self.equal.push((a, b));
                }
            }
            // A row without a partner has NULL there, and with this condition alone that, too, is the other side's doing.
            JoinType::Left if whole => rights.iter().for_each(|b| self.depends(&lefts, *b)),
            JoinType::Right if whole => lefts.iter().for_each(|a| self.depends(&rights, *a)),
            JoinType::Full if whole && pairs.len() == 1 => {
                self.either.extend(pairs.iter().map(|(a, b)| Ids::from([*a, *b])))
            }
            JoinType::Left | JoinType::Right | JoinType::Full => {}
            JoinType::LeftMark => return self.mark(join, left),
            JoinType::RightMark => return Err(unproven("a mark join the wrong way round")),
        }
        let unique =
            left.unique.iter().flat_map(|a| right.unique.iter().map(move |b| a.union(b).copied().collect())).collect();
        Ok(Known { columns: left.columns.into_iter().chain(right.columns).collect(), unique })
    }

    /// Whether there is a partner depends on what the row itself brings to the condition.
    fn mark(&mut self, join: &Join, left: Known) -> Result<Known> {
        let schema = join.left.schema();
        let mut from = Ids::new();
        for (mine, _) in &join.on {
            from.insert(self.id_of(mine, schema, &left.columns)?);
        }
        for column in join.filter.iter().flat_map(Expr::column_refs) {
            from.extend(schema.maybe_index_of_column(column).and_then(|i| left.columns.get(i)));
        }
        let mark = self.fresh();
        self.depends(&from, mark);
        Ok(Known { columns: left.columns.into_iter().chain([mark]).collect(), unique: left.unique })
    }

    fn at_most_one(&mut self, rows: &mut Known) {
        for column in &rows.columns {
            self.depends(&Ids::new(), *column);
        }
        rows.unique.push(Ids::new());
    }

    /// A window adds columns to its rows; which row it is tells what stands there.
    fn window(&mut self, window: &Window) -> Result<Known> {
        let below = self.walk(&window.input)?;
        let mut columns = below.columns.clone();
        for call in &window.window_expr {
            let made = self.fresh();
            for set in &below.unique {
                self.depends(set, made);
            }
            let schema = window.input.schema();
            if let Some(parts) = numbers_rows(call) {
                let parts = parts.iter().map(|e| self.id_of(e, schema, &below.columns)).collect::<Result<Ids>>()?;
                self.numbered.push((made, parts));
            } else if let Some(parts) = whole_partition(call) {
                let parts = parts.iter().map(|e| self.id_of(e, schema, &below.columns)).collect::<Result<Ids>>()?;
                self.depends(&parts, made);
            }
            columns.push(made);
        }
        Ok(Known { columns, unique: below.unique })
    }

    /// `WHERE row_number() OVER (PARTITION BY p …) = 1` leaves one row for each `p`.
    fn first_of_each(&mut self, predicate: &Expr, schema: &DFSchema, rows: &mut Known) {
        for part in split_conjunction(predicate) {
            let Expr::BinaryExpr(binary) = part else { continue };
            let one = matches!(binary.right.as_ref(), Expr::Literal(value, _) if number(value) == Some(1.0));
            let id = plain(&binary.left, schema).and_then(|i| rows.columns.get(i));
            if let (Operator::Eq, true, Some(id)) = (binary.op, one, id) {
                let parts: Vec<Ids> =
                    self.numbered.iter().filter(|(made, _)| made == id).map(|(_, parts)| parts.clone()).collect();
                for parts in parts {
                    for column in &rows.columns {
                        self.depends(&parts, *column);
                    }
                    rows.unique.push(parts);
                }
            }
        }
    }

    /// Nothing is known of a union's rows but where the person stands, and which columns are one another's copies.
    fn union(&mut self, union: &Union) -> Result<Known> {
        let branches = union.inputs.iter().map(|input| self.walk(input)).collect::<Result<Vec<_>>>()?;
        let mut made: BTreeMap<Vec<Id>, Id> = BTreeMap::new();
        let mut columns = Vec::new();
        for index in 0..union.schema.fields().len() {
            let from = branches.iter().map(|branch| branch.columns.get(index).copied());
            let from: Vec<Id> = from.collect::<Option<_>>().ok_or_else(Error::internal)?;
            let of_person = from.iter().all(|id| !self.persons.is_disjoint(&self.closure(&Ids::from([*id]))));
            let column = match made.get(&from) {
                Some(known) => *known,
                None => self.fresh(),
            };
            made.insert(from, column);
            if of_person {
                self.persons.insert(column);
            }
            columns.push(column);
        }
        Ok(Known { columns, unique: vec![] })
    }

    /// What is not a list is repeated for each of the list's elements.
    fn unnest(&mut self, unnest: &Unnest) -> Result<Known> {
        let below = self.walk(&unnest.input)?;
        let listed: BTreeSet<usize> = unnest
            .list_type_columns
            .iter()
            .map(|(i, _)| *i)
            .chain(unnest.struct_type_columns.iter().copied())
            .collect();
        let place = |from: &usize| Some(*below.columns.get(*from)?).filter(|_| !listed.contains(from));
        let columns =
            unnest.dependency_indices.iter().map(|from| place(from).unwrap_or_else(|| self.fresh())).collect();
        Ok(Known { columns, unique: vec![] })
    }

    /// A column keeps its id; an expression is determined by its columns.
    fn id_of(&mut self, expression: &Expr, schema: &DFSchema, columns: &[Id]) -> Result<Id> {
        if let Some(index) = plain(expression, schema) {
            return columns.get(index).copied().ok_or_else(Error::internal);
        }
        let mut from = Ids::new();
        let mut whole = true;
        let _ = expression.apply(|part| {
            match part {
                Expr::Column(column) => match schema.maybe_index_of_column(column).and_then(|i| columns.get(i)) {
                    Some(id) => {
                        from.insert(*id);
                    }
                    None => whole = false,
                },
                Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                    whole = false
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let made = self.fresh();
        if whole {
            self.depends(&from, made);
        }
        let stands_for_both =
            matches!(unaliased(expression), Expr::ScalarFunction(call) if call.func.name() == "coalesce");
        if stands_for_both && self.either.contains(&from) {
            for id in &from {
                self.depends(&Ids::from([made]), *id);
            }
        }
        Ok(made)
    }
}

/// The partition of a `row_number()`.
fn numbers_rows(call: &Expr) -> Option<&[Expr]> {
    match unaliased(call) {
        Expr::WindowFunction(function) if function.fun.name() == "row_number" => Some(&function.params.partition_by),
        _ => None,
    }
}

/// The partition of an aggregate that is the same for all its rows.
fn whole_partition(call: &Expr) -> Option<&[Expr]> {
    match unaliased(call) {
        Expr::WindowFunction(function)
            if matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_))
                && function.params.order_by.is_empty()
                && function.params.window_frame.start_bound.is_unbounded()
                && function.params.window_frame.end_bound.is_unbounded() =>
        {
            Some(&function.params.partition_by)
        }
        _ => None,
    }
}

fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        _ => expression,
    }
}

/// A column, also in a wider type: equal there is equal here.
fn plain(expression: &Expr, schema: &DFSchema) -> Option<usize> {
    let widened = |inner: &Expr, to: &DataType| {
        let from = inner.get_type(schema).ok()?;
        let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let integers = from.is_signed_integer() && to.is_signed_integer();
        let wide = integers && from.primitive_width() <= to.primitive_width();
        if wide || (text(&from) && text(to)) { plain(inner, schema) } else { None }
    };
    match unaliased(expression) {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        Expr::Cast(cast) => widened(&cast.expr, cast.field.data_type()),
        Expr::TryCast(cast) => widened(&cast.expr, cast.field.data_type()),
        _ => None,
    }
}
