//! From an accepted socket to an authenticated session.
//!
//! In: a TCP connection. Out: a [`Connection`] that holds a session, or nothing: every error on this path is FATAL, and there
//! is no state in between in which a statement could be read. A CancelRequest is served here and ends its connection.
//! An unknown login and a wrong password take the same messages, of the same length.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, GssEncRequest, NegotiateProtocolVersion, ParameterStatus, SecretKey, SslRequest,
    Startup,
};
use pgwire::messages::{DecodeContext, Message, PgWireBackendMessage};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::cancel::{CancelKey, Cancels};
use super::connection::Connection;
use super::errors::{Failure, Flow, fatal};
use super::scram;
use super::socket::{Socket, malformed};
use super::tls::Tls;
use crate::error::SqlState;
use crate::session::{Client, Server, Session};

/// What a connection is admitted to, and on which terms.
#[derive(Clone)]
pub(super) struct Gate {
    pub server: Arc<Server>,
    pub tls: Option<Tls>,
    pub require_tls: bool,
    pub cancels: Cancels,
    pub shutdown: CancellationToken,
}

/// A socket whose encryption is settled.
struct Settled {
    socket: Socket,
    encrypted: bool,
}

impl Gate {
    /// `None`: there was nothing to admit. Whether there is room is asked of a client that has proved who it is, as some places are kept
    /// for those who administer; a full server can be cancelled.
    pub async fn admit(&self, tcp: TcpStream) -> Flow<Option<Connection>> {
        let address = tcp.peer_addr()?;
        tcp.set_nodelay(true)?;
        let Some(mut settled) = self.settle_encryption(tcp).await? else {
            return Ok(None);
        };
        let entered = self.enter(&mut settled, address).await;
        match entered.map_err(Failure::into_fatal) {
            Ok(Some((session, key))) => Ok(Some(Connection::new(settled.socket, session, key))),
            Ok(None) => Ok(None),
            Err(failure) => settled.socket.end(failure).await,
        }
    }

    async fn settle_encryption(&self, tcp: TcpStream) -> Flow<Option<Settled>> {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        const TLS_HANDSHAKE: u8 = 0x16;
        if first[0] == TLS_HANDSHAKE {
            let Some(tls) = &self.tls else {
                return Ok(None);
            };
            let stream = tls.accept(Box::new(tcp), true).await?;
            return Ok(Some(Settled { socket: Socket::new(stream), encrypted: true }));
        }
        let mut socket = Socket::new(tcp);
        match self.answer_ssl_requests(&mut socket).await {
            Ok(false) => Ok(Some(Settled { socket, encrypted: false })),
            Ok(true) => {
                let Some(tls) = &self.tls else {
                    return Ok(None);
                };
                let stream = tls.accept(socket.into_io()?, false).await?;
                Ok(Some(Settled { socket: Socket::new(stream), encrypted: true }))
            }
            Err(failure) => socket.end(failure).await,
        }
    }

    /// `true`: the client was told to start TLS now. Leaves what is no such request for [`Gate::enter`].
    async fn answer_ssl_requests(&self, socket: &mut Socket) -> Flow<bool> {
        // One of each kind is all that a client may ask.
        for _ in 0..2 {
            let Some(packet) = socket.peek_startup().await? else {
                return Err(Failure::Gone);
            };
            let (ssl, gss) =
                (SslRequest::is_ssl_request_packet(packet), GssEncRequest::is_gss_enc_request_packet(packet));
            if !ssl && !gss {
                return Ok(false);
            }
            socket.receive_startup().await?;
            if ssl && self.tls.is_some() {
                if socket.has_input() {
                    return Err(fatal(SqlState::ProtocolViolation, "received unencrypted data after SSL request"));
                }
                socket.send(PgWireBackendMessage::SslResponse(SslResponse::Accept))?;
                socket.flush().await?;
                return Ok(true);
            }
            socket.send(if ssl {
                PgWireBackendMessage::SslResponse(SslResponse::Refuse)
            } else {
                PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse)
            })?;
            socket.flush().await?;
        }
        Ok(false)
    }

    async fn enter(&self, settled: &mut Settled, address: SocketAddr) -> Flow<Option<(Session, CancelKey)>> {
        let Settled { socket, encrypted } = settled;
        let Some(packet) = socket.receive_startup().await? else {
            return Ok(None);
        };
        if CancelRequest::is_cancel_request_packet(&packet) {
            self.cancel(packet);
            return Ok(None);
        }
        let startup = read_startup(packet)?;
        if self.require_tls && !*encrypted {
            return Err(fatal(SqlState::InvalidAuthorizationSpecification, "connection requires TLS"));
        }
        let secret_bytes = negotiate_version(socket, &startup)?;
        let client = introduce(startup.parameters, address, *encrypted)?;

        // What has no certificate offers no channel binding.
        let scram = match &self.tls {
            Some(tls) if *encrypted => tls.scram.clone(),
            _ => ScramServerAuth::new(),
        };
        let verifier = self.server.verifier(&client.user).await;
        scram::prove(socket, &scram, &client.user, verifier).await?;
        let session = self.server.open_session(client, self.shutdown.child_token()).await?;
        let key = self.cancels.register(session.backend(), secret_bytes)?;
        greet(socket, &key, secret_bytes)?;
        Ok(Some((session, key)))
    }

    fn cancel(&self, packet: BytesMut) {
        const HEADER_BYTES: usize = 12;
        if packet.len() > HEADER_BYTES {
            let mut pid = &packet[8..HEADER_BYTES];
            self.cancels.cancel(pid.get_i32(), &packet[HEADER_BYTES..]);
        }
    }
}

fn read_startup(mut packet: BytesMut) -> Flow<Startup> {
    let (major, minor) = {
        let mut version = &packet[4..8];
        (version.get_u16(), version.get_u16())
    };
    if major != Startup::PG_PROTOCOL_LATEST {
        return Err(fatal(
            SqlState::FeatureNotSupported,
            format!(
                "unsupported frontend protocol {major}.{minor}: server supports 3.0 to {LATEST_MAJOR}.{LATEST_MINOR}"
            ),
        ));
    }
    match Startup::decode(&mut packet, &DecodeContext::default()) {
        Ok(Some(startup)) => Ok(startup),
        _ => Err(malformed()),
    }
}

const LATEST_MAJOR: u16 = 3;
const LATEST_MINOR: u16 = 2;

/// Says so where a client asks for more than there is; gives the length of the cancel secret in the version that holds.
fn negotiate_version(socket: &mut Socket, startup: &Startup) -> Flow<usize> {
    let unknown: Vec<String> = startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    let minor = startup.protocol_number_minor.min(LATEST_MINOR);
    if minor < startup.protocol_number_minor || !unknown.is_empty() {
        let version = (i32::from(LATEST_MAJOR) << 16) | i32::from(minor);
        socket.send(PgWireBackendMessage::NegotiateProtocolVersion(NegotiateProtocolVersion::new(version, unknown)))?;
    }
    Ok(if minor >= LATEST_MINOR { 32 } else { 4 })
}

/// Parameters that nobody here knows are passed over, as drivers send many.
fn introduce(mut parameters: BTreeMap<String, String>, address: SocketAddr, encrypted: bool) -> Flow<Client> {
    let asked = asked_variables(&mut parameters)?;
    let mut take = |name| parameters.remove(name).filter(|value| !value.is_empty());
    let Some(user) = take("user") else {
        return Err(fatal(SqlState::InvalidAuthorizationSpecification, "no user name specified in startup packet"));
    };
    if !matches!(take("replication").as_deref(), None | Some("false" | "off" | "no" | "0")) {
        return Err(fatal(SqlState::FeatureNotSupported, "replication connections are not supported"));
    }
    Ok(Client {
        database: take("database").unwrap_or_else(|| user.clone()),
        application_name: take("application_name").unwrap_or_default(),
        user,
        asked,
        address,
        encrypted,
    })
}

/// Variables in the first message: those under a name of their own, and those of `options`, as `PGOPTIONS` and `psql` send them
/// (`-c name=value`, `--name=value`; a backslash keeps a blank). Of the first kind drivers send many that nobody here knows: those
/// with a meaning here are passed on, the rest is passed over.
fn asked_variables(parameters: &mut BTreeMap<String, String>) -> Flow<Vec<(String, String)>> {
    let mut asked = Vec::new();
    let options = parameters.remove("options").unwrap_or_default();
    let mut words = words(&options).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(long) => Some(long.to_owned()),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(str::to_owned),
        };
        let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) else {
            return Err(fatal(SqlState::SyntaxError, "invalid command-line argument for server process"));
        };
        asked.push((name.replace('-', "_"), value.to_owned()));
    }
    // They come after the options, as Postgres has it.
    let heeded = parameters.iter().filter(|(name, _)| Session::heeds_at_startup(name));
    asked.extend(heeded.map(|(name, value)| (name.clone(), value.clone())));
    Ok(asked)
}

fn words(options: &str) -> Vec<String> {
    let (mut words, mut word, mut kept) = (Vec::new(), None::<String>, false);
    for c in options.chars() {
        match c {
            '\\' if !kept => kept = true,
            c if c.is_whitespace() && !kept => words.extend(word.take()),
            c => {
                word.get_or_insert_default().push(c);
                kept = false;
            }
        }
    }
    words.extend(word);
    words
}

/// The parameters of the session follow with the first ReadyForQuery.
fn greet(socket: &mut Socket, key: &CancelKey, secret_bytes: usize) -> Flow {
    socket.send(PgWireBackendMessage::Authentication(Authentication::Ok))?;
    let secret = if secret_bytes == 4 {
        let mut bytes: Bytes = key.secret.clone();
        SecretKey::I32(bytes.get_i32())
    } else {
        SecretKey::Bytes(key.secret.clone())
    };
    socket.send(PgWireBackendMessage::BackendKeyData(BackendKeyData::new(key.pid, secret)))
}

pub(super) fn parameter_status(name: &str, value: &str) -> PgWireBackendMessage {
    PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &str) -> Flow<Vec<(String, String)>> {
        let habits = [("options", options), ("TimeZone", "UTC"), ("driver_habit", "1")];
        asked_variables(&mut habits.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn options_as_libpq_writes_them() {
        let expected = [("a", "1"), ("b", "x y"), ("c_d", "z=2"), ("TimeZone", "UTC")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(asked("-c a=1  -cb=x\\ y --c-d=z=2").unwrap(), expected);
        for wrong in ["-c", "-c a", "-d 3", "x"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
