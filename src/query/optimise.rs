//! The engine's own rules over plans that cannot be read: types made explicit, then every logical optimisation that can do something.
//!
//! In: a plan. Out: the same rows by a better plan. Nothing is proven here: what comes out is what the verifier looks at, and a rule
//! that is left out where it could have done something costs time and never privacy.
//!
//! A rule goes over the whole plan, twice, also where there is nothing for it. Most are about joins, subqueries, set operations or
//! limits, which most questions do not have below a release.

use std::sync::{Arc, LazyLock};

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule};

use super::context::Context;

pub(super) type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// As the engine has them where nobody says otherwise.
pub(super) static OPTIONS: LazyLock<Arc<ConfigOptions>> = LazyLock::new(Arc::default);
static ANALYZER: LazyLock<Analyzer> = LazyLock::new(Analyzer::new);
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| Optimizer::new().rules);

pub(super) fn optimise(context: &Context, plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = typed(plan)?;
    let config = OptimizerContext::new_with_config_options(OPTIONS.clone());
    apply(&RULES, plan, &config.with_query_execution_start_time(context.moment))
}

/// Explicit casts, and `grouping` spelled out.
pub(super) fn typed(plan: LogicalPlan) -> Result<LogicalPlan> {
    ANALYZER.execute_and_check(plan, &OPTIONS, |_, _| {})
}

/// Those of `rules` that can do something, in their order, until they do nothing more.
pub(super) fn apply(rules: &[Rule], plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<LogicalPlan> {
    let parts = Parts::of(&plan)?;
    let wanted: Vec<Rule> = rules.iter().filter(|rule| parts.concern(rule.name())).cloned().collect();
    if wanted.is_empty() {
        return Ok(plan);
    }
    Optimizer::with_rules(wanted).optimize(plan, config, |_, _| {})
}

/// What a plan is made of, as far as rules are about it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Parts {
    subqueries: bool,
    joins: bool,
    /// Unions and DISTINCT.
    sets: bool,
    limits: bool,
}

impl Parts {
    fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut parts = Self::default();
        plan.apply(|node| {
            parts.add_node(node);
            node.apply_expressions(|expression| {
                expression.apply(|part| {
                    parts.subqueries |= is_subquery(part);
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(parts)
    }

    fn add_node(&mut self, node: &LogicalPlan) {
        match node {
            LogicalPlan::Join(_) => self.joins = true,
            LogicalPlan::Union(_) | LogicalPlan::Distinct(_) | LogicalPlan::RecursiveQuery(_) => self.sets = true,
            LogicalPlan::Limit(_) => self.limits = true,
            LogicalPlan::Subquery(_) => self.subqueries = true,
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => {}
        }
    }

    /// Can the rule of this name do something? Subqueries become joins, and DISTINCT over nothing a limit, while the rules go on. A
    /// rule that is not known here is applied.
    fn concern(self, rule: &str) -> bool {
        let Self { subqueries, joins, sets, limits } = self;
        match rule {
            "rewrite_set_comparison" | "decorrelate_predicate_subquery" | "scalar_subquery_to_join" => subqueries,
            "decorrelate_lateral_join"
            | "eliminate_join"
            | "extract_equijoin_predicate"
            | "eliminate_cross_join"
            | "filter_null_join_keys"
            | "eliminate_outer_join" => joins || subqueries,
            "optimize_unions" | "unions_to_filter" | "replace_distinct_aggregate" => sets || subqueries,
            "eliminate_limit" | "push_down_limit" => limits || sets || subqueries,
            _ => true,
        }
    }
}

fn is_subquery(expression: &Expr) -> bool {
    matches!(expression, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_))
}

#[cfg(test)]
mod tests {
    use super::super::compile_tests::private;
    use super::super::verify::root;
    use super::*;

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

    #[test]
    fn what_is_left_out_would_have_changed_nothing() {
        for sql in SHAPES {
            let (_, private) = private(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
            let inputs = private.releases.iter().map(|release| root(&release.plan).unwrap().input().clone());
            for plan in inputs.chain([private.shape.clone()]) {
                let plan = typed(plan).unwrap();
                let all = Optimizer::with_rules(RULES.clone());
                let all = all.optimize(plan.clone(), &OptimizerContext::new(), |_, _| {}).unwrap();
                let some = apply(&RULES, plan, &OptimizerContext::new()).unwrap();
                assert_eq!(all.display_indent_schema().to_string(), some.display_indent_schema().to_string(), "{sql}");
            }
        }
    }

    /// A rule of another name would be applied to every plan, and nobody would notice.
    #[test]
    fn the_rules_are_called_what_they_are_called_here() {
        let left_out = |parts: Parts| RULES.iter().filter(|rule| !parts.concern(rule.name())).count();
        let none = Parts::default();
        assert_eq!(left_out(none), 14);
        assert_eq!(left_out(Parts { joins: true, ..none }), 8);
        assert_eq!(left_out(Parts { sets: true, ..none }), 9);
        assert_eq!(left_out(Parts { limits: true, ..none }), 12);
        assert_eq!(left_out(Parts { subqueries: true, ..none }), 0);
    }
}
