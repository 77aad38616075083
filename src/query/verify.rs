//! The second, independent pass: proves of the final, optimised plan that nothing leaves but releases and public data.
//!
//! In: [`Private`]. Out: [`Verified`], the optimised plans, or a refusal. It shares no logic with the rewrite: it follows columns
//! down to the tables' person keys and recomputes the price from the literals that the plan really holds. What it proves:
//!
//! 1. a release stands at the root of its plan, over an aggregate of `dp_…` states and nothing else;
//! 2. one person has one row in a group, and reaches one group where the plan does not bound them (`repeat`);
//! 3. every row below belongs to one person: persons meet persons on their keys, and aggregates below keep the key;
//! 4. noise pays: the sum of sensitivity^2 / (2 sigma^2) over the measurements is at most the rho that is charged;
//! 5. floor and threshold are no lower than the settings ask, and delta pays for who passes them (`selection`);
//! 6. no group key is made of an identifier (`origin`);
//! 7. no column is read that its class keeps from it, and a sensitive one has the higher floor (`classes`);
//! 8. rows that are shown are a directory's behind its masks, or under a live grant de-identified or one person's own, and nothing else
//!    is (`opened`, `subject`);
//! 9. the plan above reads released and public rows only, and every source is what the catalog says (`sources`);
//! 10. every scan of rows of persons stands under the scope that the policies give its reader (`scopes`).

mod classes;
mod opened;
mod origin;
mod owner;
mod price;
mod reach;
mod repeat;
mod scopes;
mod selection;
mod sources;
mod subject;
mod used;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use paravent_udfs::{Output, Release, ReleaseSpec, is_unreleased};

#[cfg(test)]
pub(crate) use price::Reach;
pub use used::Reads;

use super::context::{Context, Source, SourceKind};
use super::identity::Identity;
use super::opened::{Opened, OpenedKind, RowRecipe};
use super::optimise;
use super::picked::Picked;
use super::private::{Private, ReleaseFacts, ReleasePlan};
use crate::error::{Error, Result};
use crate::policy::Price;

/// Optimised plans of which the guarantee was proven. Only this stage makes them.
#[derive(Debug)]
pub struct Verified {
    releases: Vec<VerifiedRelease>,
    opened: Vec<Opened>,
    levels: Vec<f64>,
    notices: Vec<String>,
    shape: LogicalPlan,
    columns: SchemaRef,
}

#[derive(Debug)]
pub struct VerifiedRelease {
    plan: LogicalPlan,
    outputs: Vec<Output>,
    identity: Identity,
    facts: ReleaseFacts,
    reads: Reads,
}

impl Verified {
    /// What is read of persons below the releases, and what a grant or a directory opens; what only scopes look at is not among it.
    pub fn reads(&self) -> Reads {
        let mut reads = Reads::new();
        for (table, columns) in self.releases.iter().flat_map(|release| &release.reads) {
            reads.entry(table.clone()).or_default().extend(columns.iter().cloned());
        }
        for opened in &self.opened {
            let columns = reads.entry(opened.table.clone()).or_default();
            match &opened.kind {
                OpenedKind::Granted(recipe) => columns.extend(recipe.columns.iter().map(|c| c.name.clone())),
                OpenedKind::Directory { .. } => columns.extend(shown_of(&self.shape, &opened.table)),
            }
        }
        reads
    }

    pub fn releases(&self) -> &[VerifiedRelease] {
        &self.releases
    }

    /// Tables whose rows are shown, made ready before the shape runs.
    pub fn opened(&self) -> &[Opened] {
        &self.opened
    }

    /// The grant of access that the rows of the answer are shown under.
    pub fn recipe(&self) -> Option<&RowRecipe> {
        self.opened.iter().find_map(|opened| match &opened.kind {
            OpenedKind::Granted(recipe) => Some(recipe),
            OpenedKind::Directory { .. } => None,
        })
    }

    pub fn shape(&self) -> &LogicalPlan {
        &self.shape
    }

    /// Confidence levels of the intervals that every released value gets.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }

    /// What is to be said beside the answer.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The answer's columns by the names that the client sees.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }
}

impl Verified {
    /// By policy, of the releases whose number `counts`. Every policy that a release touches pays it whole.
    /// The price follows from the plan and the settings, never from data.
    pub fn price(&self, counts: impl Fn(usize) -> bool) -> Result<BTreeMap<String, Price>> {
        let mut lines: BTreeMap<String, Price> = BTreeMap::new();
        for (_, release) in self.releases.iter().enumerate().filter(|(number, _)| counts(*number)) {
            let price = release.facts.price();
            for policy in &release.facts.policies {
                let sum = lines.get(policy).map_or(Ok(price), |held| held.and(price))?;
                lines.insert(policy.clone(), sum);
            }
        }
        Ok(lines)
    }

    /// For the log: what was done to protect.
    pub fn protections(&self) -> String {
        let line = |release: &VerifiedRelease| {
            let facts = &release.facts;
            let masked = if facts.columns.iter().any(|column| column.masked) { ", masked" } else { "" };
            format!(
                "floor {}, threshold {}, groups per person {}{masked}",
                facts.floor, facts.threshold, facts.max_groups
            )
        };
        let opened = self.opened.iter().map(Opened::in_words);
        self.releases.iter().map(line).chain(opened).collect::<Vec<_>>().join("; ")
    }
}

/// The columns of a directory that the plan above it uses.
fn shown_of(shape: &LogicalPlan, table: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let _ = shape.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<Source>()
            && source.kind == SourceKind::Opened(table.to_owned())
        {
            used.extend(scan.projected_schema.fields().iter().map(|field| field.name().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    used
}

impl VerifiedRelease {
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub fn facts(&self) -> &ReleaseFacts {
        &self.facts
    }

    /// What is made of the measured rows.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What is measured.
    pub fn spec(&self) -> Result<&ReleaseSpec> {
        root(&self.plan).map(|node| node.spec().as_ref()).ok_or_else(Error::internal)
    }

    /// Everything that its plan reads.
    pub fn sources(&self) -> Vec<SourceKind> {
        let mut found = Vec::new();
        let _ = self.plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                found.extend(scan.source.downcast_ref::<Source>().map(|source| source.kind.clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        found
    }

    /// What the price assumes of each measurement, over all groups and levels.
    #[cfg(test)]
    pub fn reaches(&self) -> Result<Vec<Reach>> {
        price::reaches(root(&self.plan).ok_or_else(Error::internal)?, &self.facts)
    }

    /// The question it answers.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Errors: XX000 where the proof fails. That is never the user's doing: the rewrite, or the optimiser, did wrong.
pub fn verify(context: &Context, private: Private) -> Result<Verified> {
    let shape = match Picked::of(&private.shape) {
        Some(_) => private.shape,
        None => optimise(context, private.shape)?,
    };
    let keys: Vec<usize> = private.releases.iter().map(|release| release.spec.keys).collect();
    let numbered = private.releases.into_iter().enumerate();
    let releases = numbered
        .map(|(number, release)| verify_release(context, release, &keys[..number]))
        .collect::<Result<Vec<_>>>()?;
    verify_shape(&shape, releases.len())?;
    sources::verify(context, &shape, releases.len(), &BTreeSet::new())?;
    let opened = opened::verify(context, private.opened, &shape, releases.len())?;
    Ok(Verified { releases, opened, levels: private.levels, notices: private.notices, shape, columns: private.columns })
}

/// The engine's text may quote what the analyst wrote, so it goes nowhere.
fn optimise(context: &Context, plan: LogicalPlan) -> Result<LogicalPlan> {
    optimise::optimise(context, plan).map_err(|_| unproven("the engine cannot optimise a private plan"))
}

/// What a release reads, optimised below it: rules change nothing of the release, and each would copy all that lies below.
fn optimise_below(context: &Context, release: &Release) -> Result<LogicalPlan> {
    let input = optimise(context, release.input().clone())?;
    let above = Release::try_new(input, release.spec().as_ref().clone());
    above.map(Release::into_plan).map_err(|_| unproven("the release has changed"))
}

fn verify_release(context: &Context, release: ReleasePlan, earlier: &[usize]) -> Result<VerifiedRelease> {
    let rewritten = root(&release.plan).ok_or_else(|| unproven("no release at the root"))?;
    sources::verify(context, &release.plan, earlier.len(), &release.facts.policies)?;
    repeat::verify(context, rewritten, earlier)?;
    selection::verify_profile(rewritten)?;
    let plan = optimise_below(context, rewritten)?;
    let node = root(&plan).ok_or_else(|| unproven("no release at the root"))?;
    if **node.spec() != release.spec {
        return Err(unproven("the release has changed"));
    }
    if owner::reads_nothing(node.input()) {
        // A predicate that is never true: the optimiser may have left no aggregate either. What would have been measured is priced.
        price::verify(context, rewritten, &release.facts)?;
    } else {
        let states = price::verify(context, node, &release.facts)?;
        owner::verify(context, states)?;
        origin::verify(context, states)?;
        origin::verify_casts(context, &states.input)?;
    }
    let reads = used::used(context, &plan)?;
    classes::verify(context, &plan, &reads, &release.spec)?;
    scopes::verify(context, &release.plan)?;
    scopes::verify(context, &plan)?;
    if release.outputs.iter().any(|output| output.check(&release.spec).is_err()) {
        return Err(unproven("an output of what is not measured"));
    }
    Ok(VerifiedRelease { reads, plan, outputs: release.outputs, identity: release.identity, facts: release.facts })
}

pub(super) fn root(plan: &LogicalPlan) -> Option<&Release> {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<Release>(),
        _ => None,
    }
}

/// Above the releases: no protected table, no operator of ours, no unreleased value.
fn verify_shape(plan: &LogicalPlan, releases: usize) -> Result<()> {
    let mut outcome = Ok(());
    let walked = plan.apply_with_subqueries(|node| {
        outcome = verify_shape_node(node, releases);
        Ok(if outcome.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    walked.map_err(|_| Error::internal())?;
    outcome
}

fn verify_shape_node(node: &LogicalPlan, releases: usize) -> Result<()> {
    if node.schema().fields().iter().any(|field| is_unreleased(field)) {
        return Err(unproven("an unreleased value above a release"));
    }
    if node.expressions().iter().any(names_private_function) {
        return Err(unproven("a function of the release above it"));
    }
    match node {
        LogicalPlan::TableScan(scan) => match scan.source.downcast_ref::<Source>().map(|source| &source.kind) {
            // Which of them, and what of them, is proven by `opened`.
            Some(SourceKind::Public(_) | SourceKind::Opened(_)) => Ok(()),
            Some(SourceKind::Released(number)) if *number < releases => Ok(()),
            Some(SourceKind::Released(_) | SourceKind::Protected(_) | SourceKind::Directory(_)) | None => {
                Err(unproven("a protected table above the releases"))
            }
        },
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Distinct(_) => Ok(()),
        LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::RecursiveQuery(_) => Err(unproven("an operator that is not allowed above a release")),
    }
}

fn names_private_function(expression: &Expr) -> bool {
    let mut found = false;
    let _ = expression.apply(|part| {
        if let Expr::AggregateFunction(call) = part {
            found |= call.func.name().starts_with("dp_");
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// The reason goes to the operator's log (it names parts of a plan, never data); the client gets the constant message.
pub(super) fn unproven(reason: &str) -> Error {
    tracing::error!(reason, "a plan was refused by the verifier");
    #[cfg(test)]
    REASON.set(reason.to_owned());
    Error::internal()
}

#[cfg(test)]
thread_local! {
    /// The reason of the last refusal, for tests of the reasons.
    pub(super) static REASON: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}
