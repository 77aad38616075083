//! Who is connected and what runs: one place for limits, for cancelling, and for those who look on.
//!
//! In: logins that have proved themselves, and their statements as they begin and end. Out: a [`Seat`] for as many sessions as there may
//! be, and what each of them does now. Must never: hold a statement longer than its session lives, or more of its text than a line or two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio_util::sync::CancellationToken;

use super::{Client, Server, TransactionState, no_login};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Capability, RoleName, Settings};
use crate::release::{Progress, Stage};

/// What is shown of a statement (Postgres's `track_activity_query_size`).
const SHOWN_BYTES: usize = 1024;

/// The sessions of one server.
#[derive(Default)]
pub(super) struct Activities {
    backends: Mutex<BTreeMap<i32, Arc<Backend>>>,
}

/// One session, as others see it.
pub struct Backend {
    pid: i32,
    role: RoleName,
    /// As in [`super::Session`].
    role_created: u64,
    address: SocketAddr,
    /// Microseconds since 1970.
    began: i64,
    /// The session ends, and its statement before it.
    ended: CancellationToken,
    pub(super) progress: Arc<Progress>,
    now: Mutex<Now>,
}

/// Moments are microseconds since 1970.
#[derive(Clone)]
pub(super) struct Now {
    pub application_name: String,
    /// What runs, or ran last.
    pub statement: String,
    pub statement_began: Option<i64>,
    pub transaction: TransactionState,
    pub transaction_began: Option<i64>,
    pub state_changed: i64,
    /// Ends the statement that runs.
    running: Option<CancellationToken>,
}

/// A session's place among those there may be; given back when dropped.
pub(super) struct Seat {
    activities: Arc<Activities>,
    backend: Arc<Backend>,
}

/// While this lives a statement runs, and can be cancelled.
pub struct Running {
    backend: Arc<Backend>,
    pub token: CancellationToken,
}

impl Server {
    /// A place for a session of `client`. `stop` ends it from outside. Errors: 28000, 53300.
    pub(super) fn seat(&self, client: &Client, stop: CancellationToken) -> Result<Seat> {
        let policies = self.catalog.policies();
        let role = policies.roles.get(&client.user).ok_or_else(|| no_login(&client.user))?;
        let principal = policies.login(&client.user, role.created, Utc::now().timestamp());
        let principal = principal.ok_or_else(|| no_login(&client.user))?;
        let backend = Backend {
            pid: 0,
            role: client.user.clone(),
            role_created: role.created,
            address: client.address,
            began: Utc::now().timestamp_micros(),
            ended: stop,
            progress: Arc::default(),
            now: Mutex::new(Now::new(client.application_name.clone())),
        };
        let administers = principal.can(Capability::ManageRoles);
        self.activities.enter(backend, &policies.settings, role.connection_limit, administers)
    }
}

impl Activities {
    fn enter(
        self: &Arc<Self>,
        backend: Backend,
        settings: &Settings,
        role_limit: Option<u32>,
        administers: bool,
    ) -> Result<Seat> {
        let mut backends = self.lock();
        let here = backends.len() as u64;
        if here >= settings.max_connections {
            return Err(too_many("sorry, too many clients already", "max_connections"));
        }
        if !administers && here.saturating_add(settings.reserved_connections) >= settings.max_connections {
            return Err(too_many(
                "remaining connection slots are reserved for roles that manage roles",
                "max_connections and superuser_reserved_connections",
            ));
        }
        let same = |other: &&Arc<Backend>| other.role == backend.role;
        if role_limit.is_some_and(|limit| backends.values().filter(same).count() as u64 >= u64::from(limit)) {
            return Err(too_many(format!("too many connections for role \"{}\"", backend.role), "CONNECTION LIMIT"));
        }
        let pid = loop {
            let mut bytes = [0; 4];
            SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::internal())?;
            let pid = i32::from_be_bytes(bytes) & i32::MAX;
            if pid != 0 && !backends.contains_key(&pid) {
                break pid;
            }
        };
        let backend = Arc::new(Backend { pid, ..backend });
        backends.insert(pid, backend.clone());
        Ok(Seat { activities: self.clone(), backend })
    }

    pub fn all(&self) -> Vec<Arc<Backend>> {
        self.lock().values().cloned().collect()
    }

    pub fn find(&self, pid: i32) -> Option<Arc<Backend>> {
        self.lock().get(&pid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Backend>>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(message: impl Into<String>, limit: &str) -> Error {
    Error::new(SqlState::TooManyConnections, message)
        .detail(format!("an administrator set {limit}"))
        .hint("end sessions that nobody uses; idle_session_timeout does so by itself")
}

impl Seat {
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.activities.lock().remove(&self.backend.pid);
    }
}

impl Backend {
    /// What `pg_backend_pid()` says and a CancelRequest names: no process, and not to be guessed.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Fires when the session is to end.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// A statement begins: what was asked is known a little later.
    pub fn begin(self: &Arc<Self>) -> Running {
        let token = self.ended.child_token();
        self.progress.enter(Stage::Compile);
        self.lock().running = Some(token.clone());
        Running { backend: self.clone(), token }
    }

    /// Ends the statement that runs, if there is one.
    pub fn cancel(&self) {
        if let Some(running) = &self.lock().running {
            running.cancel();
        }
    }

    pub(super) fn terminate(&self) {
        self.ended.cancel();
    }

    pub(super) fn role(&self) -> &str {
        &self.role
    }

    pub(super) fn role_created(&self) -> u64 {
        self.role_created
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn began(&self) -> i64 {
        self.began
    }

    /// What it does now, and whether something runs.
    pub(super) fn now(&self) -> (Now, bool) {
        let now = self.lock();
        (now.clone(), now.running.is_some())
    }

    /// `statement` without secrets.
    pub(super) fn asks(&self, statement: &str, application_name: String) {
        let mut now = self.lock();
        let moment = Utc::now().timestamp_micros();
        now.statement.clear();
        now.statement.push_str(&statement[..statement.floor_char_boundary(SHOWN_BYTES)]);
        now.application_name = application_name;
        now.statement_began = Some(moment);
        now.state_changed = moment;
    }

    pub(super) fn is_in(&self, transaction: TransactionState, since: Option<i64>) {
        let mut now = self.lock();
        now.transaction = transaction;
        now.transaction_began = since;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// The answer is there: the client takes it.
    pub fn sends(&self) {
        self.backend.progress.enter(Stage::Sending);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut now = self.backend.lock();
        now.running = None;
        now.state_changed = Utc::now().timestamp_micros();
    }
}

impl Now {
    fn new(application_name: String) -> Self {
        Self {
            application_name,
            statement: String::new(),
            statement_began: None,
            transaction: TransactionState::Idle,
            transaction_began: None,
            state_changed: Utc::now().timestamp_micros(),
            running: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(role: &str) -> Backend {
        Backend {
            pid: 0,
            role: role.to_owned(),
            role_created: 0,
            address: ([127, 0, 0, 1], 1).into(),
            began: 0,
            ended: CancellationToken::new(),
            progress: Arc::default(),
            now: Mutex::new(Now::new(String::new())),
        }
    }

    #[test]
    fn as_many_as_there_may_be_and_the_last_for_those_who_administer() {
        let activities = Arc::new(Activities::default());
        let settings = Settings { max_connections: 4, reserved_connections: 1, ..Settings::default() };
        let enter = |role, limit, administers| activities.enter(backend(role), &settings, limit, administers);
        let first = enter("a", Some(1), false).unwrap();
        let refused = enter("a", Some(1), false).err().unwrap();
        assert_eq!(refused.message, "too many connections for role \"a\"");
        let _others = [enter("b", None, false).unwrap(), enter("b", None, false).unwrap()];
        let refused = enter("c", None, false).err().unwrap();
        assert!(refused.message.contains("reserved"), "{refused}");
        let _admin = enter("c", None, true).unwrap();
        let refused = enter("c", None, true).err().unwrap();
        assert_eq!(
            (refused.sqlstate, refused.message.as_str()),
            (SqlState::TooManyConnections, "sorry, too many clients already")
        );
        drop(first);
        enter("c", None, true).unwrap();
    }

    #[test]
    fn a_signal_reaches_what_runs_and_nothing_else() {
        let seat = Arc::new(Activities::default()).enter(backend("a"), &Settings::default(), None, false).unwrap();
        let backend = seat.backend();
        backend.cancel();
        let running = backend.begin();
        assert!(!running.token.is_cancelled());
        backend.cancel();
        assert!(running.token.is_cancelled());
        drop(running);
        let next = backend.begin();
        assert!(!next.token.is_cancelled());
        backend.terminate();
        assert!(next.token.is_cancelled() && backend.ended().is_cancelled());
    }

    #[test]
    fn a_long_statement_is_shown_in_part() {
        let backend = backend("a");
        backend.asks(&"é".repeat(SHOWN_BYTES), String::new());
        let (now, runs) = backend.now();
        assert!(!runs);
        assert_eq!(now.statement.len(), SHOWN_BYTES);
        backend.asks(&format!("x{}", "é".repeat(SHOWN_BYTES)), String::new());
        assert_eq!(backend.now().0.statement.len(), SHOWN_BYTES - 1);
    }
}
