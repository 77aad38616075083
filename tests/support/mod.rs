//! A server for one test, and clients for it.
//!
//! In: nothing, or the demo's company in small. Out: a [`TestServer`] on a port of its own, with an administrator, an analyst
//! and an auditor who can log in, and a budget that no test uses up. All of it goes over the wire, as a user's work would.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use indicatif::ProgressBar;
use paravent::catalog::files::Memory;
use paravent::demo::{Size, ensure_company};
use paravent::session::{Config, Server};
use paravent::wire::{Listener, ListenerOptions};
use paravent_udfs::Noise;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

pub const ADMIN_PASSWORD: &str = "test administrator";

/// The demo's company, small enough for a test: 2,000 persons, 8 weeks, 20,000 mails.
pub const SMALL: Size = Size { persons: 2_000, weeks: 8, emails: 20_000 };

/// The logins of `sql/demo.sql`.
pub const ADMIN: (&str, &str) = ("admin", ADMIN_PASSWORD);
pub const ANALYST: (&str, &str) = ("analyst_1", "analyst");
pub const AUDITOR: (&str, &str) = ("auditor_1", "auditor");

pub struct TestServer {
    address: SocketAddr,
    folder: TempDir,
    stop: CancellationToken,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TestServer {
    /// Empty but for the bootstrap account.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder).await
    }

    pub async fn start_in(folder: TempDir) -> Self {
        Self::start_with(folder, Noise::from_os()).await
    }

    /// Without noise, so that what is left to differ is not chance.
    #[cfg(debug_assertions)]
    pub async fn start_silent() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), Noise::zero()).await
    }

    async fn start_with(folder: TempDir, noise: Noise) -> Self {
        Self::start_limited(folder, noise, Memory::default()).await
    }

    /// With so much memory for queries.
    pub async fn start_limited(folder: TempDir, noise: Noise, memory: Memory) -> Self {
        let (address, stop) = listening(folder.path(), noise, memory).await;
        Self { address, folder, stop }
    }

    /// Another server on the same state and data.
    pub async fn another(&self) -> Self {
        let (address, stop) = listening(self.folder.path(), Noise::from_os(), Memory::default()).await;
        Self { address, folder: tempfile::tempdir().unwrap(), stop }
    }

    /// With the demo's tables, roles and grants, made by `sql/demo.sql` itself.
    pub async fn with_company(size: Size) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::limited_company(folder, Noise::from_os(), Memory::default(), size).await
    }

    pub async fn limited_company(folder: TempDir, noise: Noise, memory: Memory, size: Size) -> Self {
        ensure_company(folder.path(), size, &ProgressBar::hidden()).unwrap();
        let server = Self::start_limited(folder, noise, memory).await;
        let admin = server.admin().await;
        for statement in statements(include_str!("../../sql/demo.sql")) {
            run(&admin, statement).await;
        }
        server.large_budget().await;
        server
    }

    /// An analyst and an auditor, for tests that bring their own tables.
    pub async fn with_people(self) -> Self {
        let admin = self.admin().await;
        for statement in [
            "CREATE ROLE analyst_1 LOGIN PASSWORD 'analyst'",
            "GRANT insights_analyst TO analyst_1",
            "CREATE ROLE auditor_1 LOGIN PASSWORD 'auditor'",
            "GRANT auditor TO auditor_1",
        ] {
            run(&admin, statement).await;
        }
        self.large_budget().await;
        self
    }

    /// The largest that can be set: over a hundred questions at epsilon 1, so that a test of answers is not one of budgets.
    pub async fn large_budget(&self) {
        let admin = self.admin().await;
        run(&admin, "ALTER SYSTEM SET privacy.budget_epsilon = 100").await;
        run(&admin, "ALTER SYSTEM SET privacy.budget_delta = 1e-3").await;
        run(&admin, "ALTER SYSTEM SET privacy.principal_budget_epsilon = 100").await;
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relative locations of tables lie under it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the data folder.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub async fn admin(&self) -> Client {
        self.login(ADMIN).await
    }

    pub async fn analyst(&self) -> Client {
        self.login(ANALYST).await
    }

    pub async fn auditor(&self) -> Client {
        self.login(AUDITOR).await
    }

    pub async fn login(&self, (user, password): (&str, &str)) -> Client {
        connect(self.address, user, password).await.unwrap()
    }

    /// The real psql, as its users have it: no start-up file, stops at the first error, aligned output without a pager.
    pub fn psql(&self, (user, password): (&str, &str), commands: &str) -> Output {
        let url = format!("host={} port={} dbname=paravent user={user}", self.address.ip(), self.address.port());
        let mut child = Command::new("psql")
            .args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose", "--dbname", &url])
            .env("PGPASSWORD", password)
            .env("PAGER", "cat")
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("psql is needed (Debian: apt-get install postgresql-client)");
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, commands.as_bytes()).unwrap();
        drop(input);
        tokio::task::block_in_place(|| child.wait_with_output()).unwrap()
    }
}

async fn listening(folder: &Path, noise: Noise, memory: Memory) -> (SocketAddr, CancellationToken) {
    let config = Config {
        data_dir: folder.to_owned(),
        admin_password: Some(ADMIN_PASSWORD.to_owned()),
        keys: None,
        noise,
        memory,
    };
    let (server, _) = Server::open(config).await.unwrap();
    let bound = Listener::bind("127.0.0.1:0", ListenerOptions::default()).await;
    let listener = bound.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(listener.run(server, stop.clone().cancelled_owned()));
    (address, stop)
}

/// The statements of a script whose semicolons all end a line.
pub fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.split(";\n").filter(|part| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--")))
}

pub async fn connect(address: SocketAddr, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user(user)
        .password(password)
        .dbname("paravent")
        .application_name("paravent tests")
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs a statement that must succeed.
pub async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        panic!("{}\n{sql}", Refusal::of(error));
    }
}

/// Rows as text, by the simple protocol. NULL is `None`.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    match client.simple_query(sql).await {
        Ok(messages) => texts(&messages),
        Err(error) => panic!("{}\n{sql}", Refusal::of(error)),
    }
}

pub fn texts(messages: &[SimpleQueryMessage]) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect());
        }
    }
    rows
}

/// One row, one column, not NULL.
pub async fn value(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    assert_eq!(rows.len(), 1, "{sql}");
    assert_eq!(rows[0].len(), 1, "{sql}");
    rows[0][0].clone().unwrap_or_else(|| panic!("NULL from {sql}"))
}

pub async fn number(client: &Client, sql: &str) -> f64 {
    value(client, sql).await.parse().unwrap()
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub position: Option<u32>,
}

impl Refusal {
    pub fn of(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            panic!("not a refusal but a broken connection: {error}");
        };
        let position = match said.position() {
            Some(tokio_postgres::error::ErrorPosition::Original(at)) => Some(*at),
            _ => None,
        };
        Self {
            sqlstate: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
            position,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {more}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The refusal of a statement that must be refused, the same through both protocols.
pub async fn refused(client: &Client, sql: &str) -> Refusal {
    let simple = match client.simple_query(sql).await {
        Err(error) => Refusal::of(error),
        Ok(_) => panic!("answered, but must not be: {sql}"),
    };
    let extended = match client.query(sql, &[]).await {
        Err(error) => Refusal::of(error),
        Ok(_) => panic!("answered by the extended protocol, but must not be: {sql}"),
    };
    assert_eq!(simple, extended, "{sql}");
    simple
}
