//! From a data folder to a server that an analyst can ask.
//!
//! Everything after the start goes over the wire, with the accounts and the rights that anybody else would have.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use paravent_udfs::Noise;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use super::{Error, Size, ensure_company, table};
use crate::catalog::files::Memory;
use crate::session::{Config, Server};
use crate::wire::{Listener, ListenerOptions};

const SET_UP: &str = include_str!("../../sql/demo.sql");

/// The demo's accounts stand in `sql/demo.sql` for everybody to read.
const ANALYST: (&str, &str) = ("analyst_1", "analyst");
const AUDITOR: (&str, &str) = ("auditor_1", "auditor");
const ADMIN: &str = "admin";

/// What the demo asks: the noise of each column stands beside it.
pub const QUESTION: &str = "\
SELECT function,
       count(DISTINCT person_id) AS persons, dp_stddev(count(DISTINCT person_id)) AS \"± persons\",
       avg(after_hours) AS after_hours, dp_stddev(avg(after_hours)) AS \"± after_hours\"
FROM person JOIN person_week USING (person_id)
GROUP BY function
ORDER BY persons DESC";

pub struct Demo {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Of the bootstrap account; `None`: the demo's own.
    pub admin_password: Option<String>,
    pub noise: Noise,
    pub size: Size,
}

impl Demo {
    /// Serves until what `shutdown` gives is ready; it is called before `say` tells that the server can be stopped. `say` gets
    /// what a person at the terminal should read.
    pub async fn run<Stopped: Future<Output = ()> + Send + 'static>(
        self,
        shutdown: impl FnOnce() -> std::io::Result<Stopped>,
        say: impl Fn(&str),
    ) -> Result<(), Error> {
        if !self.listen.ip().is_loopback() {
            return Err(Error::NotLoopback);
        }
        make_company(self.data_dir.clone(), self.size).await?;
        let admin_password = self.admin_password.unwrap_or_else(|| ADMIN.to_owned());
        let config = Config {
            data_dir: self.data_dir,
            admin_password: Some(admin_password.clone()),
            keys: None,
            noise: self.noise,
            memory: Memory::default(),
        };
        let (server, _) = Server::open(config).await?;
        let listener = Listener::bind(self.listen, ListenerOptions::default()).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.run(server, stop.clone().cancelled_owned()));

        let served = serve(address, &admin_password, shutdown, say).await;
        stop.cancel();
        serving.await.map_err(std::io::Error::other)?;
        served
    }
}

/// Shows the server and waits until it is to stop.
async fn serve<Stopped: Future<Output = ()>>(
    address: SocketAddr,
    admin_password: &str,
    shutdown: impl FnOnce() -> std::io::Result<Stopped>,
    say: impl Fn(&str),
) -> Result<(), Error> {
    show(address, admin_password, &say).await?;
    let stopped = shutdown()?;
    say(&accounts(address, admin_password));
    stopped.await;
    Ok(())
}

/// Writing the files keeps a core busy for seconds: not on a thread that serves.
async fn make_company(data_dir: PathBuf, size: Size) -> Result<(), Error> {
    let made = tokio::task::spawn_blocking(move || {
        let progress = ProgressBar::new(1);
        let style = ProgressStyle::with_template("making a company {bar:40} {human_pos} of {human_len} rows {eta}");
        progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let made = ensure_company(&data_dir, size, &progress);
        progress.finish_and_clear();
        made
    });
    made.await.map_err(std::io::Error::other)??;
    Ok(())
}

/// Sets the server up where it is not, asks the question and prints the answer.
async fn show(address: SocketAddr, admin_password: &str, say: &impl Fn(&str)) -> Result<(), Error> {
    // A prepared statement runs nothing and costs nothing, and cannot be had before the last step of the set-up.
    let ready = match connect(address, ANALYST.0, ANALYST.1).await {
        Ok(analyst) => analyst.prepare(QUESTION).await.is_ok(),
        Err(_) => false,
    };
    if !ready {
        set_up(&connect(address, "admin", admin_password).await?).await?;
    }
    let analyst = connect(address, ANALYST.0, ANALYST.1).await?;
    let start = Instant::now();
    let answer = analyst.simple_query(QUESTION).await?;
    let took = start.elapsed();
    say(&format!("{}=> {QUESTION};\n", ANALYST.0));
    say(&table::aligned(&answer));
    say(&footnote(took));
    Ok(())
}

fn footnote(took: Duration) -> String {
    format!(
        "± is the standard error of the noise. Answered over the wire in {} ms; the same question again costs nothing.\n",
        took.as_millis()
    )
}

/// Statement by statement; what an earlier, interrupted start has made is left as it is.
async fn set_up(admin: &Client) -> Result<(), Error> {
    for statement in SET_UP.split(";\n") {
        match admin.batch_execute(statement).await {
            Err(error) if !is_there_already(&error) => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_there_already(error: &tokio_postgres::Error) -> bool {
    [SqlState::DUPLICATE_OBJECT, SqlState::DUPLICATE_TABLE, SqlState::INVALID_TABLE_DEFINITION]
        .iter()
        .any(|state| error.code() == Some(state))
}

async fn connect(address: SocketAddr, user: &str, password: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user(user)
        .password(password)
        .dbname("paravent")
        .application_name("paravent demo")
        .connect(NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

fn accounts(address: SocketAddr, admin_password: &str) -> String {
    let url = |user: &str, password: &str| format!("postgresql://{user}:{password}@{address}/paravent");
    let admin_password = match admin_password {
        ADMIN => ADMIN,
        _ => "the one you set",
    };
    format!(
        "Ask your own:\n\n    psql \"{}\"\n\n\
         Accounts (user / password): {} / {} asks, {} / {} reads the log and the budget,\n\
         admin / {admin_password} administers and sees nobody. Ctrl-C stops the server.",
        url(ANALYST.0, ANALYST.1),
        ANALYST.0,
        ANALYST.1,
        AUDITOR.0,
        AUDITOR.1,
    )
}
