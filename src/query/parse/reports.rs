//! Reports about one thing, spelled as functions: `privacy.purpose_report('…')` is the view of that name, narrowed to one purpose.
//!
//! In: a query. Out: the same query over views only. What the argument is, is for the query's own stages to say.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, Query, SetExpr, Statement, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{Error, Result, SqlState};

const VIEW: &str = "purpose_report";
const NARROWED: &str = "SELECT * FROM privacy.purpose_report WHERE purpose = NULL";

pub(super) fn as_views(query: &mut Query) -> Result<()> {
    match query.visit(&mut Reports) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Reports;

impl VisitorMut for Reports {
    type Break = Box<Error>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return ControlFlow::Continue(()) };
        if !name.to_string().eq_ignore_ascii_case("privacy.purpose_report") {
            return ControlFlow::Continue(());
        }
        let narrowed = match args.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(purpose))] => narrowed(purpose.clone()),
            _ => Err(Error::new(SqlState::UndefinedFunction, "privacy.purpose_report takes the name of one purpose")
                .hint("SELECT * FROM privacy.purpose_report('…'), or SELECT * FROM privacy.purpose_report for all")),
        };
        match narrowed {
            Ok(subquery) => {
                let alias = alias.take().unwrap_or_else(|| TableAlias {
                    explicit: true,
                    name: Ident::new(VIEW),
                    columns: vec![],
                    at: None,
                });
                *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

fn narrowed(purpose: Expr) -> Result<Box<Query>> {
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, NARROWED).map_err(|_| Error::internal())?.pop();
    let Some(Statement::Query(mut query)) = parsed else { return Err(Error::internal()) };
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(Error::internal()) };
    let Some(Expr::BinaryOp { right, .. }) = &mut select.selection else { return Err(Error::internal()) };
    **right = purpose;
    Ok(query)
}
