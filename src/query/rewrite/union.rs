//! Unions: of rows of persons, each row still its person's; or of public rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast, lit};

use super::{Rewriter, public};
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;
use crate::query::bounds;
use crate::query::facts::{Node, Person, PersonColumn, Public, PublicColumn, Rows, built, weight};

impl Rewriter<'_> {
    pub(super) fn union(&mut self, union: &Union) -> Result<Node> {
        let nodes = union.inputs.iter().map(|input| self.node(input)).collect::<Result<Vec<_>>>()?;
        let persons = nodes.iter().filter(|node| matches!(node.rows, Rows::Person(_))).count();
        match persons {
            0 => self.union_public(union, nodes),
            all if all == nodes.len() => self.union_persons(union, &nodes),
            _ => Err(Error::new(
                SqlState::FeatureNotSupported,
                "a UNION of rows of persons with rows of nobody is not supported",
            )
            .detail("a row without a person beside rows of persons would count for nobody")
            .hint("aggregate each side first, then UNION ALL the results")),
        }
    }

    fn union_public(&mut self, union: &Union, nodes: Vec<Node>) -> Result<Node> {
        let mut released = false;
        let mut inputs = Vec::new();
        for node in nodes {
            released |= matches!(&node.rows, Rows::Public(rows) if rows.released);
            inputs.push(Arc::new(self.visible_only(node)?));
        }
        let plan = LogicalPlan::Union(Union { inputs, schema: union.schema.clone() });
        let columns = union.schema.fields().iter().map(|_| PublicColumn::default()).collect();
        Ok(public(plan, Public { columns, unique: Vec::new(), released }))
    }

    fn union_persons(&mut self, union: &Union, nodes: &[Node]) -> Result<Node> {
        let persons: Vec<&Person> = nodes
            .iter()
            .filter_map(|node| match &node.rows {
                Rows::Person(person) => Some(person),
                Rows::Public(_) => None,
            })
            .collect();
        let key_type = common_key(nodes)?;
        let profile = persons.iter().any(|person| person.profile);
        let (key_name, flag_name) = (self.hidden_name("person"), self.hidden_name("profile"));
        let visible = union.schema.fields().len();
        let branch = |node: &Node| -> Result<Arc<LogicalPlan>> {
            let mut columns: Vec<Expr> = Vec::new();
            for (index, (relation, field)) in union.schema.iter().enumerate() {
                let column = Expr::Column(node.column(index));
                columns.push(column.alias_qualified(relation.cloned(), field.name()));
            }
            let key = Expr::Column(node.key());
            let now = built(key.get_type(node.plan.schema().as_ref()))?;
            columns.push(if now == key_type { key } else { cast(key, key_type.clone()) }.alias(&key_name));
            if profile {
                columns.push(node.profile().map_or_else(|| lit(true), Expr::Column).alias(&flag_name));
            }
            let plan = LogicalPlanBuilder::from(node.plan.clone()).project(columns).and_then(LogicalPlanBuilder::build);
            built(plan).map(Arc::new)
        };
        let inputs = nodes.iter().map(branch).collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlan::Union(built(Union::try_new(inputs))?);
        let plan = requalified(plan, &union.schema, visible)?;
        let sum = |of: fn(&Person) -> Option<u64>| -> Option<u64> {
            persons
                .iter()
                .map(|person| of(person))
                .try_fold(0_u64, |sum, rows| rows.map(|rows| sum.saturating_add(rows)))
        };
        let first = persons.first().ok_or_else(Error::internal)?;
        let person = Person {
            columns: (0..visible).map(|index| merged(&persons, index)).collect(),
            unique: Vec::new(),
            max_rows: sum(|person| person.max_rows),
            max_groups: sum(|person| person.max_groups),
            policies: persons.iter().flat_map(|person| person.policies.iter().cloned()).collect::<BTreeSet<_>>(),
            tables: persons.iter().flat_map(|person| person.tables.iter().cloned()).collect::<BTreeSet<_>>(),
            profile,
            ..(*first).clone()
        };
        Ok(Node { plan, visible, rows: Rows::Person(person) })
    }
}

/// A union forgets its branches' qualifiers; the plan above knows the first `visible` columns by those of `schema`.
pub(super) fn requalified(plan: LogicalPlan, schema: &DFSchema, visible: usize) -> Result<LogicalPlan> {
    let named = |index: usize, column: Column| match (index < visible).then(|| schema.qualified_field(index)) {
        Some((relation, field)) => Expr::Column(column).alias_qualified(relation.cloned(), field.name()),
        None => Expr::Column(column),
    };
    let columns: Vec<Expr> =
        plan.schema().columns().into_iter().enumerate().map(|(index, column)| named(index, column)).collect();
    built(LogicalPlanBuilder::from(plan).project(columns).and_then(LogicalPlanBuilder::build))
}

/// What holds for a column whichever branch a row is from.
fn merged(persons: &[&Person], index: usize) -> PersonColumn {
    let all: Vec<&PersonColumn> = persons.iter().filter_map(|person| person.columns.get(index)).collect();
    let key = all.iter().all(|column| column.key);
    PersonColumn {
        class: all.iter().map(|column| column.class).max_by_key(|class| weight(*class)).unwrap_or(Class::Hidden),
        key,
        determined: key,
        outer: all.iter().any(|column| column.outer),
        bounds: bounds::hull(all.iter().map(|column| column.bounds)),
        zero_one: all.iter().all(|column| column.zero_one),
        refusal: all.iter().find_map(|column| column.refusal.clone()),
        domain: all.first().and_then(|first| {
            first.domain.clone().filter(|domain| all.iter().all(|column| column.domain.as_ref() == Some(domain)))
        }),
        refers: all.first().and_then(|first| {
            first.refers.clone().filter(|table| all.iter().all(|column| column.refers.as_ref() == Some(table)))
        }),
        reaches: BTreeSet::new(),
    }
}

/// A type that every branch's person key has, or can be widened to without bringing two persons together.
fn common_key(nodes: &[Node]) -> Result<DataType> {
    let types = nodes.iter().map(|node| built(Expr::Column(node.key()).get_type(node.plan.schema().as_ref())));
    let types = types.collect::<Result<Vec<_>>>()?;
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match types.first() {
        Some(first) if types.iter().all(|t| t == first) => Ok(first.clone()),
        Some(_) if types.iter().all(DataType::is_signed_integer) => Ok(DataType::Int64),
        Some(_) if types.iter().all(text) => Ok(DataType::Utf8View),
        Some(_) | None => {
            Err(Error::new(SqlState::DatatypeMismatch, "the person keys of a UNION's sides have different types")
                .hint("union tables whose person keys have one type"))
        }
    }
}
