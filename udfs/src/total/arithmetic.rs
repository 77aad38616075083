//! `total_add`, `total_sub`, `total_mul`, `total_div`, `total_mod`, `total_neg`: the operators,
//! total.
//!
//! In: any two types that DataFusion's operator takes. Out: the type that it gives, with these
//! differences, which keep every row from failing: integers saturate, division by zero is NULL, and
//! decimals are computed as Float64. Dates, timestamps and intervals are DataFusion's own
//! operators, NULL where those fail. Integer division truncates, as in Postgres.

use super::rows::rows_that_work;
use crate::safe_cast::safe_cast;
use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch,
    downcast_integer_array,
};
use arrow::compute::kernels::{cmp, numeric};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use std::sync::Arc;

pub fn total_add() -> Arc<ScalarUDF> {
    binary(Arithmetic::Add)
}

pub fn total_sub() -> Arc<ScalarUDF> {
    binary(Arithmetic::Sub)
}

pub fn total_mul() -> Arc<ScalarUDF> {
    binary(Arithmetic::Mul)
}

pub fn total_div() -> Arc<ScalarUDF> {
    binary(Arithmetic::Div)
}

pub fn total_mod() -> Arc<ScalarUDF> {
    binary(Arithmetic::Mod)
}

pub fn total_neg() -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(TotalNeg { signature }))
}

fn binary(op: Arithmetic) -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(TotalBinary { signature, op }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
}

impl Arithmetic {
    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Sub => Operator::Minus,
            Self::Mul => Operator::Multiply,
            Self::Div => Operator::Divide,
            Self::Mod => Operator::Modulo,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Add => "total_add",
            Self::Sub => "total_sub",
            Self::Mul => "total_mul",
            Self::Div => "total_div",
            Self::Mod => "total_mod",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TotalBinary {
    signature: Signature,
    op: Arithmetic,
}

/// The types that both sides are cast to, and the type of the result.
struct Types {
    left: DataType,
    right: DataType,
    result: DataType,
}

impl TotalBinary {
    fn types(&self, left: &DataType, right: &DataType) -> Result<Types> {
        let operator = self.op.operator();
        let coercer = BinaryTypeCoercer::new(left, &operator, right);
        let (left, right) = coercer.get_input_types()?;
        let result = coercer.get_result_type()?;
        if result.is_decimal() || left.is_decimal() || right.is_decimal() {
            let float = DataType::Float64;
            return Ok(Types { left: float.clone(), right: float.clone(), result: float });
        }
        Ok(Types { left, right, result })
    }

    fn compute(&self, left: &ArrayRef, right: &ArrayRef, types: &Types) -> Result<ArrayRef> {
        let same = types.left == types.right && types.left == types.result;
        if same && types.result.is_integer() {
            return integers(self.op, left, right);
        }
        let right = match self.op {
            Arithmetic::Div | Arithmetic::Mod if types.right.is_floating() => without_zeros(right)?,
            Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mul | Arithmetic::Div | Arithmetic::Mod => {
                Arc::clone(right)
            }
        };
        let fields = vec![Field::new("l", types.left.clone(), true), Field::new("r", types.right.clone(), true)];
        let sides = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::clone(left), right])?;
        let operands = (Arc::new(Column::new("l", 0)), Arc::new(Column::new("r", 1)));
        let operation = BinaryExpr::new(operands.0, self.op.operator(), operands.1);
        rows_that_work(sides.num_rows(), &types.result, &|offset, length| {
            operation.evaluate(&sides.slice(offset, length))?.into_array(length)
        })
    }
}

impl ScalarUDFImpl for TotalBinary {
    fn name(&self) -> &str {
        self.op.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [left, right] => Ok(self.types(left, right)?.result),
            _ => plan_err!("{} takes two arguments", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return internal_err!("{} takes two arguments", self.name());
        };
        let types = self.types(&left.data_type(), &right.data_type())?;
        let rows = rows_of(&args);
        let left = safe_cast(&left.to_array(rows)?, &types.left)?;
        let right = safe_cast(&right.to_array(rows)?, &types.right)?;
        as_given(&args, self.compute(&left, &right, &types)?)
    }
}

/// One row is enough where every argument is a scalar.
fn rows_of(args: &ScalarFunctionArgs) -> usize {
    let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if all_scalar { 1 } else { args.number_rows }
}

fn as_given(args: &ScalarFunctionArgs, result: ArrayRef) -> Result<ColumnarValue> {
    if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
    }
    Ok(ColumnarValue::Array(result))
}

/// A divisor of zero becomes NULL, and with it the quotient.
fn without_zeros(right: &ArrayRef) -> Result<ArrayRef> {
    let zero = ScalarValue::new_zero(right.data_type())?.to_scalar()?;
    let minus_zero = numeric::neg_wrapping(&zero.clone().into_inner())?;
    let right = nullif(right, &cmp::eq(right, &zero)?)?;
    let is_minus_zero = cmp::eq(&right, &arrow::array::Scalar::new(minus_zero))?;
    Ok(nullif(&right, &is_minus_zero)?)
}

fn integers(op: Arithmetic, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    downcast_integer_array!(
        left => saturating(op, left, right),
        other => internal_err!("not an integer: {other}")
    )
}

/// Checked arithmetic, and the nearer end of the type where it overflows.
fn saturating<T: ArrowPrimitiveType>(op: Arithmetic, left: &PrimitiveArray<T>, right: &ArrayRef) -> Result<ArrayRef>
where
    T::Native: ArrowNativeTypeOp,
{
    let right = right.as_primitive::<T>();
    let zero = T::Native::ZERO;
    let end = |low: bool| Some(if low { T::Native::MIN_TOTAL_ORDER } else { T::Native::MAX_TOTAL_ORDER });
    let one = |l: T::Native, r: T::Native| match op {
        // Beyond the type only where both have one sign, or r alone decides.
        Arithmetic::Add => l.add_checked(r).ok().or_else(|| end(r.is_lt(zero))),
        Arithmetic::Sub => l.sub_checked(r).ok().or_else(|| end(r.is_gt(zero))),
        Arithmetic::Mul => l.mul_checked(r).ok().or_else(|| end(l.is_lt(zero) != r.is_lt(zero))),
        Arithmetic::Div if r.is_zero() => None,
        // The one overflow is the smallest value by −1.
        Arithmetic::Div => l.div_checked(r).ok().or_else(|| end(false)),
        Arithmetic::Mod if r.is_zero() => None,
        Arithmetic::Mod => Some(l.mod_wrapping(r)),
    };
    let pairs = left.iter().zip(right.iter());
    let result = pairs.map(|(l, r)| one(l?, r?)).collect::<PrimitiveArray<T>>();
    Ok(Arc::new(result.with_data_type(left.data_type().clone())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TotalNeg {
    signature: Signature,
}

impl ScalarUDFImpl for TotalNeg {
    fn name(&self) -> &str {
        "total_neg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [DataType::Null] => Ok(DataType::Int64),
            [one] if one.is_decimal() => Ok(DataType::Float64),
            [one] if one.is_signed_integer() || one.is_floating() => Ok(one.clone()),
            [one @ (DataType::Interval(_) | DataType::Duration(_))] => Ok(one.clone()),
            [other] => plan_err!("total_neg does not take {other}"),
            _ => plan_err!("total_neg takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [one] = args.args.as_slice() else {
            return internal_err!("total_neg takes one argument");
        };
        let data_type = self.return_type(&[one.data_type()])?;
        let one = safe_cast(&one.to_array(rows_of(&args))?, &data_type)?;
        let result = if data_type.is_integer() {
            let zero = ScalarValue::new_zero(&data_type)?.to_array_of_size(one.len())?;
            integers(Arithmetic::Sub, &zero, &one)?
        } else {
            rows_that_work(one.len(), &data_type, &|offset, length| {
                Ok(numeric::neg_wrapping(&one.slice(offset, length))?)
            })?
        };
        as_given(&args, result)
    }
}
