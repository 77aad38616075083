//! Differentially private aggregates, release, masks and pseudonyms for Apache DataFusion.
mod accounting;
mod noise;
pub use accounting::{Delta, Epsilon, InvalidParameter, Rho, epsilon_of, rho_of};
pub use noise::{DiscreteLaplace, Gaussian, NoEntropy, Noise, NoiseStream};
