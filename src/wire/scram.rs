//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 5929) against a stored verifier.
//!
//! In: a verifier, which the server also gives for logins that it does not know. Out: proof, or a FATAL error that says the
//! same for an unknown login and a wrong password.

use bytes::{Buf, Bytes, BytesMut};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
use pgwire::api::auth::sasl::{SCRAM_SHA_256_METHOD, SCRAM_SHA_256_PLUS_METHOD};
use pgwire::error::PgWireError;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::errors::{Failure, Flow, fatal};
use super::socket::{Socket, malformed};
use crate::error::SqlState;
use crate::policy::Verifier;

const MESSAGE_BYTES: usize = 8 * 1024;

pub(super) async fn prove(socket: &mut Socket, scram: &ScramServerAuth, user: &str, verifier: Verifier) -> Flow {
    let mut mechanisms = vec![SCRAM_SHA_256_METHOD.to_owned()];
    if scram.supports_channel_binding() {
        mechanisms.push(SCRAM_SHA_256_PLUS_METHOD.to_owned());
    }
    send(socket, Authentication::SASL(mechanisms.clone())).await?;

    let (mechanism, client_first) = read_initial(receive(socket).await?)?;
    // The flag in the message must be the one of the mechanism, or a man in the middle could choose it.
    let binds = client_first.starts_with(b"p=");
    if !mechanisms.contains(&mechanism) || binds != (mechanism == SCRAM_SHA_256_PLUS_METHOD) {
        return Err(malformed());
    }
    let (server_first, waiting) = scram
        .on_client_first_message_with_secret(&client_first, secret(verifier))
        .map_err(|error| refuse_proof(user, error))?;
    send(socket, Authentication::SASLContinue(server_first.into())).await?;

    let client_final = receive(socket).await?;
    let server_final = waiting.on_client_final_message(&client_final).map_err(|error| refuse_proof(user, error))?;
    send(socket, Authentication::SASLFinal(server_final.into())).await
}

fn secret(verifier: Verifier) -> ScramSecret {
    ScramSecret::Verifier {
        salt: verifier.salt,
        iterations: usize::try_from(verifier.iterations).unwrap_or(usize::MAX),
        stored_key: verifier.stored_key.to_vec(),
        server_key: verifier.server_key.to_vec(),
    }
}

fn refuse_proof(user: &str, error: PgWireError) -> Failure {
    match error {
        PgWireError::InvalidPassword(_) => {
            fatal(SqlState::InvalidPassword, format!("password authentication failed for user \"{user}\""))
        }
        _ => malformed(),
    }
}

async fn send(socket: &mut Socket, message: Authentication) -> Flow {
    socket.send(PgWireBackendMessage::Authentication(message))?;
    Ok(socket.flush().await?)
}

async fn receive(socket: &mut Socket) -> Flow<BytesMut> {
    match socket.receive(MESSAGE_BYTES).await? {
        Some(PgWireFrontendMessage::PasswordMessageFamily(PasswordMessageFamily::Raw(body))) => Ok(body),
        None | Some(PgWireFrontendMessage::Terminate(_)) => Err(Failure::Gone),
        Some(_) => Err(fatal(SqlState::ProtocolViolation, "expected an answer of the SASL exchange")),
    }
}

/// SASLInitialResponse: the mechanism's name, a length, and as many bytes.
fn read_initial(mut body: BytesMut) -> Flow<(String, Bytes)> {
    let end = body.iter().position(|byte| *byte == 0);
    let name = body.split_to(end.ok_or_else(malformed)?);
    let name = String::from_utf8(name.to_vec()).map_err(|_| malformed())?;
    if body.len() < 5 {
        return Err(malformed());
    }
    body.advance(1);
    let length = usize::try_from(body.get_i32()).map_err(|_| malformed())?;
    if length != body.len() {
        return Err(malformed());
    }
    Ok((name, body.freeze()))
}
