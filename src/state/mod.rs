//! The one SQLite file behind roles, policies, ledger and log.
