//! Scopes, spoiled: scans that see rows which the rules take out.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col};

use super::hand::replace;
use super::{Bad, COUNTRY, JOINED, MAIL, WEEKS, bad};
use crate::policy::{Digester, Exclusion, GROUP_MANAGER, Policies, RowPolicy};
use crate::query::compile_tests::private_in;
use crate::query::private::Private;
use crate::query::{Context, Excluded, PersonScope, PersonTest, Scopes, compile_tests, plan_lines, verify};

fn changed(context: &mut Context, change: impl FnOnce(&mut Policies)) {
    let mut policies = context.policies.as_ref().clone();
    change(&mut policies);
    for (name, known) in &mut context.tables {
        known.table = policies.tables[name].clone();
    }
    context.policies = Arc::new(policies);
}

/// Somebody is taken out.
fn excluding(context: &mut Context) {
    let exclusion = Exclusion { reason: None, since: 0 };
    changed(context, |policies| drop(policies.excluded.insert("digest".to_owned(), exclusion)));
}

fn ruled(context: &mut Context, table: &str) {
    let rule = RowPolicy {
        name: "rule".to_owned(),
        roles: Default::default(),
        using: Some("x".to_owned()),
        min_group_size: None,
    };
    changed(context, |policies| policies.tables.get_mut(table).unwrap().row_policies.push(rule));
}

fn scoped(context: &mut Context, tests: Vec<PersonTest>) {
    let persons = BTreeMap::from([("people".to_owned(), Arc::new(PersonScope::new(tests, "scope".to_owned())))]);
    let tables = context.tables.values().map(|known| &known.table);
    context.scopes = Scopes::new(tables, &persons, BTreeMap::new());
}

fn not_excluded() -> PersonTest {
    PersonTest::NotExcluded(Arc::new(Excluded::new(Default::default(), Digester::new([7; 32]).unwrap())))
}

/// Compiled as the rules want it.
fn honest(context: &mut Context, sql: &str) -> Private {
    excluding(context);
    scoped(context, vec![not_excluded()]);
    private_in(context, sql).unwrap()
}

/// Every call of the scope becomes what `change` makes of it; nothing, where it makes nothing.
fn each_call(private: &mut Private, change: fn(Expr) -> Option<Expr>) {
    replace(private, |node| match node {
        LogicalPlan::Filter(filter) if filter.predicate.to_string().contains("in_scope") => {
            let parts = split_conjunction(&filter.predicate).into_iter().filter_map(|part| match part {
                Expr::ScalarFunction(_) => change(part.clone()),
                other => Some(other.clone()),
            });
            let below = LogicalPlanBuilder::from(filter.input.as_ref().clone());
            Some(below.filter(conjunction(parts).unwrap()).unwrap().build().unwrap())
        }
        _ => None,
    });
}

pub(super) fn cases() -> Vec<Bad> {
    const OUTSIDE: &str = "a scan outside its scope";
    const LEFT_OUT: &str = "a scope that leaves a rule out";
    vec![
        bad("a plan from before somebody was taken out", COUNTRY, OUTSIDE, |context, _| {
            excluding(context);
            scoped(context, vec![not_excluded()]);
        }),
        bad("no scope where somebody is taken out", WEEKS, "a table without its scope", |context, _| {
            excluding(context);
        }),
        bad("a scan whose scope is left out", MAIL, OUTSIDE, |context, private| {
            *private = honest(context, MAIL);
            each_call(private, |_| None);
        }),
        bad("a scope that is denied", MAIL, OUTSIDE, |context, private| {
            *private = honest(context, MAIL);
            each_call(private, |call| Some(Expr::Not(Box::new(call))));
        }),
        bad("a scope or something else", MAIL, OUTSIDE, |context, private| {
            *private = honest(context, MAIL);
            each_call(private, |call| Some(call.clone().or(col("mail.id").is_not_null())));
        }),
        bad("a scope of another's key", JOINED, OUTSIDE, |context, private| {
            *private = honest(context, JOINED);
            each_call(private, |call| match call {
                Expr::ScalarFunction(mut call) => {
                    call.args = vec![col("id").is_null()];
                    Some(Expr::ScalarFunction(call))
                }
                _ => None,
            });
        }),
        bad("another statement's scope", MAIL, OUTSIDE, |context, private| {
            *private = honest(context, MAIL);
            let other = PersonScope::new(vec![not_excluded()], "another scope".to_owned());
            let persons = BTreeMap::from([("people".to_owned(), Arc::new(other))]);
            context.scopes = Scopes::new(context.tables.values().map(|known| &known.table), &persons, BTreeMap::new());
        }),
        bad("a manager's scope without the reports", COUNTRY, LEFT_OUT, |context, private| {
            *private = honest(context, COUNTRY);
            changed(context, |policies| {
                policies.roles.get_mut("ann").unwrap().member_of.insert(GROUP_MANAGER.to_owned());
            });
            context.principal = context.policies.principal("ann", 0).unwrap();
        }),
        bad("a rule on persons, forgotten for another table", WEEKS, LEFT_OUT, |context, private| {
            *private = honest(context, WEEKS);
            ruled(context, "person");
        }),
        bad("a rule on rows, forgotten", WEEKS, LEFT_OUT, |context, private| {
            *private = honest(context, WEEKS);
            ruled(context, "week");
        }),
        bad("a rule on a linked table's rows, forgotten", LINKED, "a table without its scope", |context, _| {
            ruled(context, "item");
        }),
        bad("a floor below the rule's", COUNTRY, "the floor is too low", |context, _| {
            let rule = |policies: &mut Policies| {
                let rule = RowPolicy {
                    name: "floor".to_owned(),
                    roles: ["insights_analyst".to_owned()].into(),
                    using: None,
                    min_group_size: Some(11),
                };
                policies.tables.get_mut("week").unwrap().row_policies.push(rule);
            };
            changed(context, rule);
        }),
    ]
}

const LINKED: &str = "SELECT count(*) FROM item";

#[test]
fn a_scope_stands_at_every_scan() {
    for sql in [
        COUNTRY,
        WEEKS,
        MAIL,
        JOINED,
        LINKED,
        "SELECT count(*) FROM week w WHERE EXISTS (SELECT 1 FROM mail WHERE id = w.id)",
    ] {
        let mut context = compile_tests::context(sql);
        let private = honest(&mut context, sql);
        let plan = plan_lines(&verify(&context, private).unwrap()).join("\n");
        let of_persons = |line: &&str| {
            ["person", "week", "mail", "purchase"].iter().any(|t| line.contains(&format!("TableScan: {t}")))
        };
        let scans: Vec<&str> = plan.lines().filter(of_persons).collect();
        assert!(!scans.is_empty() && scans.iter().all(|line| line.contains("in_scope(")), "{plan}");
    }
}

#[test]
fn a_rule_that_does_not_concern_the_asker_needs_no_scope() {
    let mut context = compile_tests::context(MAIL);
    ruled(&mut context, "week");
    changed(&mut context, |policies| {
        policies.tables.get_mut("mail").unwrap().row_policies.push(RowPolicy {
            name: "others".to_owned(),
            roles: ["auditor".to_owned()].into(),
            using: Some("x".to_owned()),
            min_group_size: Some(5_000),
        });
    });
    let private = private_in(&context, MAIL).unwrap();
    assert_eq!(verify(&context, private).unwrap().releases()[0].facts().floor, 10);
}
