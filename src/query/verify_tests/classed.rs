//! Classes of columns, spoiled: releases of what their asker may not read, and columns that only a scope may look at.

use std::sync::Arc;

use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};

use super::hand::{replace, scans, spec};
use super::{Bad, COUNTRY, WEEKS, bad};
use crate::policy::{Class, Policies, Purpose, RowPolicy, View};
use crate::query::compile_tests::private_in;
use crate::query::private::Private;
use crate::query::{Context, KnownView, Scopes, compile_tests, parse, row_rule, verify};

/// Reads no hours.
const COUNTED: &str = "SELECT week, count(*) FROM week GROUP BY week";

fn changed(context: &mut Context, change: impl FnOnce(&mut Policies)) {
    let mut policies = context.policies.as_ref().clone();
    change(&mut policies);
    for (name, known) in &mut context.tables {
        known.table = policies.tables[name].clone();
    }
    context.policies = Arc::new(policies);
}

fn classed(context: &mut Context, table: &str, column: &str, class: Option<Class>) {
    changed(context, |policies| {
        let table = policies.tables.get_mut(table).unwrap();
        table.columns.iter_mut().find(|known| known.name == column).unwrap().class = class;
    });
}

/// The session's purpose, which the policies know as well.
fn purpose(context: &mut Context, columns: &[&str], change: impl FnOnce(&mut Purpose)) {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    let mut purpose = Purpose {
        name: "study".to_owned(),
        tables: [("week".to_owned(), Some(columns))].into(),
        population: None,
        roles: None,
        reason: "why".to_owned(),
        expires: 100,
        created: 0,
        created_by: "admin".to_owned(),
        ended: None,
    };
    change(&mut purpose);
    changed(context, |policies| drop(policies.purposes.insert(purpose.name.clone(), purpose.clone())));
    context.purpose = Some(purpose);
}

/// The statement reads this view, of which the policies say that it is a metric, or not, and what it reads.
fn reading(context: &mut Context, metric: bool, table: &str) {
    let definition = format!("SELECT count(*) FROM {table}");
    let view = View {
        name: "v".to_owned(),
        columns: vec![],
        definition: definition.clone(),
        security_invoker: false,
        metric,
        reads: [table.to_owned()].into(),
    };
    changed(context, |policies| drop(policies.views.insert("v".to_owned(), view)));
    let parsed = parse::parse(&definition).unwrap().pop().unwrap().statement;
    let crate::query::statement::Statement::Query(query) = parsed else { panic!("no query") };
    let known = KnownView { query: *query, columns: vec![], security_invoker: false, metric };
    context.views.insert("v".to_owned(), known);
}

/// The same question under a row policy that reads hours, of this class.
fn ruled(context: &mut Context, class: Class) -> Private {
    let rule = RowPolicy {
        name: "r".to_owned(),
        roles: Default::default(),
        using: Some(LONG.to_owned()),
        min_group_size: None,
    };
    changed(context, |policies| policies.tables.get_mut("week").unwrap().row_policies.push(rule));
    classed(context, "week", "hours", Some(class));
    scoped(context, "r");
    private_in(context, COUNTED).unwrap()
}

const LONG: &str = "hours > 3";

fn scoped(context: &mut Context, name: &str) {
    let known = &context.tables["week"];
    let expression = parse::expression(LONG).unwrap();
    let rule = row_rule(&context.functions, &known.table, &known.schema, name, (LONG, expression)).unwrap();
    let rules = [("week".to_owned(), vec![Arc::new(rule)])].into();
    context.scopes = Scopes::new([&known.table].into_iter(), &Default::default(), rules);
}

/// Directly above the scan of weeks.
fn filtered(private: &mut Private, predicate: Expr) {
    replace(private, |node| {
        let above = LogicalPlanBuilder::from(node.clone());
        scans(node, "week").then(|| above.filter(predicate.clone()).unwrap().build().unwrap())
    });
}

pub(super) fn cases() -> Vec<Bad> {
    [sensitive(), hidden(), nobodys(), used()].into_iter().flatten().collect()
}

fn sensitive() -> Vec<Bad> {
    const PURPOSE: &str = "a sensitive column without a purpose that names it";
    const FLOOR: &str = "the floor is too low for a sensitive column";
    vec![
        bad("a measure that became sensitive", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
        }),
        bad("a purpose that names other columns", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["week", "id"], |_| {});
        }),
        bad("a purpose that names the column of another table", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |purpose| {
                let columns = purpose.tables.remove("week").unwrap();
                purpose.tables.insert("mail".to_owned(), columns);
            });
        }),
        bad("a purpose that names no column", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &[], |purpose| drop(purpose.tables.insert("week".to_owned(), None)));
        }),
        bad("a purpose whose time is over", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |purpose| purpose.expires = 0);
        }),
        bad("a purpose that was ended", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |purpose| purpose.ended = Some(0));
        }),
        bad("a purpose that the policies do not know", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |_| {});
            changed(context, |policies| policies.purposes.clear());
        }),
        bad("a purpose of the session's own making", WEEKS, PURPOSE, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |_| {});
            changed(context, |policies| policies.purposes.get_mut("study").unwrap().tables.clear());
        }),
        bad("a sensitive column under the usual floor", WEEKS, FLOOR, |context, _| {
            classed(context, "week", "hours", Some(Class::Sensitive));
            purpose(context, &["hours"], |_| {});
        }),
        bad("a scope over a sensitive column under the usual floor", COUNTRY, FLOOR, |context, private| {
            *private = ruled(context, Class::Sensitive);
            spec(private, |spec| spec.floor = 10);
        }),
    ]
}

fn hidden() -> Vec<Bad> {
    const METRIC: &str = "a hidden column outside a metric";
    vec![
        bad("a measure that became hidden", WEEKS, METRIC, |context, _| {
            classed(context, "week", "hours", Some(Class::Hidden));
        }),
        bad("a hidden column in a view that is no metric", WEEKS, METRIC, |context, _| {
            classed(context, "week", "hours", Some(Class::Hidden));
            reading(context, false, "week");
        }),
        bad("a hidden column in a metric of another table", WEEKS, METRIC, |context, _| {
            classed(context, "week", "hours", Some(Class::Hidden));
            reading(context, true, "mail");
        }),
        bad("a hidden column in a metric that was dropped", WEEKS, METRIC, |context, _| {
            classed(context, "week", "hours", Some(Class::Hidden));
            reading(context, true, "week");
            changed(context, |policies| policies.views.clear());
        }),
        bad("a hidden column beside a metric that is not asked", WEEKS, METRIC, |context, _| {
            classed(context, "week", "hours", Some(Class::Hidden));
            reading(context, true, "week");
            context.views.clear();
        }),
    ]
}

fn nobodys() -> Vec<Bad> {
    const NOBODY: &str = "a column that nobody may read";
    vec![
        bad("contents", WEEKS, NOBODY, |context, _| classed(context, "week", "hours", Some(Class::Content))),
        bad("a column without a class", WEEKS, NOBODY, |context, _| classed(context, "week", "hours", None)),
        bad("contents in a metric", WEEKS, NOBODY, |context, _| {
            classed(context, "week", "hours", Some(Class::Content));
            reading(context, true, "week");
        }),
        bad("a column without a class that leads to nobody", "SELECT sum(price) FROM item", NOBODY, |context, _| {
            classed(context, "item", "price", None);
        }),
    ]
}

fn used() -> Vec<Bad> {
    const METRIC: &str = "a hidden column outside a metric";
    vec![
        bad("a condition on what only a scope may look at", COUNTRY, METRIC, |context, private| {
            *private = ruled(context, Class::Hidden);
            filtered(private, col("week.hours").gt(lit(3.0)));
        }),
        bad("a scope or a condition on what it looks at", COUNTRY, METRIC, |context, private| {
            *private = ruled(context, Class::Hidden);
            replace(private, |node| {
                let LogicalPlan::Filter(filter) = node else { return None };
                let parts = split_conjunction(&filter.predicate).into_iter().cloned().map(|part| match part {
                    Expr::ScalarFunction(_) => part.or(col("week.hours").gt(lit(3.0))),
                    other => other,
                });
                let below = LogicalPlanBuilder::from(filter.input.as_ref().clone());
                Some(below.filter(conjunction(parts).unwrap()).unwrap().build().unwrap())
            });
        }),
        bad("a scope of another statement over a hidden column", COUNTRY, METRIC, |context, private| {
            *private = ruled(context, Class::Hidden);
            scoped(context, "another");
        }),
        bad("a scope that is handed on as a value", COUNTRY, METRIC, |context, private| {
            *private = ruled(context, Class::Hidden);
            let scope = context.scopes.of("week").unwrap().function.clone();
            filtered(private, scope.call(vec![col("week.id"), col("week.hours")]).is_true());
        }),
        bad("a function that is called like a scope", COUNTRY, METRIC, |context, private| {
            *private = ruled(context, Class::Hidden);
            let id = context.functions.scalar["abs"].clone();
            filtered(private, id.call(vec![col("week.hours")]).gt(lit(-1.0)));
        }),
    ]
}

#[test]
fn what_may_be_read_is_proven() {
    // A sensitive column under a live purpose that names it: the floor is the higher one.
    let mut context = compile_tests::context(WEEKS);
    classed(&mut context, "week", "hours", Some(Class::Sensitive));
    purpose(&mut context, &["hours"], |_| {});
    let private = private_in(&context, WEEKS).unwrap();
    let verified = verify(&context, private).unwrap();
    assert_eq!(verified.releases()[0].facts().floor, context.policies.settings.sensitive_min_group_size);
    assert!(verified.reads()["week"].contains("hours"));
    // A hidden one in a metric.
    let mut context = compile_tests::context(WEEKS);
    let private = private_in(&context, WEEKS).unwrap();
    classed(&mut context, "week", "hours", Some(Class::Hidden));
    reading(&mut context, true, "week");
    verify(&context, private).unwrap();
    // A key without a class, by which rows of another table find their person.
    let linked = "SELECT sum(price) FROM item";
    let mut context = compile_tests::context(linked);
    classed(&mut context, "purchase", "order_id", None);
    let private = private_in(&context, linked).unwrap();
    verify(&context, private).unwrap();
}

#[test]
fn what_only_a_scope_looks_at_is_not_read() {
    for class in [Class::Hidden, Class::Sensitive] {
        let mut context = compile_tests::context(COUNTED);
        let private = ruled(&mut context, class);
        let verified = verify(&context, private).unwrap();
        assert!(!verified.reads()["week"].contains("hours"), "{class:?}");
        let floor = if class == Class::Sensitive { 20 } else { 10 };
        assert_eq!(verified.releases()[0].facts().floor, floor, "{class:?}: what chooses the rows is known of them");
    }
}
