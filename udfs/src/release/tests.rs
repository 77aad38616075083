//! Laws of the release.
