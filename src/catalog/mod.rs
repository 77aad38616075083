//! Tables, roles and settings, kept in the state file.
