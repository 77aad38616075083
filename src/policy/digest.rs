//! Persons' keys as digests: what is kept where a person must be known again and must not be named.
//!
//! In: a secret of the installation and a person key. Out: 15 letters and digits, the same for the same person and use.
//! Must never: give two uses the same digest for one person, or be computable without the secret.

use paravent_udfs::{PseudonymKey, pseudonym};

use super::Person;
use crate::error::{Error, Result};

/// What a digest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestOf {
    /// A person who was taken out.
    Excluded,
    /// The person whom a login belongs to.
    Login,
    /// The person whose rows are shown to serve their own request.
    Subject,
}

#[derive(Debug, Clone)]
pub struct Digester(PseudonymKey);

impl Digester {
    pub fn new(secret: [u8; 32]) -> Result<Self> {
        PseudonymKey::from_slice(&secret).map(Self).map_err(|_| Error::internal())
    }

    pub fn digest(&self, of: DigestOf, person: Person) -> String {
        let family = match of {
            DigestOf::Excluded => "excluded person",
            DigestOf::Login => "person of a login",
            DigestOf::Subject => "person of a rights request",
        };
        pseudonym(&self.0, family, &person.to_text())
    }
}
