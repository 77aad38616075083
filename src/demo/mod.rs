//! `paravent demo`: a company to try the server on.
//!
//! In: a data folder and an address. Out: a running server with a made-up company in it, set up by its administrator over
//! the wire as anybody would (`sql/demo.sql`), and one analyst's answer. It has no way into the server but the wire.

mod activity;
mod company;
mod files;
mod names;

pub use company::Size;
pub use files::ensure_company;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Server(#[from] crate::error::Error),
    #[error("cannot write the demo's data: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot write the demo's data: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("cannot write the demo's data: {0}")]
    Parquet(#[from] datafusion::parquet::errors::ParquetError),
    #[error("impossible shape of a distribution: {0}")]
    Gamma(#[from] rand_distr::GammaError),
    #[error("impossible shape of a distribution: {0}")]
    Normal(#[from] rand_distr::NormalError),
    #[error("impossible shape of a distribution: {0}")]
    Poisson(#[from] rand_distr::PoissonError),
    #[error("impossible shape of a distribution: {0}")]
    Weights(#[from] rand_distr::weighted::Error),
}
