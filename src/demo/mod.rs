//! `paravent demo`: a company to try the server on.
//!
//! In: a data folder and an address. Out: a running server with a made-up company in it, set up by its administrator over
//! the wire as anybody would (`sql/demo.sql`), and one analyst's answer. It has no way into the server but the wire.

mod activity;
mod company;
mod files;
mod names;
mod run;
mod table;

pub use company::Size;
pub use files::ensure_company;
pub use run::{Demo, QUESTION};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Server(#[from] crate::error::Error),
    #[error("the demo's passwords are no secret: it listens on a loopback address only")]
    NotLoopback,
    #[error("{}", client_message(.0))]
    Client(#[from] tokio_postgres::Error),
    #[error("{0}")]
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

/// What the server said, where it said something; the client's own words are "db error".
fn client_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        None => error.to_string(),
        Some(said) => {
            [Some(said.message()), said.detail(), said.hint()].into_iter().flatten().collect::<Vec<_>>().join("; ")
        }
    }
}
