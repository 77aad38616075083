//! Laws of the total functions.
