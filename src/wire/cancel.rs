//! Cancelling a statement from another connection.
//!
//! In: the process number and secret of a CancelRequest. Out: the statement that runs on that connection, if any, ends with
//! 57014. A wrong secret, an unknown number and an idle connection look alike from outside: nothing happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio_util::sync::CancellationToken;

use super::errors::{Failure, Flow};
use crate::error::Error;

/// The connections of one listener.
#[derive(Clone, Default)]
pub(super) struct Cancels {
    connections: Arc<Mutex<HashMap<i32, Target>>>,
}

struct Target {
    secret: Bytes,
    /// The statement that runs now.
    statement: Option<CancellationToken>,
}

/// One connection's place among the [`Cancels`]; leaves it when dropped.
pub(super) struct CancelKey {
    cancels: Cancels,
    pub pid: i32,
    pub secret: Bytes,
}

/// While this lives the statement can be cancelled.
pub(super) struct Running {
    cancels: Cancels,
    pid: i32,
    pub token: CancellationToken,
}

impl Cancels {
    /// `secret_bytes`: 4 in protocol 3.0, more from 3.2 on.
    pub fn register(&self, secret_bytes: usize) -> Flow<CancelKey> {
        let mut secret = vec![0; secret_bytes];
        random(&mut secret)?;
        let secret = Bytes::from(secret);
        let mut connections = self.lock();
        let pid = loop {
            let mut bytes = [0; 4];
            random(&mut bytes)?;
            let pid = i32::from_be_bytes(bytes) & i32::MAX;
            if pid != 0 && !connections.contains_key(&pid) {
                break pid;
            }
        };
        let target = Target { secret: secret.clone(), statement: None };
        connections.insert(pid, target);
        Ok(CancelKey { cancels: self.clone(), pid, secret })
    }

    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        if let Some(target) = self.lock().get(&pid)
            && same(&target.secret, secret)
            && let Some(statement) = &target.statement
        {
            statement.cancel();
        }
    }

    fn set(&self, pid: i32, statement: Option<CancellationToken>) {
        if let Some(target) = self.lock().get_mut(&pid) {
            target.statement = statement;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Target>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelKey {
    /// `shutdown` ends the statement, too.
    pub fn begin(&self, shutdown: &CancellationToken) -> Running {
        let token = shutdown.child_token();
        self.cancels.set(self.pid, Some(token.clone()));
        Running { cancels: self.cancels.clone(), pid: self.pid, token }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancels.set(self.pid, None);
    }
}

impl Drop for CancelKey {
    fn drop(&mut self) {
        self.cancels.lock().remove(&self.pid);
    }
}

fn random(bytes: &mut [u8]) -> Flow {
    SysRng.try_fill_bytes(bytes).map_err(|_| Failure::Fatal(Error::internal()))
}

/// Takes as long for a good guess as for a bad one.
fn same(secret: &[u8], guess: &[u8]) -> bool {
    secret.len() == guess.len() && secret.iter().zip(guess).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_reaches_the_statement_that_runs() {
        let cancels = Cancels::default();
        let key = cancels.register(4).unwrap();
        let shutdown = CancellationToken::new();
        cancels.cancel(key.pid, &key.secret);

        let running = key.begin(&shutdown);
        cancels.cancel(key.pid, b"");
        let mut wrong = key.secret.to_vec();
        wrong[3] ^= 1;
        cancels.cancel(key.pid, &wrong);
        assert!(!running.token.is_cancelled());
        cancels.cancel(key.pid, &key.secret);
        assert!(running.token.is_cancelled());
        drop(running);

        assert!(!key.begin(&shutdown).token.is_cancelled());
        drop(key);
        assert!(cancels.lock().is_empty());
    }
}
