//! What a release asks, in parts that can be compared: rows, keys, measurements, cells.
//!
//! Two releases with equal parts ask the same; one whose measurements are among those of another is answered by it; one whose keys
//! are among those of another can be added up from it, as far as its measurements add up over groups.

use chrono::{DateTime, Utc};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunction;
use paravent_udfs::What;
use serde::{Deserialize, Serialize};

use super::canonical;
use super::contributions::{Contributions, DraftCell, DraftMeasurement};
use super::expression::Derived;
use super::facts::{Node, built};
use crate::error::{Error, Result};

/// A release as a question. Equal texts mean equal things under the same rules and data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Whose rows, under which predicates. Not kept with stored answers: they lie under its hash.
    #[serde(skip)]
    pub rows: String,
    pub keys: Vec<String>,
    pub measurements: Vec<MeasurementIdentity>,
    /// Parts of a group that must be persons enough.
    pub cells: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasurementIdentity {
    pub exact: String,
    /// Equal where sums over groups give the measurement of the groups together; nothing where they do not.
    pub additive: Option<String>,
}

/// The identity of a release over `node`'s rows. `max_groups`: how many groups a person reaches; `single`: one, by proof.
pub(super) fn identity(
    node: &Node,
    keys: &[Derived],
    contributions: &Contributions,
    cells: &[DraftCell],
    (max_groups, single): (u64, bool),
    now: DateTime<Utc>,
) -> Result<Identity> {
    let schema = node.plan.schema();
    let profile = node.profile().map(|flag| canonical::value(&Expr::Column(flag), schema, now)).transpose()?;
    let person = canonical::value(&Expr::Column(node.key()), schema, now)?;
    let rows = format!("{} of {person} fitting {profile:?}", canonical::rows(&node.plan, now)?);
    let keys = keys.iter().map(|key| canonical::value(&key.expression, schema, now)).collect::<Result<_>>()?;
    let values = contributions.values().iter().map(|value| canonical::value(&value.expression, schema, now));
    let values = values.collect::<Result<Vec<_>>>()?;
    let states = contributions.states();
    let named = |m: &DraftMeasurement| -> Result<MeasurementIdentity> {
        let state = states.get(m.state).ok_or_else(Error::internal)?;
        let MeasurementIdentity { exact, additive } = measurement(state, m.what, &values, single)?;
        // What is left out of too many groups is not there to be counted; sums over groups are of what each shows.
        Ok(MeasurementIdentity { exact: format!("{exact} in {max_groups}"), additive })
    };
    let measurements = contributions.measurements.iter().map(&named).collect::<Result<_>>()?;
    let cell = |cell: &DraftCell| {
        let state = states.get(cell.state).ok_or_else(Error::internal)?;
        let count = contributions.measurements.get(cell.count).ok_or_else(Error::internal)?;
        Ok(format!("{} word {} by {}", spelled(state, &values)?, cell.word, named(count)?.exact))
    };
    Ok(Identity { rows, keys, measurements, cells: cells.iter().map(cell).collect::<Result<_>>()? })
}

fn measurement(state: &Expr, what: What, values: &[String], single: bool) -> Result<MeasurementIdentity> {
    let exact = format!("{} {what:?}", spelled(state, values)?);
    let call = function(state).ok_or_else(Error::internal)?;
    let adds_up = match call.func.name() {
        // The persons behind the rows: someone in two groups would count twice.
        "dp_count" if what == What::Word(1) => single,
        "dp_avg" | "dp_share" if what == What::Word(2) => single,
        "dp_count" | "dp_sum" | "dp_avg" | "dp_share" => true,
        name if name.starts_with("dp_histogram_") => true,
        // Someone in two groups would count twice.
        "dp_persons" => single,
        _ => false,
    };
    // The caps of a person's rows are those of the finer groups; what is added up is the same.
    let arguments = call.params.args.iter().filter(|argument| !matches!(argument, Expr::Literal(..)));
    let arguments = arguments.map(|argument| spelled(argument, values)).collect::<Result<Vec<_>>>()?;
    let additive = adds_up.then(|| format!("{}({}) {what:?}", call.func.name(), arguments.join(",")));
    Ok(MeasurementIdentity { exact, additive })
}

fn function(state: &Expr) -> Option<&AggregateFunction> {
    match state {
        Expr::AggregateFunction(call) => Some(call),
        Expr::Alias(alias) => function(&alias.expr),
        _ => None,
    }
}

/// A state with the values themselves in the place of their columns (`__s0`, `__c0`, …).
fn spelled(state: &Expr, values: &[String]) -> Result<String> {
    let value_of = |name: &str| {
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let kind = name.strip_suffix(digits)?;
        Some(format!("{kind}[{}]", values.get(digits.parse::<usize>().ok()?)?))
    };
    let spelled = state.clone().transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => match value_of(&column.name) {
                Some(value) => Transformed::yes(Expr::Column(Column::new_unqualified(value))),
                None => Transformed::no(Expr::Column(column)),
            },
            Expr::Alias(alias) => Transformed::yes(*alias.expr),
            other => Transformed::no(other),
        })
    });
    Ok(built(spelled)?.data.to_string())
}
