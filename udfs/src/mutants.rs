//! Defects on purpose, one at a time, below everything that proves plans: for the test that the audit would notice them.
//!
//! In: the environment variable `PARAVENT_MUTANT`, read once. Out: whether this process has that defect. Exists only with the
//! feature `mutants`, which cannot be built without debug assertions. Must never: be reachable in a server that serves.

#[cfg(not(debug_assertions))]
compile_error!("the feature `mutants` breaks every promise on purpose: it is for tests, never for a release build");

use std::sync::OnceLock;

/// A way to break the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Noise of half the standard deviation.
    HalfNoise,
    /// Values beyond their bounds count in full.
    NoClamp,
    /// A person counts once for each of their rows.
    RowsAsPersons,
    /// Every group of a release gets the same noise.
    SharedNoise,
    /// The exact number of persons decides whether a group is shown.
    ExactThreshold,
    /// A person reaches as many groups as they like.
    UnboundedGroups,
}

impl Mutant {
    pub const ALL: [Self; 6] = [
        Self::HalfNoise,
        Self::NoClamp,
        Self::RowsAsPersons,
        Self::SharedNoise,
        Self::ExactThreshold,
        Self::UnboundedGroups,
    ];

    /// As `PARAVENT_MUTANT` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HalfNoise => "half_noise",
            Self::NoClamp => "no_clamp",
            Self::RowsAsPersons => "rows_as_persons",
            Self::SharedNoise => "shared_noise",
            Self::ExactThreshold => "exact_threshold",
            Self::UnboundedGroups => "unbounded_groups",
        }
    }

    /// Is this the defect of this process?
    pub(crate) fn lives(self) -> bool {
        static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();
        let chosen =
            || std::env::var("PARAVENT_MUTANT").ok().and_then(|name| Self::ALL.into_iter().find(|m| m.name() == name));
        *CHOSEN.get_or_init(chosen) == Some(self)
    }
}
