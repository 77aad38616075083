//! Masks of single values: what a row shows of a value to who may not see it whole.
//!
//! In: a mask and a column. Out: a column of the same type. Must never: fail on a value, or show a short text nearly whole.
//!
//! **Sensitivity, Noise, Cost** none; a masked value is *not* differentially private: it says less, and what it says is true.
//! (The other masks, of shares, are in `mask`.)

use crate::accounting::InvalidParameter;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::common::cast::as_string_array;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// How a value is masked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ViewerMask {
    /// Nothing is shown.
    Null,
    /// Letters and digits become `*`, but for the first `prefix` and the last `suffix` characters. Spaces and signs stay:
    /// `+49 *** **12`. Where fewer than [`LEAST_HIDDEN`] letters and digits would be hidden, none is shown.
    Partial { prefix: usize, suffix: usize },
    /// The day on which the unit that holds a date begins.
    Calendar(Unit),
    /// The lower end of a number's band, of this width, from 0.
    Band(f64),
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
}

/// With fewer hidden characters than these, a partial mask could be undone by trying.
pub const LEAST_HIDDEN: usize = 4;

/// More characters than this are no mask.
const MOST_SHOWN: usize = 100;

const DAY_MICROSECONDS: i64 = 86_400_000_000;

impl Eq for ViewerMask {}

impl Hash for ViewerMask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Partial { prefix, suffix } => (1_u8, prefix, suffix).hash(state),
            Self::Calendar(unit) => (2_u8, unit).hash(state),
            Self::Band(width) => (3_u8, width.to_bits()).hash(state),
        }
    }
}

impl ViewerMask {
    pub fn partial(prefix: usize, suffix: usize) -> Result<Self, InvalidParameter> {
        if prefix > MOST_SHOWN || suffix > MOST_SHOWN {
            return Err(InvalidParameter::new("characters of a partial mask", "100 or fewer"));
        }
        Ok(Self::Partial { prefix, suffix })
    }

    pub fn calendar(unit: &str) -> Result<Self, InvalidParameter> {
        let unit = match unit {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            _ => return Err(InvalidParameter::new("unit of a mask", "year, quarter, month, week or day")),
        };
        Ok(Self::Calendar(unit))
    }

    pub fn band(width: f64) -> Result<Self, InvalidParameter> {
        if width.is_finite() && width > 0.0 {
            Ok(Self::Band(width))
        } else {
            Err(InvalidParameter::new("width of a mask", "a number above 0"))
        }
    }

    /// The masked values, in their own type.
    pub fn apply(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let masked: ArrayRef = match self {
            Self::Null => return Ok(new_null_array(values.data_type(), values.len())),
            Self::Partial { prefix, suffix } => {
                let texts = cast(values, &DataType::Utf8)?;
                let texts = as_string_array(&texts)?.iter();
                Arc::new(texts.map(|text| text.map(|text| partial(text, *prefix, *suffix))).collect::<StringArray>())
            }
            Self::Calendar(unit) => {
                let zone = match values.data_type() {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let moments = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let moments = moments.as_primitive::<TimestampMicrosecondType>().iter();
                let begun = moments.map(|moment| moment.and_then(|moment| begin(moment, *unit)));
                Arc::new(begun.collect::<TimestampMicrosecondArray>().with_timezone_opt(zone))
            }
            Self::Band(width) if values.data_type().is_integer() && width.fract() == 0.0 && *width < 1e15 => {
                let width = *width as i64;
                let numbers = cast(values, &DataType::Int64)?;
                let band = |number: i64| number.checked_sub(number.rem_euclid(width));
                let numbers = numbers.as_primitive::<Int64Type>().iter();
                Arc::new(numbers.map(|number| number.and_then(band)).collect::<Int64Array>())
            }
            Self::Band(width) => {
                let numbers = cast(values, &DataType::Float64)?;
                let numbers = numbers.as_primitive::<Float64Type>().iter();
                let band = |number: f64| Some((number / width).floor() * width).filter(|band| band.is_finite());
                Arc::new(numbers.map(|number| number.and_then(band)).collect::<arrow::array::Float64Array>())
            }
        };
        Ok(cast(&masked, values.data_type())?)
    }
}

fn partial(text: &str, prefix: usize, suffix: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    let shown = |at: usize| at < prefix || at + suffix >= characters.len();
    let hidden = characters.iter().enumerate().filter(|(at, c)| !shown(*at) && c.is_alphanumeric()).count();
    let whole = hidden >= LEAST_HIDDEN;
    let mask = |(at, c): (usize, &char)| if c.is_alphanumeric() && !(whole && shown(at)) { '*' } else { *c };
    characters.iter().enumerate().map(mask).collect()
}

/// The midnight with which the unit around a moment begins; `None` beyond the calendar.
fn begin(moment: i64, unit: Unit) -> Option<i64> {
    let days = moment.div_euclid(DAY_MICROSECONDS);
    let day = match unit {
        Unit::Day => days,
        // The first day of 1970 was a Thursday; weeks begin on Mondays.
        Unit::Week => days - (days + 3).rem_euclid(7),
        Unit::Month | Unit::Quarter | Unit::Year => {
            let (year, month) = year_and_month(days)?;
            let first = match unit {
                Unit::Month => month,
                Unit::Quarter => (month - 1) / 3 * 3 + 1,
                Unit::Year | Unit::Week | Unit::Day => 1,
            };
            days_before(year, first)?
        }
    };
    day.checked_mul(DAY_MICROSECONDS)
}

/// Civil from days (Howard Hinnant, chrono-Compatible Low-Level Date Algorithms).
fn year_and_month(days: i64) -> Option<(i64, i64)> {
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month))
}

/// Days from 1970 to the first of a month; the other way of the same source.
fn days_before(year: i64, month: i64) -> Option<i64> {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era.checked_mul(146_097)?.checked_add(of_era - 719_468)
}

/// `dp_viewer_mask(value)` with its mask bound. Not registered by default.
pub fn viewer_mask_udf(mask: ViewerMask) -> ScalarUDF {
    ScalarUDF::new_from_impl(Masking { signature: Signature::any(1, Volatility::Immutable), mask })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Masking {
    signature: Signature,
    mask: ViewerMask,
}

impl ScalarUDFImpl for Masking {
    fn name(&self) -> &str {
        VIEWER_MASK
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| datafusion::common::DataFusionError::Plan("a mask of nothing".to_owned()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?;
        match values.first() {
            Some(values) => self.mask.apply(values).map(ColumnarValue::Array),
            None => Err(datafusion::common::DataFusionError::Plan("a mask of nothing".to_owned())),
        }
    }
}

/// What the function is called in plans.
pub const VIEWER_MASK: &str = "dp_viewer_mask";

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int32Array};

    #[test]
    fn a_telephone_number_keeps_its_ends_and_a_short_one_nothing() {
        assert_eq!(partial("+49 151 2312", 3, 2), "+49 *** **12");
        assert_eq!(partial("anna.schmidt@example.com", 1, 4), "a***.*******@*******.com");
        // Three hidden letters could be tried.
        assert_eq!(partial("12345", 1, 1), "*****");
        assert_eq!(partial("123456", 1, 1), "1****6");
        assert_eq!(partial("", 3, 3), "");
        assert_eq!(partial("ä€öüßéñ", 1, 0), "ä€*****");
        assert_eq!(partial("anna", 4, 4), "****");
    }

    #[test]
    fn numbers_fall_into_bands_and_keep_their_type() {
        let band = ViewerMask::band(10.0).unwrap();
        let integers: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), Some(9), Some(-1), None, Some(123)]));
        let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(0), Some(0), Some(-10), None, Some(120)]));
        assert_eq!(&band.apply(&integers).unwrap(), &expected);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![12.5, -0.5, f64::INFINITY]));
        let expected: ArrayRef = Arc::new(Float64Array::from(vec![Some(10.0), Some(-10.0), None]));
        assert_eq!(&band.apply(&floats).unwrap(), &expected);
        assert!(ViewerMask::band(0.0).is_err() && ViewerMask::band(f64::NAN).is_err());
        let far: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]));
        assert_eq!(band.apply(&far).unwrap().null_count(), 1);
    }

    /// 2024-02-29 was a Thursday.
    #[test]
    fn days_fall_into_weeks_months_and_years() {
        let leap = 19_782;
        for (unit, begins) in
            [("day", 19_782), ("week", 19_779), ("month", 19_754), ("quarter", 19_723), ("year", 19_723)]
        {
            let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(leap), None]));
            let expected: ArrayRef = Arc::new(Date32Array::from(vec![Some(begins), None]));
            assert_eq!(&ViewerMask::calendar(unit).unwrap().apply(&days).unwrap(), &expected, "{unit}");
        }
        for days in (-1_000_000..1_000_000).step_by(997) {
            let month = begin(days * DAY_MICROSECONDS, Unit::Month).unwrap() / DAY_MICROSECONDS;
            assert!((0..31).contains(&(days - month)), "{days}");
            assert_eq!(year_and_month(days), year_and_month(month), "{days}");
        }
        assert!(ViewerMask::calendar("hour").is_err());
    }
}
