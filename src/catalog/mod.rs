//! Tables, roles and settings, kept in the state file.

pub mod files;
pub mod system;
