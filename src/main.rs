//! The command line.
//!
//! In: arguments and `PARAVENT_ADMIN_PASSWORD`. Out: a running server. The noise source is made here and handed down; what
//! goes to standard error holds no client addresses, names or statements.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use paravent::catalog::files::Memory;
use paravent::demo::{self, Demo, Size};
use paravent::session::{Config, Server};
use paravent::wire::{Listener, ListenerOptions, TlsFiles};
use paravent_udfs::Noise;
use tracing_subscriber::EnvFilter;

/// A privacy gateway for SQL: Postgres on the wire, differential privacy in the plan.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a company of 20,000 people who do not exist, serve it, and ask one question.
    Demo {
        /// Folder for the data and the server's state; made where it is missing.
        #[arg(long, default_value = "paravent-data")]
        data: PathBuf,
        /// A loopback address.
        #[arg(long, default_value = "127.0.0.1:5433")]
        listen: SocketAddr,
    },
    /// Serve a data folder.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Folder for the server's state; relative locations of tables lie under it.
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    /// The key file of pseudonyms; made where it is missing, refused where others than its owner may read it.
    /// Without it: pseudonym.keys in the data folder.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Certificate chain, PEM. With it, clients must use TLS.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What queries may take of the machine's memory, as in 512MB or 8GB; three quarters of it unless said. What does not fit is
    /// spilled to disk.
    #[arg(long, value_parser = bytes)]
    memory_limit: Option<usize>,
    /// Folder to spill to; as well guarded as the data. [default: the folder spill in the data folder]
    #[arg(long)]
    spill_dir: Option<PathBuf>,
}

/// A number with kB, MB, GB or TB, in powers of 1024 as Postgres has them.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 0,
        "kB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        other => return Err(format!("\"{other}\" is no unit: write kB, MB, GB or TB")),
    };
    let number: usize = digits.trim().parse().map_err(|_| "write a whole number and a unit, as in 512MB".to_owned())?;
    number.checked_mul(1 << unit).filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| "at least 1MB".to_owned())
}

/// Three quarters of the machine's memory; no limit where the system does not say how much there is.
fn most_of_the_machine() -> Option<usize> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024 / 4 * 3)
}

/// A defect, by its place alone: what a panic says may quote a value, so it goes nowhere.
fn report(place: Option<&std::panic::Location<'_>>) {
    let (file, line) = place.map_or(("?", 0), |place| (place.file(), place.line()));
    tracing::error!(file, line, "a defect: a panic was caught");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,paravent=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    std::panic::set_hook(Box::new(|panic| report(panic.location())));
    match start(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paravent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<(), demo::Error> {
    let admin_password = std::env::var("PARAVENT_ADMIN_PASSWORD").ok().filter(|password| !password.is_empty());
    let noise = Noise::from_os();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Demo { data, listen } => {
                let demo = Demo { data_dir: data, listen, admin_password, noise, size: Size::DEMO };
                demo.run(interrupted, |text| println!("{text}")).await
            }
            Command::Serve(options) => serve(options, admin_password, noise).await,
        }
    })
}

async fn serve(options: Serve, admin_password: Option<String>, noise: Noise) -> Result<(), demo::Error> {
    let tls = options.tls_cert.zip(options.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    let wire = ListenerOptions { tls, ..ListenerOptions::default() };
    let limit = options.memory_limit.or_else(most_of_the_machine);
    let memory = Memory { limit, spill_dir: options.spill_dir };
    let config = Config { data_dir: options.data, admin_password, keys: options.keys, noise, memory };
    let (server, generated) = Server::open(config).await?;
    let listener = Listener::bind(options.listen, wire).await?;
    if let Some(password) = generated {
        println!("bootstrap account: admin, password: {password} (shown once)");
    }
    let shutdown = interrupted()?;
    println!("listening on {}", listener.local_addr()?);
    listener.run(server, shutdown).await;
    Ok(())
}

/// Ctrl-C, or what a service manager sends: heard from this call on, not from the first poll, so that who reads that the server
/// is ready can stop it in the same moment.
fn interrupted() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
