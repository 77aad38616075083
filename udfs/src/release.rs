//! The release: the one place where unreleased values are read, noised and selected; and what is made of it afterwards.
//!
//! Two steps. [`release`] turns exact groups into *measured rows*: keys, noised numbers, and whether parts of a group are persons
//! enough. [`estimates`] turns measured rows into values, standard errors, intervals and masks; it is post-processing, so measured
//! rows that are kept answer every question that needs no other measurement at no cost. The logical node carries the spec through
//! planning, the physical node runs [`release`] once over all groups. Must never: emit a value that was not noised, or a row below
//! the floor.

mod estimate;
mod estimates;
mod exec;
mod measured;
mod node;
mod output;
mod run;
mod spec;

pub use estimate::Moment;
pub use estimates::estimates;
pub use exec::ReleaseExec;
pub use node::Release;
pub use output::{Estimate, Output, Scaled};
pub use run::release;
pub use spec::{CellFloor, MERGED, Measurement, ReleaseSpec, What};

#[cfg(test)]
mod tests;
