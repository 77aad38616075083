//! Cancelling a statement from another connection.
//!
//! In: the process number and secret of a CancelRequest. Out: the statement that runs on that connection, if any, ends with
//! 57014. A wrong secret, an unknown number and an idle connection look alike from outside: nothing happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;

use super::errors::{Failure, Flow};
use crate::error::Error;
use crate::session::Backend;

/// The connections of one listener.
#[derive(Clone, Default)]
pub(super) struct Cancels {
    connections: Arc<Mutex<HashMap<i32, Target>>>,
}

struct Target {
    secret: Bytes,
    backend: Arc<Backend>,
}

/// One connection's place among the [`Cancels`]; leaves it when dropped.
pub(super) struct CancelKey {
    cancels: Cancels,
    pub pid: i32,
    pub secret: Bytes,
}

impl Cancels {
    /// `secret_bytes`: 4 in protocol 3.0, more from 3.2 on.
    pub fn register(&self, backend: &Arc<Backend>, secret_bytes: usize) -> Flow<CancelKey> {
        let mut secret = vec![0; secret_bytes];
        SysRng.try_fill_bytes(&mut secret).map_err(|_| Failure::Fatal(Error::internal()))?;
        let secret = Bytes::from(secret);
        let target = Target { secret: secret.clone(), backend: backend.clone() };
        let pid = backend.pid();
        self.lock().insert(pid, target);
        Ok(CancelKey { cancels: self.clone(), pid, secret })
    }

    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        if let Some(target) = self.lock().get(&pid)
            && same(&target.secret, secret)
        {
            target.backend.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Target>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.cancels.lock().remove(&self.pid);
    }
}

/// Takes as long for a good guess as for a bad one.
fn same(secret: &[u8], guess: &[u8]) -> bool {
    secret.len() == guess.len() && secret.iter().zip(guess).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    /// That only the right one cancels is seen over the wire (`tests/wire_session.rs`).
    #[test]
    fn a_secret_is_the_same_in_every_byte() {
        assert!(same(b"abcd", b"abcd"));
        for wrong in [&b""[..], b"abc", b"abcde", b"abce", b"bbcd"] {
            assert!(!same(b"abcd", wrong));
        }
    }
}
