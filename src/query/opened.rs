//! Rows that may be shown, and how: a directory's behind its masks; a protected table's under a live grant of access, de-identified, or
//! as they are where they are the one person's whose own request the grant serves.
//!
//! In: a table and what the asker may see of it. Out: [`Opened`], a plan of raw rows made of policies alone, and what is done to each
//! column before anybody sees a row. What the asker wrote stands above and reads the result, never what is below: a filter, an
//! order or an expression sees what is shown and nothing else, so there is nothing that it could smuggle.
//!
//! Law: no statement that shows rows also releases, and no release reads opened rows: a directory would carry identities into
//! aggregates, and a pseudonym would pass for a group.
//! Rows of persons that are shown under a grant are **not** differentially private. That is why they need a second person's approval.
//!
//! **Level `direct`** answers a person who asks for their own data. All of their rows are shown, whatever takes them out of answers: an
//! objection, a missing consent or a row policy says who takes part in analyses, and takes nothing of the right to one's own data.
//! Nothing of a row is left out, moved or masked but what is about others: an identifier that is not the row's own person key may name
//! somebody else (a manager, a sender) and is a pseudonym, under a key that ends with the grant, so that it finds nobody in rows of
//! another grant. Hidden columns and contents are never shown. Values outside a declared domain are shown: they are the person's.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use paravent_udfs::ViewerMask;

use super::context::{Context, KnownTable, Source, SourceKind};
use crate::error::{Error, Result, SqlState};
use crate::policy::{AccessGrant, Bounds, Class, Level};

/// The names of rows, keyed by the grant: how the rows that were shown are counted. Never shown.
pub const ROW: &str = "__row";

/// Rows that are made ready before the plan above them runs.
#[derive(Debug, Clone)]
pub struct Opened {
    pub(super) table: String,
    pub(super) kind: OpenedKind,
    /// Of raw rows. Only the release room runs it.
    pub(super) plan: LogicalPlan,
    /// What is shown.
    pub(super) schema: SchemaRef,
}

#[derive(Debug, Clone)]
pub enum OpenedKind {
    /// The masks are in the plan, and the row policies.
    Directory { masked: Vec<String>, policies: Vec<String> },
    /// What is shown of the rows is made when they have been read.
    Granted(RowRecipe),
}

/// What becomes of a table's rows under a grant. The plan's columns: one for each of `columns`, the person key, `identity` columns that
/// tell a person's rows apart.
#[derive(Debug, Clone, PartialEq)]
pub struct RowRecipe {
    pub access: u64,
    pub level: Level,
    pub columns: Vec<RowColumn>,
    pub identity: usize,
    /// Persons who must share a row's attributes.
    pub floor: u64,
    /// How far noise may move a measure, as a share of its range.
    pub noise: f64,
    /// Rows that the grant shows in all.
    pub cap: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RowColumn {
    pub name: String,
    pub shows: Shows,
    pub mask: Option<ViewerMask>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shows {
    /// A pseudonym in the place of an identifier.
    Pseudonym { family: String, epoch: u64 },
    /// The value, where enough persons share all attributes.
    Attribute,
    /// The value, moved by noise.
    Noised { bounds: Bounds, integer: bool },
    /// The value: where the administrator has turned noise off.
    Measure,
    /// The value, to answer the person's own request.
    Own,
}

impl Opened {
    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub fn kind(&self) -> &OpenedKind {
        &self.kind
    }

    /// Of the rows that the plan above reads; the row's name is behind what is shown.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// For people and the log: what protects these rows.
    pub fn in_words(&self) -> String {
        match &self.kind {
            OpenedKind::Directory { masked, policies } => {
                let list = |what: &str, names: &[String]| match names {
                    [] => String::new(),
                    names => format!(", {what} {}", names.join(", ")),
                };
                format!("directory {}{}{}", self.table, list("masked", masked), list("row policies", policies))
            }
            OpenedKind::Granted(recipe) => match recipe.level {
                Level::Deidentified => format!(
                    "de-identified rows of {} under access {}, floor {}, row noise {}",
                    self.table, recipe.access, recipe.floor, recipe.noise
                ),
                Level::Direct => {
                    format!("rows of {} of one person, as they are, under access {}", self.table, recipe.access)
                }
            },
        }
    }
}

impl RowRecipe {
    /// Errors: 22023 for a measure whose noise has no bounds to be drawn within.
    pub(super) fn of(context: &Context, known: &KnownTable, grant: &AccessGrant) -> Result<Self> {
        let mut columns = Vec::new();
        for field in known.schema.fields().iter().filter(|field| grant.covers(field.name())) {
            let shows = match grant.level {
                Level::Deidentified => shows(context, known, field),
                Level::Direct => shows_own(context, known, field),
            };
            if let Some(shows) = shows {
                let rules = known.table.column(field.name()).map(|column| &column.rules);
                let rules = rules.filter(|_| grant.level == Level::Deidentified);
                let mask = rules.map_or(Ok(None), |rules| rules.mask())?;
                columns.push(RowColumn { name: field.name().clone(), shows, mask });
            }
        }
        let settings = &context.policies.settings;
        let policies = known.table.policy().map(str::to_owned).into_iter().collect();
        let identity = known.proven_keys.first().map_or(columns.len(), |key| key.columns.len());
        let (floor, noise) = match grant.level {
            Level::Deidentified => (context.policies.floor(&context.principal, &policies), settings.row_noise),
            Level::Direct => (1, 0.0),
        };
        Ok(Self { access: grant.id, level: grant.level, columns, identity, floor, noise, cap: settings.access_row_cap })
    }

    /// What is shown of the columns, without the rows' names.
    pub(super) fn schema(&self, known: &KnownTable) -> Result<SchemaRef> {
        let field = |column: &RowColumn| {
            let raw = known.schema.field_with_name(&column.name).map_err(|_| Error::internal())?;
            let shown = match &column.shows {
                Shows::Pseudonym { .. } => DataType::Utf8,
                Shows::Noised { integer: true, .. } => DataType::Int64,
                Shows::Noised { integer: false, .. } => DataType::Float64,
                Shows::Attribute | Shows::Measure | Shows::Own => raw.data_type().clone(),
            };
            Ok(Field::new(&column.name, shown, true))
        };
        Ok(Arc::new(Schema::new(self.columns.iter().map(field).collect::<Result<Vec<_>>>()?)))
    }
}

/// The same of the person's own row.
fn shows_own(context: &Context, known: &KnownTable, field: &Field) -> Option<Shows> {
    let column = known.table.column(field.name())?;
    let own = known.table.protection().is_some_and(|(_, key)| key == column.name);
    match column.class? {
        Class::Identifier if own => Some(Shows::Own),
        Class::Identifier => Some(pseudonym(context, known, &column.name)),
        Class::Attribute | Class::Measure | Class::Sensitive | Class::Public => Some(Shows::Own),
        Class::Hidden | Class::Content => None,
    }
}

fn pseudonym(context: &Context, known: &KnownTable, column: &str) -> Shows {
    let family = context.policies.family_of(&known.table, column);
    let epoch = context.policies.key_epoch(&family);
    Shows::Pseudonym { family, epoch }
}

/// `None`: never a column of rows.
fn shows(context: &Context, known: &KnownTable, field: &Field) -> Option<Shows> {
    let column = known.table.column(field.name())?;
    match column.class? {
        Class::Identifier => Some(pseudonym(context, known, &column.name)),
        Class::Attribute | Class::Public => Some(Shows::Attribute),
        Class::Measure if context.policies.settings.row_noise == 0.0 => Some(Shows::Measure),
        Class::Measure => {
            let integer = field.data_type().is_integer();
            column.bounds.map(|bounds| Shows::Noised { bounds, integer })
        }
        Class::Sensitive | Class::Hidden | Class::Content => None,
    }
}

/// Columns of a directory that may be shown to somebody.
pub(super) fn showable(class: Option<Class>) -> bool {
    match class {
        Some(Class::Identifier | Class::Attribute | Class::Measure | Class::Public) => true,
        Some(Class::Sensitive | Class::Hidden | Class::Content) | None => false,
    }
}

/// Does this statement ask for rows of the one table that the asker has a live grant of? Every answer comes from the least telling data
/// that serves: what can be had as an aggregate is released as ever.
pub(super) fn asks_for_rows(context: &Context, plan: &LogicalPlan) -> Result<bool> {
    if context.access.is_empty() {
        return Ok(false);
    }
    let (mut protected, mut plain) = (Vec::new(), true);
    let walked = plan.apply_with_subqueries(|node| {
        plain &= keeps_rows(node);
        if let LogicalPlan::TableScan(scan) = node
            && let Some(Source { kind: SourceKind::Protected(name), granted, .. }) =
                scan.source.downcast_ref::<Source>()
        {
            protected.push((name.clone(), *granted));
        }
        for expression in node.expressions() {
            expression.apply(|part| {
                let computes = matches!(
                    part,
                    Expr::AggregateFunction(_)
                        | Expr::WindowFunction(_)
                        | Expr::Exists(_)
                        | Expr::InSubquery(_)
                        | Expr::SetComparison(_)
                        | Expr::ScalarSubquery(_)
                );
                plain &= !computes;
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|_| Error::internal())?;
    let granted = match protected.as_slice() {
        [(name, false)] => context.access.contains_key(name),
        [] | [..] => false,
    };
    Ok(plain && granted)
}

/// Operators above which every row is still a row of the table.
pub(super) fn keeps_rows(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_) => true,
        LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => false,
    }
}

/// A column that the table has and the grant does not show.
pub(super) fn refuse_unshown(context: &Context, error: Error) -> Error {
    if error.sqlstate != SqlState::UndefinedColumn {
        return error;
    }
    let grants: BTreeSet<String> = context.access.values().map(|grant| grant.id.to_string()).collect();
    let grants = grants.into_iter().collect::<Vec<_>>().join(", ");
    let refusal = Error::new(
        SqlState::InsufficientPrivilege,
        format!("permission denied for rows: {} under access {grants}", error.message),
    )
    .detail(
        "rows show the columns of the grant. Of de-identified rows: identifiers as pseudonyms, attributes, and measures that have \
         bounds; at level \"direct\" sensitive columns, too; hidden and unclassified columns never",
    )
    .hint("name columns of the grant (SELECT * FROM privacy.grants), request others with CALL privacy.request_access(…), or aggregate");
    refusal.at(error.position)
}
