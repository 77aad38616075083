//! Proves of rows that are shown that they may be: by the policies and the plan that makes them, not by who built it.
//!
//! * What shows rows releases nothing, and shows a directory's rows or one table's de-identified rows, not both.
//! * A directory's column stands behind its mask: alone where it has none, else behind the mask or in a CASE whose other side is masked;
//!   nothing but directories and public tables is read to make it, the asker sees no column that is not granted, and no row that a row
//!   policy of the directory takes away.
//! * Rows under a grant are of the table, the columns and the principal of a grant that is live now; each column is what its class
//!   allows at the grant's level; each row is of the person whose key stands behind it; beside every row of the answer stands the name
//!   by which it is counted.
//! * At level `direct` every row is the one person's whom the grant names (`subject`), before and after the plan is optimised.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use paravent_udfs::{ViewerMask, viewer_mask_udf};

use super::{optimise, origin, owner, price, scopes, sources, subject, unproven};
use crate::error::{Error, Result};
use crate::policy::{Access, AccessGrant, Capability, Class, GROUP_MANAGER, Level};
use crate::query::context::{Context, KnownTable, Source, SourceKind};
use crate::query::opened::{Opened, OpenedKind, ROW, RowColumn, RowRecipe, Shows};
use crate::query::scope::is_scope;

pub(super) fn verify(
    context: &Context,
    opened: Vec<Opened>,
    shape: &LogicalPlan,
    releases: usize,
) -> Result<Vec<Opened>> {
    let granted = opened.iter().filter(|o| matches!(o.kind, OpenedKind::Granted(_))).count();
    if !opened.is_empty() && releases > 0 {
        return Err(unproven("rows are shown beside a release"));
    }
    if granted > 1 || (granted == 1 && opened.len() > 1) {
        return Err(unproven("rows under a grant beside other rows"));
    }
    for scan in scans(shape)? {
        verify_scan(context, &scan, &opened)?;
    }
    verify_names(shape, &opened)?;
    opened.into_iter().map(|opened| verify_one(context, opened)).collect()
}

fn verify_one(context: &Context, opened: Opened) -> Result<Opened> {
    let known = context.tables.get(&opened.table).ok_or_else(|| unproven("an unknown table is shown"))?;
    if context.policies.tables.get(&opened.table) != Some(&known.table) {
        return Err(unproven("a table is not what the policies say"));
    }
    match &opened.kind {
        OpenedKind::Directory { .. } => verify_directory(context, &opened, known)?,
        OpenedKind::Granted(recipe) => verify_granted(context, &opened, recipe, known)?,
    }
    let plan = optimise(context, opened.plan)?;
    match &opened.kind {
        OpenedKind::Directory { .. } => scopes::verify(context, &plan)?,
        OpenedKind::Granted(recipe) => verify_whose(context, &opened.table, recipe, &plan)?,
    }
    Ok(Opened { plan, ..opened })
}

fn verify_directory(context: &Context, opened: &Opened, known: &KnownTable) -> Result<()> {
    let LogicalPlan::Projection(top) = &opened.plan else {
        return Err(unproven("a directory without its masks"));
    };
    if known.table.access != Access::Directory || top.expr.len() != opened.schema.fields().len() {
        return Err(unproven("a directory that is none"));
    }
    for scan in scans(&opened.plan)? {
        let access = |name: &String| context.tables.get(name).map(|known| &known.table.access);
        let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
        let fits = match &source.kind {
            SourceKind::Directory(name) => access(name) == Some(&Access::Directory),
            SourceKind::Public(name) => access(name) == Some(&Access::Public),
            SourceKind::Protected(_) | SourceKind::Released(_) | SourceKind::Opened(_) => false,
        };
        if !fits {
            return Err(unproven("a directory reads what is no directory"));
        }
    }
    verify_policies(context, known, &top.input)?;
    for (expression, field) in top.expr.iter().zip(opened.schema.fields()) {
        let column = known.table.column(field.name()).ok_or_else(|| unproven("a column of nowhere"))?;
        let shown = matches!(column.class, Some(Class::Identifier | Class::Attribute | Class::Measure | Class::Public));
        let value = |expression: &Expr| -> Result<bool> {
            let alone = matches!(expression, Expr::Column(_));
            let own = BTreeSet::from([(opened.table.clone(), column.name.clone())]);
            Ok(alone && origin::of_expression(expression, &top.input)? == own)
        };
        let mask = column.rules.mask()?;
        if !shown || !is_masked(unaliased(expression), mask, column.rules.visible_when.is_some(), &value)? {
            return Err(unproven("a directory's column without its mask"));
        }
    }
    Ok(())
}

/// Directly below the masks, on columns of the row itself.
fn verify_policies(context: &Context, known: &KnownTable, below: &LogicalPlan) -> Result<()> {
    let expected = scopes::expected(context, &known.table);
    if expected.is_empty() {
        return Ok(());
    }
    let table = &known.table.name;
    let scope = context.scopes.of(table).ok_or_else(|| unproven("a directory without its row policies"))?;
    let LogicalPlan::Filter(filter) = below else {
        return Err(unproven("a directory without its row policies"));
    };
    let Expr::ScalarFunction(call) = &filter.predicate else {
        return Err(unproven("a directory without its row policies"));
    };
    if scope.reasons != expected || !is_scope(&call.func, scope) || call.args.len() != scope.columns.len() {
        return Err(unproven("a directory under other row policies"));
    }
    for (argument, name) in call.args.iter().zip(&scope.columns) {
        let own = BTreeSet::from([(table.clone(), name.clone())]);
        if !matches!(argument, Expr::Column(_)) || origin::of_expression(argument, &filter.input)? != own {
            return Err(unproven("a row policy of other columns"));
        }
    }
    Ok(())
}

/// The value alone where there is no mask; masked; or whole on one condition and else masked.
fn is_masked(
    expression: &Expr,
    mask: Option<ViewerMask>,
    conditional: bool,
    value: &impl Fn(&Expr) -> Result<bool>,
) -> Result<bool> {
    let Some(mask) = mask else { return value(expression) };
    match expression {
        Expr::ScalarFunction(call) => {
            let same = call.func.as_ref() == &viewer_mask_udf(mask);
            match call.args.as_slice() {
                [argument] if same => value(argument),
                [] | [..] => Ok(false),
            }
        }
        Expr::Case(case) if conditional && case.expr.is_none() => {
            match (case.when_then_expr.as_slice(), &case.else_expr) {
                ([(when, then)], Some(otherwise)) => Ok(matches!(when.as_ref(), Expr::IsTrue(_))
                    && value(then)?
                    && is_masked(otherwise, Some(mask), false, value)?),
                (_, _) => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

fn verify_granted(context: &Context, opened: &Opened, recipe: &RowRecipe, known: &KnownTable) -> Result<()> {
    let grant = context.access.get(&opened.table).ok_or_else(|| unproven("rows without a grant"))?;
    let decided = context.policies.access.get(&grant.id) == Some(grant);
    let mine = grant.principal == context.principal.name() && grant.table == opened.table;
    let live = grant.level == recipe.level && grant.is_live(context.now.timestamp());
    let holds = context.principal.can(Capability::HoldAccess);
    if !(holds && decided && mine && live && recipe.access == grant.id) {
        return Err(unproven("rows under a grant that is not live, or not of these rows"));
    }
    if grant.level == Level::Direct && !serves_a_person(context, grant) {
        return Err(unproven("rows as they are, without the person who asked for them"));
    }
    let policy = known.table.policy().ok_or_else(|| unproven("rows of nobody under a grant"))?;
    let policies = BTreeSet::from([policy.to_owned()]);
    let settings = &context.policies.settings;
    let bare = match recipe.level {
        Level::Deidentified => recipe.floor < price::floor(context, &policies) || recipe.noise < settings.row_noise,
        Level::Direct => false,
    };
    if bare || recipe.cap > settings.access_row_cap {
        return Err(unproven("rows with less protection than the settings ask"));
    }
    let width = opened.plan.schema().fields().len();
    if recipe.columns.is_empty() || recipe.identity == 0 || width != recipe.columns.len() + 1 + recipe.identity {
        return Err(unproven("rows of another shape than their recipe"));
    }
    sources::verify(context, &opened.plan, 0, &policies)?;
    verify_whose(context, &opened.table, recipe, &opened.plan)?;
    for (index, column) in recipe.columns.iter().enumerate() {
        let own = BTreeSet::from([(opened.table.clone(), column.name.clone())]);
        if !grant.columns.contains(&column.name) || origin::of_column(&opened.plan, index)? != own {
            return Err(unproven("a column that the grant does not name"));
        }
        verify_column(context, known, recipe.level, column, opened.schema.field(index).data_type())?;
    }
    let person = origin::of_column(&opened.plan, recipe.columns.len())?;
    let names_person = |(table, column): &(String, String)| {
        context.tables.get(table).and_then(|known| known.table.protection()) == Some((policy, column.as_str()))
    };
    if person.len() != 1 || !person.iter().all(names_person) {
        return Err(unproven("rows whose person is not known"));
    }
    Ok(())
}

/// A person's own request, that a second person has read; and no group manager's curiosity.
fn serves_a_person(context: &Context, grant: &AccessGrant) -> bool {
    let second = grant.decided_by.as_ref().is_some_and(|by| *by != grant.principal);
    grant.person.is_some() && grant.rights_request.is_some() && second && !context.principal.belongs_to(GROUP_MANAGER)
}

/// Of whom the rows are: of the persons in the asker's scope, or of the one whose request is served.
fn verify_whose(context: &Context, table: &str, recipe: &RowRecipe, plan: &LogicalPlan) -> Result<()> {
    owner::verify_rows(context, plan, recipe.columns.len())?;
    match recipe.level {
        Level::Deidentified => scopes::verify(context, plan),
        Level::Direct => {
            let person = context.access.get(table).and_then(|grant| grant.person.as_deref());
            subject::verify(context, plan, person.ok_or_else(|| unproven("a person whom nobody named"))?)
        }
    }
}

fn verify_column(
    context: &Context,
    known: &KnownTable,
    level: Level,
    column: &RowColumn,
    shown: &DataType,
) -> Result<()> {
    let described = known.table.column(&column.name).ok_or_else(|| unproven("a column of nowhere"))?;
    let fits = match (&column.shows, described.class) {
        (Shows::Pseudonym { family, epoch }, Some(Class::Identifier)) => {
            *family == context.policies.family_of(&known.table, &column.name)
                && *epoch == context.policies.key_epoch(family)
                && *shown == DataType::Utf8
        }
        (Shows::Own, Some(class)) => is_own(known, &column.name, class),
        (Shows::Attribute, Some(Class::Attribute | Class::Public)) => true,
        (Shows::Noised { bounds, .. }, Some(Class::Measure)) => described.bounds == Some(*bounds),
        (Shows::Measure, Some(Class::Measure)) => context.policies.settings.row_noise == 0.0,
        (Shows::Pseudonym { .. } | Shows::Attribute | Shows::Noised { .. } | Shows::Measure | Shows::Own, _) => false,
    };
    let of_level = match &column.shows {
        Shows::Pseudonym { .. } => true,
        Shows::Attribute | Shows::Noised { .. } | Shows::Measure => level == Level::Deidentified,
        Shows::Own => level == Level::Direct,
    };
    let masked = match level {
        Level::Deidentified => column.mask == described.rules.mask()?,
        Level::Direct => column.mask.is_none(),
    };
    if fits && of_level && masked { Ok(()) } else { Err(unproven("a column shows more than its class allows")) }
}

/// What is the person's own in their row: all but who else is in it, and what feeds metrics.
fn is_own(known: &KnownTable, column: &str, class: Class) -> bool {
    match class {
        Class::Identifier => known.table.protection().is_some_and(|(_, key)| key == column),
        Class::Attribute | Class::Measure | Class::Sensitive | Class::Public => true,
        Class::Hidden | Class::Content => false,
    }
}

/// Every scan of shown rows is of rows that were made, and sees what its asker may.
fn verify_scan(context: &Context, scan: &TableScan, opened: &[Opened]) -> Result<()> {
    let source = scan.source.downcast_ref::<Source>().ok_or_else(|| unproven("an unknown source"))?;
    let SourceKind::Opened(name) = &source.kind else { return Ok(()) };
    let made = opened.iter().find(|opened| opened.table == *name).ok_or_else(|| unproven("rows that nobody makes"))?;
    if source.schema != made.schema {
        return Err(unproven("rows of another shape than they are made"));
    }
    let readable = |column: &String| match &made.kind {
        OpenedKind::Directory { .. } => source.granted || context.policies.may_read(&context.principal, name, column),
        OpenedKind::Granted(_) => !source.granted,
    };
    if scan.projected_schema.fields().iter().all(|field| readable(field.name())) {
        Ok(())
    } else {
        Err(unproven("a column of a directory that is not granted"))
    }
}

/// Rows under a grant carry their names in the last column, and in no other.
fn verify_names(shape: &LogicalPlan, opened: &[Opened]) -> Result<()> {
    let Some(rows) = opened.iter().find(|opened| matches!(opened.kind, OpenedKind::Granted(_))) else {
        return Ok(());
    };
    let last = shape.schema().fields().len().checked_sub(1).ok_or_else(Error::internal)?;
    // Of nothing the optimiser leaves nothing: then no row is told of.
    if !scans(shape)?.iter().any(is_opened) {
        return Ok(());
    }
    let name = (rows.table.clone(), ROW.to_owned());
    for index in 0..=last {
        let origins = origin::of_column(shape, index)?;
        let counted = origins == BTreeSet::from([name.clone()]);
        if counted != (index == last) || (index < last && origins.contains(&name)) {
            return Err(unproven("rows that are not counted"));
        }
    }
    Ok(())
}

fn is_opened(scan: &TableScan) -> bool {
    scan.source.downcast_ref::<Source>().is_some_and(|source| matches!(source.kind, SourceKind::Opened(_)))
}

fn scans(plan: &LogicalPlan) -> Result<Vec<TableScan>> {
    let mut found = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|_| Error::internal())?;
    Ok(found)
}

fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        _ => expression,
    }
}
