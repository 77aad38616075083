//! Laws of the policies.
