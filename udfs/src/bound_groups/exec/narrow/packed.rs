//! Numbers in as few bits as the largest of them needs, one after the other.
//!
//! In: numbers, and what none is above. Out: each number by its place. Where all are 0 they take nothing.

pub(super) struct Packed {
    bits: usize,
    count: usize,
    /// One word more than the numbers need, so that those across a border are read like the others.
    words: Vec<u64>,
}

impl Packed {
    /// None of `numbers` is above `most`.
    pub(super) fn new(numbers: impl ExactSizeIterator<Item = u64>, most: u64) -> Self {
        let (bits, count) = (u64::BITS - most.leading_zeros(), numbers.len());
        if bits == 0 {
            return Self { bits: 0, count, words: vec![0; 2] };
        }
        let mut words = Vec::with_capacity((count * bits as usize).div_ceil(u64::BITS as usize) + 2);
        let (mut word, mut filled) = (0, 0);
        for number in numbers {
            debug_assert!(number <= most);
            word |= number << filled;
            filled += bits;
            if filled >= u64::BITS {
                words.push(word);
                filled -= u64::BITS;
                // What did not fit; all of it did where nothing is filled.
                word = if filled == 0 { 0 } else { number >> (bits - filled) };
            }
        }
        words.extend([word, 0]);
        Self { bits: bits as usize, count, words }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The numbers at `places`.
    pub(super) fn at<'a>(&'a self, places: &'a [u32]) -> impl ExactSizeIterator<Item = u64> + 'a {
        let (mask, words) = (self.mask(), &self.words[..]);
        places.iter().map(move |place| {
            let bit = *place as usize * self.bits;
            let (word, shift) = (bit / 64, bit % 64);
            (words[word] >> shift | words[word + 1] << 1 << (63 - shift)) & mask
        })
    }

    /// All numbers.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        let (mask, mut word, mut shift) = (self.mask(), 0, 0);
        (0..self.count).map(move |_| {
            let number = (self.words[word] >> shift | self.words[word + 1] << 1 << (63 - shift)) & mask;
            shift += self.bits;
            (word, shift) = (word + shift / 64, shift % 64);
            number
        })
    }

    fn mask(&self) -> u64 {
        match self.bits {
            0 => 0,
            bits => u64::MAX >> (u64::BITS as usize - bits),
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the width, also of all 64 bits, and of none.
        #[test]
        fn what_comes_out_is_what_went_in(
            numbers in prop::collection::vec(any::<u64>(), 0..300),
            bits in 0..=64_u32,
            places in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let numbers: Vec<u64> = numbers.iter().map(|number| number.checked_shr(64 - bits).unwrap_or(0)).collect();
            let most = numbers.iter().copied().max().unwrap_or(0);
            let packed = Packed::new(numbers.iter().copied(), most);
            prop_assert_eq!(packed.all().collect::<Vec<_>>(), numbers.clone());
            prop_assert!(packed.size() <= numbers.len() * bits as usize / 8 + 24);
            let places: Vec<u32> = match numbers.len() {
                0 => Vec::new(),
                count => places.iter().map(|place| place.index(count) as u32).collect(),
            };
            let found: Vec<u64> = packed.at(&places).collect();
            prop_assert_eq!(found, places.iter().map(|place| numbers[*place as usize]).collect::<Vec<_>>());
        }
    }
}
