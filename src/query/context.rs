//! What a query is compiled against: the principal's tables, the settings in force, the functions there are.
//!
//! Everything here is data that other rooms fetched beforehand; nothing here does I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateDefaults;
use datafusion::functions::datetime::now::NowFunc;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, TableProviderFilterPushDown, TableSource, WindowUDF};
use paravent_udfs::{Delta, Epsilon};

use super::allow;
use super::errors_of::ErrorOf;
use super::scope::Scopes;
use super::statistics::Statistics;
use super::subject::Subject;
use super::views::KnownView;
use crate::policy::{AccessGrant, Mechanism, Policies, Principal, Purpose, Table, UniqueKey, Weights};

/// One statement's surroundings.
pub struct Context {
    pub policies: Arc<Policies>,
    pub principal: Principal,
    /// The tables that the statement names, as far as the principal may see them.
    pub tables: BTreeMap<String, KnownTable>,
    /// The views that it names, and those that they name.
    pub views: BTreeMap<String, KnownView>,
    /// Live grants of access to rows, by table.
    pub access: BTreeMap<String, AccessGrant>,
    /// Whose rows the `direct` ones among them show, by table.
    pub subjects: BTreeMap<String, Subject>,
    /// The person that the login is tied to.
    pub viewer: Option<Viewer>,
    /// Which of their rows the principal's questions count.
    pub scopes: Scopes,
    pub functions: Arc<Functions>,
    /// What the statement may spend: rho = epsilon^2 / 2, or epsilon itself under the Laplace mechanism; delta on selection.
    pub epsilon: Epsilon,
    pub mechanism: Mechanism,
    pub delta: Delta,
    /// Is there a row for every declared combination of group keys?
    pub show_suppressed: bool,
    /// Which values get more of it.
    pub weights: Weights,
    /// The live purpose that the session declares.
    pub purpose: Option<Purpose>,
    /// When the statement began: what rights that end are held against.
    pub now: DateTime<Utc>,
    /// When its transaction began, in whole microseconds: what `now()` says.
    pub moment: DateTime<Utc>,
    /// The statement's own text, for positions.
    pub text: String,
}

/// A registered table at one moment.
#[derive(Debug, Clone)]
pub struct KnownTable {
    pub table: Table,
    pub schema: SchemaRef,
    /// Declared keys that were found to hold on `snapshot`.
    pub proven_keys: Vec<UniqueKey>,
    /// Identity of the data.
    pub snapshot: String,
    /// What ANALYZE released about it.
    pub statistics: Option<Arc<Statistics>>,
}

/// Knows the person behind a login again, and does not say who it is.
#[derive(Clone)]
pub struct Viewer(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Viewer {
    pub fn new(is: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is))
    }

    /// `person`: a person key as text.
    pub fn is(&self, person: &str) -> bool {
        (self.0)(person)
    }
}

/// What a scan in a plan stands for. It has a schema and nothing to read: the release room puts the real source in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    pub kind: SourceKind,
    /// Read through a view with rights of its own: the grants on the table do not count.
    pub(super) granted: bool,
    /// Read by a metric of an administrator, which may read hidden columns.
    pub(super) metric: bool,
    pub(super) schema: SchemaRef,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceKind {
    Protected(String),
    Public(String),
    /// The rows of the statement's n-th release.
    Released(usize),
    /// Raw rows of a directory: below its masks only.
    Directory(String),
    /// What is shown of a table's rows, see `opened`.
    Opened(String),
}

impl Source {
    pub fn new(kind: SourceKind, schema: SchemaRef) -> Self {
        Self { kind, granted: false, metric: false, schema }
    }
}

impl TableSource for Source {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Files skip what they can; the filter itself stays above the scan.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::common::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// The functions that exist for people who query persons: an allow-list, made once per server.
pub struct Functions {
    pub(super) scalar: HashMap<String, Arc<ScalarUDF>>,
    pub(super) aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub(super) window: HashMap<String, Arc<WindowUDF>>,
    pub(super) planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Functions {
    pub fn new() -> Self {
        let mut scalar = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                if allow::scalar(name) {
                    scalar.insert(name.to_owned(), function.clone());
                }
            }
        }
        // A moment has a time zone, as in Postgres.
        let mut zoned = ConfigOptions::default();
        zoned.execution.time_zone = Some("+00:00".to_owned());
        let now = Arc::new(ScalarUDF::from(NowFunc::new_with_config(&zoned)));
        scalar.extend(["now", "current_timestamp"].map(|name| (name.to_owned(), now.clone())));
        scalar.insert("clamp".to_owned(), paravent_udfs::clamp());
        scalar.insert("width_bucket".to_owned(), paravent_udfs::width_bucket());
        // With Postgres's patterns, in place of the engine's.
        for function in paravent_udfs::postgres_functions() {
            scalar.insert(function.name().to_owned(), function);
        }
        for function in ErrorOf::all() {
            scalar.insert(function.name().to_owned(), Arc::new(function));
        }
        let mut aggregate: HashMap<_, _> = SessionStateDefaults::default_aggregate_functions()
            .into_iter()
            .flat_map(|function| {
                let names: Vec<_> =
                    std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned()).collect();
                names.into_iter().map(move |name| (name, function.clone()))
            })
            .collect();
        aggregate.insert("share".to_owned(), paravent_udfs::share_udaf());
        for function in paravent_udfs::ordered_set_udafs() {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                aggregate.insert(name.to_owned(), function.clone());
            }
        }
        let window = SessionStateDefaults::default_window_functions()
            .into_iter()
            .map(|function| (function.name().to_owned(), function))
            .collect();
        Self { scalar, aggregate, window, planners: SessionStateDefaults::default_expr_planners() }
    }
}

impl Default for Functions {
    fn default() -> Self {
        Self::new()
    }
}
