//! `percentile_cont(f)`, `percentile_disc(f)` and `mode()`, each `WITHIN GROUP (ORDER BY x)`: Postgres's ordered-set aggregates, with
//! one fraction or an array of them.
//!
//! In: a value and, for percentiles, a literal fraction or list of fractions. Out: an exact value, or a list of them; NULL without
//! rows. Names that queries are written and type-checked with; they compute over public and released rows. They are **not**
//! private; a server that protects people plans `dp_histogram_L` in their place.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, concat, filter, is_not_null, sort, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::cast::as_float64_array;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use std::sync::Arc;

pub(super) fn percentile_cont() -> Arc<AggregateUDF> {
    udaf(Kind::Cont)
}

pub(super) fn percentile_disc() -> Arc<AggregateUDF> {
    udaf(Kind::Disc)
}

pub(super) fn mode() -> Arc<AggregateUDF> {
    udaf(Kind::Mode)
}

fn udaf(kind: Kind) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    let aliases = if kind == Kind::Cont { vec!["quantile_cont".to_owned()] } else { vec![] };
    Arc::new(AggregateUDF::new_from_impl(OrderedSet { kind, signature, aliases }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Cont,
    Disc,
    Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    kind: Kind,
    signature: Signature,
    aliases: Vec<String>,
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(data_type, true)))
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Cont => "percentile_cont",
            Kind::Disc => "percentile_disc",
            Kind::Mode => "mode",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let number = |t: &DataType| t.is_numeric() || t.is_null();
        let fraction = |t: &DataType| match t {
            DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) if number(of.data_type()) => {
                Some(list_of(DataType::Float64))
            }
            t if number(t) => Some(DataType::Float64),
            _ => None,
        };
        match (self.kind, arg_types) {
            (Kind::Mode, [x]) => Ok(vec![x.clone()]),
            (Kind::Cont, [x, f]) if number(x) => match fraction(f) {
                Some(f) => Ok(vec![DataType::Float64, f]),
                None => plan_err!("percentile_cont takes a fraction, or an array of fractions"),
            },
            (Kind::Disc, [x, f]) => match fraction(f) {
                Some(f) => Ok(vec![x.clone(), f]),
                None => plan_err!("percentile_disc takes a fraction, or an array of fractions"),
            },
            (Kind::Mode, _) => plan_err!("mode is written mode() WITHIN GROUP (ORDER BY value)"),
            (Kind::Cont | Kind::Disc, _) => {
                plan_err!("{0} is written {0}(fraction) WITHIN GROUP (ORDER BY value)", self.name())
            }
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(if arg_types.get(1).is_some_and(is_list) { list_of(arg_types[0].clone()) } else { arg_types[0].clone() })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let values = list_of(args.input_fields[0].data_type().clone());
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "values"), values, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{} takes no DISTINCT", self.name());
        }
        let data_type = args.expr_fields[0].data_type().clone();
        let descending = args.order_bys.first().is_some_and(|order| order.options.descending);
        let (fractions, several) = match (self.kind, args.exprs.get(1)) {
            (Kind::Mode, _) | (_, None) => (vec![], false),
            (Kind::Cont | Kind::Disc, Some(expr)) => match expr.downcast_ref::<Literal>().map(Literal::value) {
                Some(value) => fractions_of(value)?,
                None => return plan_err!("{}: fractions must be literals", self.name()),
            },
        };
        Ok(Box::new(Values { kind: self.kind, data_type, descending, fractions, several, arrays: vec![] }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The fractions, and whether they were a list.
fn fractions_of(value: &ScalarValue) -> Result<(Vec<Option<f64>>, bool)> {
    let array = value.to_array()?;
    let list: Option<&ListArray> = array.as_list_opt();
    let numbers = list.map_or(Arc::clone(&array), |list| list.value(0));
    let fractions: Vec<Option<f64>> = as_float64_array(&numbers)?.iter().collect();
    if fractions.iter().flatten().any(|f| !(0.0..=1.0).contains(f)) {
        return plan_err!("a percentile's fraction is between 0 and 1");
    }
    Ok((fractions, list.is_some()))
}

#[derive(Debug)]
struct Values {
    kind: Kind,
    data_type: DataType,
    descending: bool,
    fractions: Vec<Option<f64>>,
    several: bool,
    arrays: Vec<ArrayRef>,
}

impl Values {
    /// All values without NULL, in order.
    fn ordered(&self) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.arrays.iter().map(AsRef::as_ref).collect();
        if arrays.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.data_type));
        }
        let all = concat(&arrays)?;
        let all = filter(&all, &is_not_null(&all)?)?;
        Ok(sort(&all, Some(SortOptions { descending: self.descending, nulls_first: false }))?)
    }

    fn one(&self, ordered: &ArrayRef, fraction: Option<f64>) -> Result<ScalarValue> {
        let Some(fraction) = fraction.filter(|_| !ordered.is_empty()) else {
            return ScalarValue::try_from(&self.data_type);
        };
        let rows = ordered.len() as f64;
        match self.kind {
            Kind::Cont => {
                let values: &Float64Array = ordered.as_primitive::<Float64Type>();
                let rank = fraction * (rows - 1.0);
                let (low, high) = (values.value(rank.floor() as usize), values.value(rank.ceil() as usize));
                Ok(ScalarValue::Float64(Some(low + (high - low) * rank.fract())))
            }
            Kind::Disc | Kind::Mode => {
                let row = ((fraction * rows).ceil() as usize).max(1) - 1;
                ScalarValue::try_from_array(ordered, row.min(ordered.len() - 1))
            }
        }
    }

    /// The first of the longest run.
    fn most_frequent(&self, ordered: &ArrayRef) -> Result<ScalarValue> {
        let compare = make_comparator(ordered, ordered, SortOptions::default())?;
        let (mut best, mut run) = ((0, 0), (0, 0));
        for row in 0..ordered.len() {
            run = if row > 0 && compare(row - 1, row).is_eq() { (run.0, run.1 + 1) } else { (row, 1) };
            if run.1 > best.1 {
                best = run;
            }
        }
        match best.1 {
            0 => ScalarValue::try_from(&self.data_type),
            _ => ScalarValue::try_from_array(ordered, best.0),
        }
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.arrays.push(Arc::clone(&values[0]));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let ordered = self.ordered()?;
        if self.kind == Kind::Mode {
            return self.most_frequent(&ordered);
        }
        if !self.several {
            return self.one(&ordered, self.fractions.first().copied().flatten());
        }
        if ordered.is_empty() {
            return ScalarValue::try_from(&list_of(self.data_type.clone()));
        }
        let each = self.fractions.iter().map(|f| self.one(&ordered, *f)).collect::<Result<Vec<_>>>()?;
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&each, &self.data_type)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let ordered = self.ordered()?;
        let list = ListArray::new(
            Arc::new(Field::new_list_field(self.data_type.clone(), true)),
            arrow::buffer::OffsetBuffer::from_lengths([ordered.len()]),
            ordered,
            None,
        );
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists: &ListArray = states[0].as_list();
        let rows = (0..lists.len() as u64).filter(|row| lists.is_valid(*row as usize)).collect::<Vec<_>>();
        let lists = take(lists, &UInt64Array::from(rows), None)?;
        for values in lists.as_list::<i32>().iter().flatten() {
            self.arrays.push(values);
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.arrays.iter().map(|array| array.get_array_memory_size()).sum::<usize>()
    }
}
