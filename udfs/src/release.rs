//! The release: the one place where unreleased values are read, noised, selected and masked.
//!
//! [`spec`](self) says what comes out, the logical node carries it through planning, the physical
//! node runs [`release`] once over all groups. Must never: emit a value that was not noised, or a
//! row below the floor.

mod estimate;
mod exec;
mod node;
mod run;
mod spec;

pub use exec::ReleaseExec;
pub use node::Release;
pub use run::release;
pub use spec::{CellFloor, Estimate, Measurement, Output, ReleaseSpec};

#[cfg(test)]
mod tests;
