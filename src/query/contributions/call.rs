//! A call of an aggregate, as the rewrite has checked it.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use crate::query::expression::Derived;

/// A call of an aggregate, checked and total.
pub(in crate::query) struct Call {
    pub name: String,
    pub argument: Option<Derived>,
    /// Of two, as in `corr(y, x)`: the second.
    pub second: Option<Derived>,
    /// Some argument can be NULL.
    pub nullable: bool,
    /// The argument, as it is written, is of an integer type.
    pub integer: bool,
    /// The argument is a plain column, at most cast.
    pub plain: bool,
    /// Of percentiles.
    pub fractions: Fractions,
    pub distinct: bool,
    pub filter: Option<Derived>,
    /// What the query expects: name and type of the column.
    pub written: Expr,
    pub data_type: DataType,
}

/// One fraction, or an array of them, as written.
#[derive(Debug, Clone, Default)]
pub(in crate::query) struct Fractions {
    pub each: Vec<f64>,
    pub several: bool,
}

impl Call {
    /// Are its values zeros and ones?
    pub(super) fn zero_one(&self) -> bool {
        self.argument.as_ref().is_some_and(|d| d.facts.zero_one)
    }

    /// Is it a share, however it is written?
    pub(super) fn is_share(&self) -> bool {
        match self.name.as_str() {
            "share" => true,
            "avg" | "mean" => self.zero_one(),
            _ => false,
        }
    }
}
