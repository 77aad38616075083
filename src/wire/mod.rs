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
mod waiting_room;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::session::Server;
use cancel::Cancels;
use startup::Gate;
use tls::Tls;
use waiting_room::{Place, WaitingRoom};

pub use tls::TlsFiles;

/// How long a stopped server waits for its clients to take the news.
const FAREWELL: Duration = Duration::from_secs(5);
/// A client that has gone without a word is noticed: after this long without one the system asks, this often, every so many seconds.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(6);
/// How long bytes may lie unacknowledged: a client whose machine is gone does not take the rest of its rows.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub struct ListenerOptions {
    pub tls: Option<TlsFiles>,
    /// With a certificate, refuse who does not use it.
    pub require_tls: bool,
    /// From the first byte to the end of the login.
    pub startup_timeout: Duration,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { tls: None, require_tls: true, startup_timeout: Duration::from_secs(10) }
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
        let (mut connections, mut waiting) = (JoinSet::new(), WaitingRoom::default());
        tokio::pin!(shutdown);
        loop {
            let next = async {
                waiting.vacancy().await;
                self.tcp.accept().await
            };
            tokio::select! {
                () = &mut shutdown => break,
                accepted = next => match accepted {
                    Ok((tcp, _)) => {
                        connections.spawn(serve(gate.clone(), tcp, waiting.enter(), self.options.startup_timeout));
                    }
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

async fn serve(gate: Gate, tcp: TcpStream, place: Place, startup_timeout: Duration) {
    // Where the system cannot, an idle timeout does.
    let _ = watch(&tcp);
    let admitted = tokio::select! {
        () = gate.shutdown.cancelled() => return,
        () = place.lost() => return,
        admitted = timeout(startup_timeout, gate.admit(tcp)) => admitted,
    };
    drop(place);
    if let Ok(Ok(Some(connection))) = admitted {
        connection.serve().await;
    }
}

fn watch(tcp: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err() {
        tracing::error!("a connection ended by a defect");
    }
}
