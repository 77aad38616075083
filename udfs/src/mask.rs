//! The mask band: no released share lies outside [low, high].
//!
//! In: noised values only. Out: the value, or the band's edge, or nothing when the band holds no
//! value of the type. Must never: see an exact value. **Sensitivity, Noise, Cost** none: masking is
//! post-processing of a release. **Source** the product's promise (design, section 1): no statement
//! that almost everyone or almost no one fits a profile.

use std::hash::{Hash, Hasher};

/// What an output's share is a share of, and the band it must stay within.
#[derive(Debug, Clone)]
pub struct Mask {
    pub low: f64,
    pub high: f64,
    pub base: Base,
}

/// The whole that a masked value is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Base {
    /// The value is itself a share.
    Itself,
    /// A measurement: the noised count of the group without the profile.
    Measurement(usize),
    /// A measurement, summed over all released rows that agree in these key columns.
    Partition { keys: Vec<usize>, measurement: usize },
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        self.low.to_bits() == other.low.to_bits()
            && self.high.to_bits() == other.high.to_bits()
            && self.base == other.base
    }
}

impl Eq for Mask {}

impl Hash for Mask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.low.to_bits().hash(state);
        self.high.to_bits().hash(state);
        self.base.hash(state);
    }
}

/// What the mask made of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Masked {
    /// Within the band: as it was.
    Kept,
    /// Outside: this edge of the band in its place.
    Edge(f64),
    /// The band holds no value here (its base is not above zero, or no integer lies within).
    Nothing,
}

impl Mask {
    /// Holds `value` within the band around `base` (1 for a share). An integer's edge is rounded
    /// into the band.
    pub fn apply(&self, value: f64, base: f64, integer: bool) -> Masked {
        let (mut low, mut high) = (self.low * base, self.high * base);
        if integer {
            (low, high) = (low.ceil(), high.floor());
        }
        // Written so that a NaN anywhere leaves nothing.
        if !(base > 0.0 && low <= high && !value.is_nan()) {
            Masked::Nothing
        } else if value < low {
            Masked::Edge(low)
        } else if value > high {
            Masked::Edge(high)
        } else {
            Masked::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_within_the_band() {
        let mask = Mask { low: 0.05, high: 0.95, base: Base::Itself };
        assert_eq!(mask.apply(0.5, 1.0, false), Masked::Kept);
        assert_eq!(mask.apply(0.99, 1.0, false), Masked::Edge(0.95));
        assert_eq!(mask.apply(0.0, 1.0, false), Masked::Edge(0.05));
        assert_eq!(mask.apply(f64::NAN, 1.0, false), Masked::Nothing);
        assert_eq!(mask.apply(100.0, 101.0, true), Masked::Edge(95.0));
        assert_eq!(mask.apply(1.0, 101.0, true), Masked::Edge(6.0));
        assert_eq!(mask.apply(1.0, 1.0, true), Masked::Nothing);
        assert_eq!(mask.apply(3.0, -4.0, true), Masked::Nothing);
    }
}
