//! Row policies as Postgres shows them: pg_policy, pg_policies and what psql's `\d` asks of them.
//!
//! In: policies and who asks. Out: a row a policy for administrators, as in `privacy.row_policies`; nothing for anybody else, to whom a
//! table looks as if it had none: a condition may name columns that they do not see.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Query, SelectItem, SetExpr, TableFactor,
};

use super::adapt::call;
use super::functions::{Shared, each_row, function};
use super::objects::{Objects, Relation, oid};
use super::rows::Rows;
use super::set_functions::column_name;
use crate::policy::{Capability, Policies, Principal};

#[derive(Debug, Clone)]
pub(super) struct PolicyRow {
    oid: i32,
    pub table_oid: i32,
    table: String,
    name: String,
    /// Empty: everybody.
    roles: Vec<String>,
    condition: Option<String>,
}

pub(super) fn policies(policies: &Policies, principal: &Principal, relations: &[Relation]) -> Vec<PolicyRow> {
    if !principal.can(Capability::Administer) {
        return vec![];
    }
    let tables = relations.iter().filter_map(|relation| Some((relation, policies.tables.get(&relation.name)?)));
    let rows = tables.flat_map(|(relation, table)| {
        table.row_policies.iter().map(|rule| PolicyRow {
            oid: oid("policy", &format!("{} {}", table.name, rule.name)),
            table_oid: relation.oid,
            table: table.name.clone(),
            name: rule.name.clone(),
            roles: rule.roles.iter().cloned().collect(),
            condition: rule.using.clone(),
        })
    });
    rows.collect()
}

/// Has the table row policies, for who asks?
pub(super) fn has_policies(objects: &Objects, relation: &Relation) -> bool {
    objects.policies.iter().any(|policy| policy.table_oid == relation.oid)
}

/// `polroles` is in the text form of an array of OIDs; 0 is everybody.
pub(super) fn pg_policy(objects: &Objects) -> Result<RecordBatch> {
    let oids = |policy: &PolicyRow| {
        let oids: Vec<String> = policy.roles.iter().map(|role| oid("role", role).to_string()).collect();
        format!("{{{}}}", if oids.is_empty() { "0".to_owned() } else { oids.join(",") })
    };
    Rows::of(&objects.policies)
        .int("oid", |p| p.oid)
        .text("polname", |p| p.name.clone())
        .int("polrelid", |p| p.table_oid)
        .all_text("polcmd", "r")
        .all_flag("polpermissive", false)
        .text("polroles", oids)
        .some_text("polqual", |p| p.condition.clone())
        .no_text("polwithcheck")
        .batch()
}

pub(super) fn pg_policies(objects: &Objects) -> Result<RecordBatch> {
    let roles = |policy: &PolicyRow| {
        if policy.roles.is_empty() { vec!["public".to_owned()] } else { policy.roles.clone() }
    };
    Rows::of(&objects.policies)
        .all_text("schemaname", "public")
        .text("tablename", |p| p.table.clone())
        .text("policyname", |p| p.name.clone())
        .all_text("permissive", "RESTRICTIVE")
        .texts("roles", roles)
        .all_text("cmd", "SELECT")
        .some_text("qual", |p| p.condition.clone())
        .no_text("with_check")
        .batch()
}

/// `role_names('{1,2}')`: the names of the roles with these OIDs, in their order.
pub(super) fn role_names(objects: &Shared) -> ScalarUDF {
    let objects = objects.clone();
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let body = move |arrays: &[ArrayRef], rows| {
        let names = each_row(arrays, rows, |arguments| {
            let oids = arguments.first().copied().flatten().unwrap_or_default();
            let known = oids.trim_matches(['{', '}']).split(',').filter_map(|text| text.trim().parse::<i32>().ok());
            let role = |oid: i32| objects.roles.iter().find(|role| role.oid == oid).map(|role| role.name.clone());
            let mut names: Vec<String> = known.filter_map(role).collect();
            names.sort();
            Ok(names)
        })?;
        let mut list = ListBuilder::new(StringBuilder::new());
        for names in names {
            names.iter().for_each(|name| list.values().append_value(name));
            list.append(true);
        }
        Ok(Arc::new(list.finish()) as ArrayRef)
    };
    function("role_names", DataType::List(item), Arc::new(body))
}

/// `ARRAY(SELECT rolname FROM pg_roles WHERE oid = ANY (x) …)` is `role_names(x)`: the engine cannot plan it where x is of a row outside.
pub(super) fn names_of_roles(expr: &Expr) -> Option<Expr> {
    let Expr::Function(array) = expr else { return None };
    let FunctionArguments::Subquery(query) = &array.args else { return None };
    array
        .name
        .to_string()
        .eq_ignore_ascii_case("array")
        .then(|| asked_for(query))?
        .map(|oids| call("role_names", vec![oids]))
}

fn asked_for(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let ([SelectItem::UnnamedExpr(shown)], [from]) = (select.projection.as_slice(), select.from.as_slice()) else {
        return None;
    };
    let TableFactor::Table { name, args: None, .. } = &from.relation else { return None };
    let of_roles = name.0.last()?.as_ident()?.value.eq_ignore_ascii_case("pg_roles") && from.joins.is_empty();
    let Some(Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. }) = &select.selection else { return None };
    let plain = query.limit_clause.is_none() && query.with.is_none() && query.fetch.is_none();
    let asks = column_name(shown)? == "rolname" && column_name(left)? == "oid";
    (of_roles && plain && asks).then(|| right.as_ref().clone())
}
