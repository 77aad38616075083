//! Numbers as whole multiples of a power of two, which add exactly.

pub(super) const STATE_BYTES: usize = 24;

/// 2⁸⁰: the units of one.
const UNITS: f64 = (1_u128 << 80) as f64;
/// Bits of a mantissa, and how far it is shifted at most: below 2¹⁰⁷ units an i128 takes 2²⁰ values before it carries.
const MANTISSA_BITS: u32 = 52;
const LARGEST_SHIFT: i32 = 54;

/// 2²⁰: the coarse units of one. Hours in quarters are whole ones, and so is whatever else has few binary places.
const COARSE: f64 = (1_u64 << 20) as f64;
/// A coarse unit is 2⁶⁰ units.
const COARSE_SHIFT: u32 = 60;
/// Coarse numbers are below 2⁴⁷, as what has units is below 2²⁷: else a value would be aside or not by the other rows of its batch.
const ABOVE_COARSE: f64 = (1_u64 << 47) as f64;
/// Added to a number below 2⁵¹ it leaves no place for a fraction, and the number stands in the lowest bits.
const ROUNDING: f64 = 1.5 * (1_u64 << MANTISSA_BITS) as f64;

/// `low + high · 2¹²⁸` units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) low: i128,
    pub(super) high: i64,
}

impl Units {
    pub(super) fn add(&mut self, other: Units) {
        let (sum, carried) = self.low.overflowing_add(other.low);
        // Both have one sign where it carries.
        let carry = if carried { if other.low < 0 { -1 } else { 1 } } else { 0 };
        (self.low, self.high) = (sum, self.high.wrapping_add(other.high).wrapping_add(carry));
    }

    pub(super) fn value(self) -> f64 {
        (self.low as f64 + self.high as f64 * 2_f64.powi(128)) / UNITS
    }

    pub(super) fn bytes(self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        bytes[..16].copy_from_slice(&self.low.to_le_bytes());
        bytes[16..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (low, high) = bytes.split_at_checked(16)?;
        Some(Self { low: i128::from_le_bytes(low.try_into().ok()?), high: i64::from_le_bytes(high.try_into().ok()?) })
    }

    pub(super) fn of_coarse(coarse: i64) -> Self {
        Self { low: i128::from(coarse) << COARSE_SHIFT, high: 0 }
    }

    /// Nothing for what is no whole number of coarse units, or too large for an i64 of them.
    pub(super) fn coarse(self) -> Option<i64> {
        let coarse = i64::try_from(self.low >> COARSE_SHIFT).ok()?;
        (Self::of_coarse(coarse) == self).then_some(coarse)
    }
}

/// A number as whole units, by its bits: mantissa · 2^(exponent − 1075), and 2⁸⁰ units are one. Nothing for what is no whole number of
/// units, too large, infinite or not a number.
pub(super) fn units_of(value: f64) -> Option<i128> {
    let bits = value.to_bits();
    let exponent = (bits >> MANTISSA_BITS & 0x7ff) as i32;
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 {
        return (fraction == 0).then_some(0);
    }
    let mantissa = fraction | 1 << MANTISSA_BITS;
    let shift = exponent - 1075 + 80;
    let units = match shift {
        0..=LARGEST_SHIFT => i128::from(mantissa) << shift,
        _ if shift < 0 && mantissa.trailing_zeros() >= shift.unsigned_abs() => i128::from(mantissa >> -shift),
        _ => return None,
    };
    Some(if value.is_sign_negative() { -units } else { units })
}

/// The coarse units of a number that is a whole one of them, below 2⁴⁷; anything for others.
pub(super) fn coarse_of(value: f64) -> i64 {
    ((value * COARSE + ROUNDING).to_bits() as i64).wrapping_sub(ROUNDING.to_bits() as i64)
}

/// The largest number of coarse units that one of the values is, without its sign. Nothing where one is no whole number of them, or
/// not below 2⁴⁷.
pub(super) fn most_coarse(values: &[f64]) -> Option<u64> {
    // No branch: the loop is one over several values at once.
    let (mut whole, mut most) = (true, 0.0_f64);
    for value in values {
        let scaled = value * COARSE;
        whole &= (scaled + ROUNDING) - ROUNDING == scaled;
        most = if scaled.abs() > most { scaled.abs() } else { most };
    }
    (whole && most < ABOVE_COARSE).then_some(most as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_exact_or_nothing() {
        for value in
            [0.0, -0.0, 1.0, -0.1, 0.3, 134_217_727.999, -134_217_727.5, 2_f64.powi(-80), 3.0 * 2_f64.powi(-80)]
        {
            let units = units_of(value).unwrap();
            assert_eq!(units as f64 / UNITS, value);
        }
        for value in [2_f64.powi(27), -1e300, 2_f64.powi(-81), 5e-324, f64::NAN, f64::INFINITY, 1.5 * 2_f64.powi(-80)] {
            assert_eq!(units_of(value), None, "{value}");
        }
    }

    #[test]
    fn carries_are_kept() {
        let mut units = Units::default();
        let most = Units { low: i128::MAX, high: 0 };
        (0..1000).for_each(|_| units.add(most));
        (0..1000).for_each(|_| units.add(Units { low: -i128::MAX, high: 0 }));
        assert_eq!(units, Units::default());
        units.add(most);
        units.add(most);
        assert!((units.value() / (2_f64.powi(128) / UNITS) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_is_no_whole_coarse_number_is_none() {
        let coarse = 2_f64.powi(-20);
        for value in [
            coarse / 2.0,
            0.1,
            1.0 + f64::EPSILON,
            5e-324,
            134_217_728.0,
            -134_217_728.0,
            f64::NAN,
            f64::INFINITY,
            -1e300,
        ] {
            assert_eq!(most_coarse(&[1.0, value, 0.25]), None, "{value}");
        }
        assert_eq!(most_coarse(&[0.25, -0.5, -0.0]), Some(1 << 19));
        assert_eq!(most_coarse(&[]), Some(0));
        assert_eq!(Units { low: 0, high: 1 }.coarse(), None);
        assert_eq!(Units { low: 1, high: 0 }.coarse(), None);
        assert_eq!(Units { low: i128::MAX, high: 0 }.coarse(), None);
    }

    proptest! {
        #[test]
        fn coarse_numbers_are_their_units(coarse in 1 - (1_i64 << 47)..1 << 47) {
            let value = coarse as f64 / COARSE;
            prop_assert_eq!(most_coarse(&[value]), Some(coarse.unsigned_abs()));
            prop_assert_eq!(coarse_of(value), coarse);
            let units = Units::of_coarse(coarse);
            prop_assert_eq!(units.coarse(), Some(coarse));
            prop_assert_eq!(units.value().to_bits(), (value + 0.0).to_bits());
            prop_assert_eq!(units_of(value), Some(units.low));
        }
    }
}
