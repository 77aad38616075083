//! Views become the queries that they stand for, while names are looked up.
//!
//! In: a view's syntax tree and whose rights count inside. Out: a plan under the view's name and columns, made of the same
//! sources as any other query's. Everything after this stage sees no views.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast;

use super::context::Context;
use super::metric::refuse_shown;
use super::names;
use super::resolve::{Names, refuse_plan};
use super::text_forms::as_texts;
use crate::error::{Error, Result, SqlState};

/// A view at one moment.
#[derive(Debug, Clone)]
pub struct KnownView {
    pub query: ast::Query,
    pub columns: Vec<String>,
    pub security_invoker: bool,
    pub metric: bool,
}

/// Whose grants decide what may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Of who asks.
    Invoker,
    /// A view's own: what it reads is granted to whoever may read the view.
    Definer,
    /// Nobody reads: a view is being made.
    Nobody,
    /// Of a condition under which a directory shows a value: directories and public tables as they are, and nothing else.
    Directory,
}

/// Views may stand on views, but not without end.
const DEEPEST: usize = 16;

#[derive(Debug)]
struct ViewSource {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl TableSource for ViewSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl Names<'_> {
    /// Errors: 42501 where the view is not granted, 54000 where views stand too deep, and whatever its query is refused for.
    pub(super) fn view(&self, name: &str, view: &KnownView) -> Result<Arc<dyn TableSource>> {
        if self.rights == Rights::Invoker && !self.context.policies.may_read(&self.context.principal, name, "") {
            return Err(Error::new(SqlState::InsufficientPrivilege, format!("permission denied for view {name}"))
                .detail("the view is not granted to any of your roles")
                .hint(format!("an administrator grants it: GRANT SELECT ON {name} TO …")));
        }
        if self.depth >= DEEPEST {
            return Err(Error::new(SqlState::ProgramLimitExceeded, "views stand on one another too deep"));
        }
        let rights = match (self.rights, view.security_invoker) {
            (Rights::Invoker, false) => Rights::Definer,
            (rights, _) => rights,
        };
        let metric = self.metric || view.metric;
        let mut inside = Names::inside(self.context, rights, self.depth + 1);
        inside.metric = metric;
        let plan = query_plan(&inside, &view.query)?;
        if view.metric {
            refuse_shown(self.context, name, &plan)?;
        }
        if plan.schema().fields().len() != view.columns.len() {
            return Err(Error::new(
                SqlState::ObjectNotInPrerequisiteState,
                format!("view {name} no longer has the columns it was made with"),
            )
            .hint("an administrator makes it anew: CREATE OR REPLACE VIEW"));
        }
        let named = view
            .columns
            .iter()
            .enumerate()
            .map(|(i, name)| Expr::Column(Column::from(plan.schema().qualified_field(i))).alias(name));
        let plan = LogicalPlanBuilder::from(plan.clone()).project(named.collect::<Vec<_>>());
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(|error| refuse_plan(self.context, &error))?;
        let schema = plan.schema().inner().clone();
        Ok(Arc::new(ViewSource { plan, schema }))
    }
}

/// The columns of a query that is to be a view: names as Postgres gives them, and types. Errors: as for a query, except that
/// nobody's grants are asked for.
/// `metric`: the name of what is to be a metric.
pub fn view_columns(context: &Context, query: &ast::Query, metric: Option<&str>) -> Result<SchemaRef> {
    let plan = query_plan(&Names::inside(context, Rights::Nobody, 1), query)?;
    if !plan.get_parameter_types().map_err(|_| Error::internal())?.is_empty() {
        return Err(Error::new(SqlState::FeatureNotSupported, "a view has no parameters"));
    }
    super::check::check_view(context, &plan)?;
    if let Some(name) = metric {
        refuse_shown(context, name, &plan)?;
    }
    Ok(names::output_schema(query, plan.schema().inner()))
}

/// Places in a view's text mean nothing in the statement's.
fn query_plan(names: &Names, query: &ast::Query) -> Result<LogicalPlan> {
    let planner = SqlToRel::new_with_options(names, ParserOptions::new());
    planner
        .sql_statement_to_plan(ast::Statement::Query(Box::new(names::name_columns(&as_texts(query)?))))
        .map_err(|error: DataFusionError| refuse_plan(names.context, &error))
}
