//! Plans that only pick columns of one release: what stands above most releases. They need no optimiser, and no engine to run them.
//!
//! In: a plan above the releases. Out: which columns of which release it shows, in order; nothing where it does anything else. Must
//! never: say so of a plan with a predicate, a limit, an expression or another source.

use datafusion::logical_expr::{Expr, LogicalPlan};

use super::context::{Source, SourceKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Its number in the statement.
    pub release: usize,
    /// Of the released rows.
    pub columns: Vec<usize>,
}

impl Picked {
    pub fn of(plan: &LogicalPlan) -> Option<Self> {
        if let LogicalPlan::Projection(projection) = plan {
            let input = Self::of(&projection.input)?;
            let schema = projection.input.schema();
            let picked = projection.expr.iter().map(|expression| {
                let column = column_of(expression)?;
                input.columns.get(schema.maybe_index_of_column(column)?).copied()
            });
            return Some(Self { columns: picked.collect::<Option<_>>()?, ..input });
        }
        if let LogicalPlan::SubqueryAlias(alias) = plan {
            return Self::of(&alias.input);
        }
        let LogicalPlan::TableScan(scan) = plan else { return None };
        let source = scan.source.downcast_ref::<Source>()?;
        let SourceKind::Released(release) = source.kind else { return None };
        let all = || (0..source.schema.fields().len()).collect();
        let whole = scan.filters.is_empty() && scan.fetch.is_none();
        whole.then(|| Self { release, columns: scan.projection.clone().unwrap_or_else(all) })
    }
}

fn column_of(expression: &Expr) -> Option<&datafusion::common::Column> {
    match expression {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column_of(&alias.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile_tests::compile;
    use super::Picked;

    #[test]
    fn a_release_as_it_is_and_nothing_else() {
        for picks in [
            "SELECT count(*) FROM person",
            "SELECT country AS c, count(*) AS n FROM person GROUP BY country",
            "SELECT n, c FROM (SELECT country AS c, count(*) AS n FROM person GROUP BY country) AS s",
        ] {
            assert!(Picked::of(compile(picks).unwrap().shape()).is_some(), "{picks}");
        }
        for more in [
            "SELECT country, count(*) FROM person GROUP BY country ORDER BY 2",
            "SELECT country, count(*) FROM person GROUP BY country LIMIT 3",
            "SELECT country, count(*) FROM person GROUP BY country HAVING count(*) > 100",
            "SELECT country, 2 * count(*) FROM person GROUP BY country",
            "SELECT a.n, b.n FROM (SELECT count(*) AS n FROM person) AS a CROSS JOIN (SELECT count(*) AS n FROM mail) AS b",
            "SELECT season FROM calendar",
        ] {
            assert_eq!(Picked::of(compile(more).unwrap().shape()), None, "{more}");
        }
        let swapped = compile("SELECT count(*) AS n, country FROM person GROUP BY country").unwrap();
        let straight = compile("SELECT country, count(*) AS n FROM person GROUP BY country").unwrap();
        let columns = |verified: &crate::query::Verified| Picked::of(verified.shape()).unwrap().columns;
        let (swapped, straight) = (columns(&swapped), columns(&straight));
        assert_eq!(swapped.iter().rev().collect::<Vec<_>>(), straight.iter().collect::<Vec<_>>());
    }
}
