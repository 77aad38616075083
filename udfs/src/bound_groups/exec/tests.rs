//! Laws of the bound.
