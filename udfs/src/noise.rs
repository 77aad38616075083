//! Noise: where randomness comes from, and the two distributions that releases draw from.
//!
//! In: a [`Noise`] handed in by `main`; a sensitivity and a price. Out: exact integer samples. Must
//! never: derive randomness from a query, a user or data; use a float in a sampler; round a scale
//! down.

mod gaussian;
mod laplace;
mod mechanism;
mod uniform;

pub use gaussian::Gaussian;
pub use laplace::DiscreteLaplace;
pub use mechanism::{AdditiveNoise, Mechanism, Sensitivity};

use rand::rngs::{ChaCha20Rng, SysRng};
use rand::{Rng, SeedableRng};
use std::fmt;

/// The operating system gave no entropy; nothing can be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no entropy")]
pub struct NoEntropy;

impl From<NoEntropy> for datafusion::error::DataFusionError {
    fn from(error: NoEntropy) -> Self {
        Self::Execution(error.to_string())
    }
}

/// A source of randomness. Cheap to clone; every use asks for a [`NoiseStream`] of its own.
#[derive(Clone)]
pub struct Noise {
    source: Source,
}

#[derive(Clone)]
enum Source {
    OperatingSystem,
    #[cfg(debug_assertions)]
    Seeded(std::sync::Arc<std::sync::Mutex<ChaCha20Rng>>),
    #[cfg(debug_assertions)]
    Zero,
}

/// The random bits of one release or one contribution bound: ChaCha20 under a fresh key.
pub struct NoiseStream {
    bits: ChaCha20Rng,
    /// The one sample of each distribution that all groups get.
    #[cfg(feature = "mutants")]
    shared: std::collections::HashMap<AdditiveNoise, i128>,
    #[cfg(debug_assertions)]
    silent: bool,
}

impl Noise {
    /// Each stream is keyed afresh with 256 bits of operating-system entropy.
    pub fn from_os() -> Self {
        Self { source: Source::OperatingSystem }
    }

    /// Repeatable streams, for tests. Does not exist in a release build.
    #[cfg(debug_assertions)]
    pub fn seeded(seed: u64) -> Self {
        let bits = ChaCha20Rng::seed_from_u64(seed);
        Self { source: Source::Seeded(std::sync::Arc::new(std::sync::Mutex::new(bits))) }
    }

    /// Samples that are all zero (choices remain random), for tests. Does not exist in a release
    /// build.
    #[cfg(debug_assertions)]
    pub fn zero() -> Self {
        Self { source: Source::Zero }
    }

    /// A stream that shares no state with any other.
    pub fn stream(&self) -> Result<NoiseStream, NoEntropy> {
        match &self.source {
            Source::OperatingSystem => {
                Ok(NoiseStream::new(ChaCha20Rng::try_from_rng(&mut SysRng).map_err(|_| NoEntropy)?))
            }
            #[cfg(debug_assertions)]
            Source::Seeded(parent) => {
                let mut parent = parent.lock().map_err(|_| NoEntropy)?;
                Ok(NoiseStream::new(ChaCha20Rng::from_rng(&mut *parent)))
            }
            #[cfg(debug_assertions)]
            Source::Zero => Ok(NoiseStream { silent: true, ..NoiseStream::new(ChaCha20Rng::seed_from_u64(0)) }),
        }
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noise")
    }
}

impl NoiseStream {
    fn new(bits: ChaCha20Rng) -> Self {
        Self {
            bits,
            #[cfg(feature = "mutants")]
            shared: std::collections::HashMap::new(),
            #[cfg(debug_assertions)]
            silent: false,
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.bits.next_u64()
    }

    /// Whether samplers answer zero. Constantly false in a release build.
    fn is_silent(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.silent;
        #[cfg(not(debug_assertions))]
        false
    }
}

impl fmt::Debug for NoiseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseStream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_hide_their_state() {
        let noise = Noise::from_os();
        let (mut a, mut b) = (noise.stream().unwrap(), noise.stream().unwrap());
        assert_ne!(a.next_u64(), b.next_u64());
        assert_eq!(format!("{noise:?} {a:?}"), "Noise NoiseStream");
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_seed_repeats_and_zero_is_silent() {
        let first = |noise: &Noise| noise.stream().unwrap().next_u64();
        assert_eq!(first(&Noise::seeded(7)), first(&Noise::seeded(7)));
        let shared = Noise::seeded(7);
        assert_ne!(first(&shared), first(&shared.clone()));
        let gaussian = Gaussian::with_variance(1 << 20, 1).unwrap();
        let mut silent = Noise::zero().stream().unwrap();
        assert!((0..100).all(|_| gaussian.sample(&mut silent) == 0));
    }
}
