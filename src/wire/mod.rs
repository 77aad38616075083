//! Bytes in and out: the Postgres protocol. The only room that names pgwire.
//!
//! In: TCP connections. Out: answers of the session, as messages. pgwire gives the messages, their codecs and SCRAM; its loop
//! over a socket is not used, because a session there begins before the login has ended (see `tests/wire_holes.rs`).
//! Must never write a client's address, a name or a statement to the server's own log.
//!
//! ```text
//! Listener → startup (tls, scram) → Connection → simple | extended → session::answer → rows | copy → Socket
//! ```

mod cancel;
mod connection;
mod copy;
mod copy_in;
mod copy_lines;
mod copy_rows;
mod decode;
mod encode;
mod errors;
mod extended;
mod numeric;
mod rows;
mod scram;
mod simple;
mod socket;
mod startup;
mod text;
mod tls;
mod types;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::session::Server;
use cancel::Cancels;
use startup::Gate;
use tls::Tls;

pub use tls::TlsFiles;

/// How long a stopped server waits for its clients to take the news.
const FAREWELL: Duration = Duration::from_secs(5);
/// Sockets beyond the limit that may still ask for a cancellation, or be told that there is no room.
const WAITING_ROOM: usize = 32;

#[derive(Debug, Clone)]
pub struct ListenerOptions {
    pub tls: Option<TlsFiles>,
    /// With a certificate, refuse who does not use it.
    pub require_tls: bool,
    pub max_connections: usize,
    /// From the first byte to the end of the login.
    pub startup_timeout: Duration,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { tls: None, require_tls: true, max_connections: 100, startup_timeout: Duration::from_secs(10) }
    }
}

/// A bound port. Several may stand in one process.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Tls>,
    options: ListenerOptions,
}

impl Listener {
    pub async fn bind(address: impl ToSocketAddrs, options: ListenerOptions) -> io::Result<Self> {
        let tls = options.tls.as_ref().map(Tls::load).transpose()?;
        Ok(Self { tcp: TcpListener::bind(address).await?, tls, options })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `shutdown` ends; then cancels what runs, says goodbye to every client and returns.
    pub async fn run(self, server: Arc<Server>, shutdown: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let gate = Gate {
            server,
            require_tls: self.options.require_tls && self.tls.is_some(),
            tls: self.tls,
            cancels: Cancels::default(),
            shutdown: stop.clone(),
        };
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok((tcp, _)) if connections.len() < self.options.max_connections + WAITING_ROOM => {
                        let has_room = connections.len() < self.options.max_connections;
                        connections.spawn(serve(gate.clone(), tcp, has_room, self.options.startup_timeout));
                    }
                    Ok(_) => {}
                    // Out of file descriptors, as a rule: wait until some are closed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(ended) = connections.join_next() => report(ended),
            }
        }
        drop(self.tcp);
        stop.cancel();
        let farewell = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn serve(gate: Gate, tcp: TcpStream, has_room: bool, startup_timeout: Duration) {
    let admitted = tokio::select! {
        () = gate.shutdown.cancelled() => return,
        admitted = timeout(startup_timeout, gate.admit(tcp, has_room)) => admitted,
    };
    if let Ok(Ok(Some(connection))) = admitted {
        connection.serve().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err() {
        tracing::error!("a connection ended by a defect");
    }
}
