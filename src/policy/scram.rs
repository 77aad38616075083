//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677) in the form that Postgres stores.

use serde::{Deserialize, Serialize};

/// Salt, iteration count, StoredKey and ServerKey. The password is never kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}
