//! Laws of the kept policies.
