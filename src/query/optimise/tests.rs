//! What our loop makes of a plan is what the engine's own makes of it, with all its rules.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::optimizer::Optimizer;

use super::super::compile_tests::{private, private_in};
use super::super::private::Private;
use super::super::verify::root;
use super::parts::Parts;
use super::*;

#[path = "../../../benches/compile/surroundings.rs"]
mod surroundings;

const SHAPES: [&str; 9] = [
    "SELECT count(*) FROM person WHERE country <> 'X'",
    "SELECT country, count(*), avg(hours) FROM person JOIN week USING (id) GROUP BY country ORDER BY 2 DESC LIMIT 3",
    "SELECT week, sum(hours) FROM week WHERE hours > 3 AND 1 + 1 = 2 GROUP BY week",
    "SELECT count(*) FROM (SELECT DISTINCT id, week FROM week) t",
    "SELECT sum(n) FROM (SELECT id, hours AS n FROM week UNION ALL SELECT id, size AS n FROM mail) t",
    "SELECT count(*) FROM person p WHERE EXISTS (SELECT 1 FROM week w WHERE w.id = p.id AND hours > 9)",
    "SELECT count(*) FROM week WHERE hours > (SELECT avg(hours) FROM week)",
    "SELECT country, count(*) FROM person GROUP BY country HAVING count(*) > 20",
    "SELECT DISTINCT country, n FROM (SELECT country, count(*) AS n FROM person GROUP BY 1) t",
];

/// Of every plan of a statement.
pub(in crate::query) fn assert_as_the_engine(context: &Context, private: &Private, sql: &str) {
    let inputs = private.releases.iter().filter_map(|release| root(&release.plan)).map(|release| release.input());
    for plan in inputs.chain([&private.shape]) {
        let config = OptimizerContext::new_with_config_options(OPTIONS.clone());
        let config = config.with_query_execution_start_time(context.moment);
        let typed = Analyzer::new().execute_and_check(plan.clone(), &OPTIONS, |_, _| {}).unwrap();
        let theirs = Optimizer::new().optimize(typed, &config, |_, _| {}).unwrap();
        let ours = optimise(context, plan.clone()).unwrap();
        assert_eq!(theirs.schema().as_arrow(), ours.schema().as_arrow(), "{sql}");
        let (theirs_in_words, ours_in_words) = (theirs.display_indent().to_string(), ours.display_indent().to_string());
        assert_eq!(operators(&theirs), operators(&ours), "{sql}\n{theirs_in_words}\n\n{ours_in_words}");
    }
}

/// What does the work, from the root down: joins, filters, scans, aggregates and the like with their conditions. Projections and other
/// names of the same may stand in other places, and so columns have other numbers.
fn operators(plan: &LogicalPlan) -> Vec<String> {
    let mut operators = Vec::new();
    let walked = plan.apply_with_subqueries(|node| {
        if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_)) {
            operators.push(either_way_round(&unnumbered(&node.display().to_string())));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.unwrap();
    operators
}

/// The engine turns `a != b` round each time that it looks at it. What may not be turned round stays as it is.
fn either_way_round(text: &str) -> String {
    if text.contains(['<', '>', '-', '/', '%']) {
        return text.to_owned();
    }
    let mut words: Vec<&str> = text.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}

/// `__person_3` and `__common_expr_1` without their numbers.
fn unnumbered(text: &str) -> String {
    let mut rest = text.split("__");
    let mut out = rest.next().unwrap_or_default().to_owned();
    for part in rest {
        let name = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let (name, after) = part.split_at(name);
        out += "__";
        out += name.trim_end_matches(|c: char| c.is_ascii_digit());
        out += after;
    }
    out
}

#[test]
fn what_is_left_out_would_have_changed_nothing() {
    for sql in SHAPES {
        let (context, private) = private(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        assert_as_the_engine(&context, &private, sql);
    }
}

#[test]
fn nor_in_what_the_benchmarks_ask() {
    for asked in surroundings::questions() {
        let context = asked.context(asked.text);
        let private = private_in(&context, asked.text).unwrap_or_else(|error| panic!("{}: {error:?}", asked.name));
        assert_as_the_engine(&context, &private, asked.text);
    }
}

/// A rule of another name would be applied to every plan, and nobody would notice.
#[test]
fn the_rules_are_called_what_they_are_called_here() {
    let left_out = |parts: Parts| RULES.iter().filter(|rule| !parts.concern(rule.name())).count();
    let none = Parts::default();
    assert_eq!(left_out(none), 16);
    assert_eq!(left_out(Parts { joins: true, ..none }), 10);
    assert_eq!(left_out(Parts { sets: true, ..none }), 11);
    assert_eq!(left_out(Parts { limits: true, ..none }), 14);
    assert_eq!(left_out(Parts { fields: true, ..none }), 14);
    assert_eq!(left_out(Parts { subqueries: true, ..none }), 0);
}

/// A rule of another name would be the engine's own in the place of ours, or never be followed by another pass.
#[test]
fn the_rules_that_are_named_are_there() {
    let named = ["simplify_expressions", "eliminate_cross_join", "eliminate_duplicated_expr", "eliminate_join"];
    let opening = passes::OPENING.iter().chain(&named);
    let theirs = Optimizer::new().rules;
    opening.for_each(|name| assert!(theirs.iter().any(|rule| rule.name() == *name), "{name}"));
}
