//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677) in the form that Postgres stores.
//!
//! In: a password, once. Out: salt and derived keys. The password itself is never kept, shown or logged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, SqlState};

/// As Postgres's default for `scram_iterations`.
const ITERATIONS: u32 = 4096;
const SALT_BYTES: usize = 16;
const PREFIX: &str = "SCRAM-SHA-256$";

/// Salt, iteration count, StoredKey and ServerKey. The password is never kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl Verifier {
    /// Derives the keys under a fresh salt from the operating system.
    ///
    /// Clients normalise a password with SASLprep before they hash it. Printable ASCII is its own normal form; any other
    /// password is refused, since a client could then hash something else than this server did.
    pub fn from_password(password: &str) -> Result<Self> {
        if password.is_empty() {
            return Err(refuse_password("a password must not be empty"));
        }
        if !password.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(refuse_password("a password must consist of printable ASCII characters"));
        }
        let mut salt = vec![0; SALT_BYTES];
        SysRng.try_fill_bytes(&mut salt).map_err(|_| Error::internal())?;
        Ok(Self::derive(password, salt, ITERATIONS))
    }

    /// What `PASSWORD '…'` says: a password, or a verifier that the client made, as Postgres accepts both.
    pub fn from_password_clause(text: &str) -> Result<Self> {
        let md5 = text
            .strip_prefix("md5")
            .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        if md5 {
            return Err(refuse_password("md5 passwords are not supported")
                .hint("give the password itself, or a SCRAM-SHA-256 verifier"));
        }
        match Self::parse(text) {
            Some(verifier) => Ok(verifier),
            None => Self::from_password(text),
        }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; `None` when the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations: u32 = iterations.parse().ok().filter(|count| *count > 0)?;
        let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self {
            salt,
            iterations,
            stored_key: BASE64.decode(stored_key).ok()?.try_into().ok()?,
            server_key: BASE64.decode(server_key).ok()?.try_into().ok()?,
        })
    }

    /// The text that `parse` reads and Postgres keeps in `pg_authid`.
    pub fn format(&self) -> String {
        format!(
            "{PREFIX}{}:{}${}:{}",
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key),
        )
    }

    /// The verifier of a user that does not exist: always the same for one user and server, and matched by no password that
    /// anyone could find, so that an unknown user and a wrong password look alike.
    pub fn mock(secret: &[u8; 32], user: &str) -> Self {
        let part = |label: &[u8]| hmac(secret, &[label, user.as_bytes()]);
        Self {
            salt: part(b"salt:")[..SALT_BYTES].to_vec(),
            iterations: ITERATIONS,
            stored_key: part(b"stored key:"),
            server_key: part(b"server key:"),
        }
    }

    fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let salted = salted_password(password.as_bytes(), &salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        Self {
            salt,
            iterations,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, &[b"Server Key"]),
        }
    }

    #[cfg(test)]
    fn matches(&self, password: &str) -> bool {
        *self == Self::derive(password, self.salt.clone(), self.iterations)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

fn refuse_password(message: &str) -> Error {
    Error::new(SqlState::InvalidParameterValue, message)
}

/// `Hi` of RFC 5802: PBKDF2 with HMAC-SHA-256, one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut block = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password, &[&block]);
        for (byte, next) in salted.iter_mut().zip(block) {
            *byte ^= next;
        }
    }
    salted
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is valid for HMAC: longer ones are hashed, shorter ones padded (RFC 2104).
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::<Sha256>::new(&Default::default()),
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user "user", password "pencil".
    #[test]
    fn the_example_of_rfc_7677_verifies() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", salt, 4096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&verifier.server_key, &[auth_message.as_bytes()]);
        assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = BASE64.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_signature = hmac(&verifier.stored_key, &[auth_message.as_bytes()]);
        let client_key: Vec<u8> = proof.iter().zip(client_signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(client_key)), verifier.stored_key);
    }

    #[test]
    fn the_text_form_round_trips_and_is_accepted_as_a_password() {
        let verifier = Verifier::from_password("correct horse").unwrap();
        let text = verifier.format();
        assert!(text.starts_with("SCRAM-SHA-256$4096:"));
        assert_eq!(Verifier::parse(&text), Some(verifier.clone()));
        assert_eq!(Verifier::from_password_clause(&text).unwrap(), verifier);
        assert!(verifier.matches("correct horse"));
        assert!(!verifier.matches("correct horsf"));
        assert!(!format!("{verifier:?}").contains("SCRAM"));
    }

    #[test]
    fn two_verifiers_of_one_password_differ() {
        let one = Verifier::from_password("same").unwrap();
        let other = Verifier::from_password("same").unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn unusable_passwords_are_refused() {
        for password in ["", "naïve", "tab\there", "md5d41d8cd98f00b204e9800998ecf8427e"] {
            let refusal = Verifier::from_password_clause(password).unwrap_err();
            assert_eq!(refusal.sqlstate, SqlState::InvalidParameterValue);
            assert!(password.is_empty() || !refusal.message.contains(password));
        }
        assert_eq!(Verifier::parse("SCRAM-SHA-256$0:AAAA$AAAA:AAAA"), None);
        assert_eq!(Verifier::parse("SCRAM-SHA-256$4096:AAAA$AAAA:AAAA"), None);
    }

    #[test]
    fn a_mock_is_steady_and_looks_like_the_real_thing() {
        let mock = Verifier::mock(&[7; 32], "nobody");
        assert_eq!(mock, Verifier::mock(&[7; 32], "nobody"));
        assert_ne!(mock, Verifier::mock(&[8; 32], "nobody"));
        assert_ne!(mock.salt, Verifier::mock(&[7; 32], "somebody").salt);
        let real = Verifier::from_password("x").unwrap();
        assert_eq!(mock.salt.len(), real.salt.len());
        assert_eq!(mock.iterations, real.iterations);
    }
}
