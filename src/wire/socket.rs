//! One client's byte stream, with a buffer each way.
//!
//! In: bytes, cut into messages by the length that they declare. Out: messages of pgwire, and bytes of rows.
//! A message is bounded before it is buffered and is decoded alone, so that a malformed one cannot read into the next.
//! Must never write part of a message and then forget the rest: a flush that is abandoned is continued by the next one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::errors::{Failure, Flow, fatal, fatal_message, refuse};
use crate::error::SqlState;

/// Rows are written out whenever this much has gathered; a client that reads slowly holds no more than this.
pub(super) const OUTPUT_BYTES: usize = 64 * 1024;
/// Read at once where a message needs no more.
const INPUT_BYTES: usize = 8 * 1024;
/// What a client may send ahead while its statement runs.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// As Postgres (`MAX_STARTUP_PACKET_LENGTH`).
const STARTUP_BYTES: usize = 10_000;
/// How long a closed connection waits for its client to close, too.
const LINGER: Duration = Duration::from_secs(1);

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Socket {
    io: Box<dyn Io>,
    input: BytesMut,
    pub output: BytesMut,
}

impl Socket {
    pub fn new(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), input: BytesMut::new(), output: BytesMut::new() }
    }

    /// The stream without its buffers, for TLS to take over. Refuses when bytes lie in them: they came in plaintext and would
    /// be taken for what came encrypted (CVE-2021-23214).
    pub fn into_io(self) -> Flow<Box<dyn Io>> {
        if self.input.is_empty() && self.output.is_empty() { Ok(self.io) } else { Err(Failure::Gone) }
    }

    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// One packet of the startup phase: a length and a body, without a type byte. The length is left in front.
    pub async fn receive_startup(&mut self) -> Flow<Option<BytesMut>> {
        let Some(length) = self.fill_startup().await? else {
            return Ok(None);
        };
        Ok(Some(self.input.split_to(length)))
    }

    /// The same packet, not yet taken.
    pub async fn peek_startup(&mut self) -> Flow<Option<&[u8]>> {
        let length = self.fill_startup().await?;
        Ok(length.map(|length| &self.input[..length]))
    }

    async fn fill_startup(&mut self) -> Flow<Option<usize>> {
        if !self.fill(4).await? {
            return Ok(None);
        }
        let length = self.declared_length(0);
        if !(8..=STARTUP_BYTES).contains(&length) {
            return Err(fatal(SqlState::ProtocolViolation, "invalid length of startup packet"));
        }
        Ok(self.fill(length).await?.then_some(length))
    }

    /// The next message, `None` when the client is gone. A message longer than `limit` ends the connection. Cancel safe.
    pub async fn receive(&mut self, limit: usize) -> Flow<Option<PgWireFrontendMessage>> {
        if !self.fill(5).await? {
            return Ok(None);
        }
        let length = self.declared_length(1);
        if length < 4 {
            return Err(malformed());
        }
        if length > limit {
            return Err(fatal(SqlState::ProgramLimitExceeded, format!("a message may have {limit} bytes")));
        }
        if !self.fill(length + 1).await? {
            return Ok(None);
        }
        decode(self.input.split_to(length + 1)).map(Some)
    }

    /// Ends when the client has hung up; reads ahead a little meanwhile. Cancel safe.
    pub async fn hung_up(&mut self) {
        while self.input.len() < READ_AHEAD_BYTES {
            match self.io.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Puts a message behind what is already waiting to be sent.
    pub fn send(&mut self, message: PgWireBackendMessage) -> Flow {
        let start = self.output.len();
        message.encode(&mut self.output).map_err(|_| {
            self.output.truncate(start);
            refuse(SqlState::ProgramLimitExceeded, "the reply is too long")
        })
    }

    /// Cancel safe: what was not written stays in the buffer.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.output.has_remaining() {
            if self.io.write_buf(&mut self.output).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.io.flush().await
    }

    /// Flushes when enough has gathered; a statement that is cancelled stops waiting for its client here.
    pub async fn drain(&mut self, cancel: &CancellationToken) -> Flow {
        if self.output.len() < OUTPUT_BYTES {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            flushed = self.flush() => Ok(flushed?),
        }
    }

    /// Tells the client, if it is to be told, and closes.
    pub async fn end<T>(&mut self, failure: Failure) -> Flow<T> {
        if let Failure::Statement(error) | Failure::Fatal(error) = &failure {
            self.send(fatal_message(error.clone()))?;
            self.flush().await?;
            self.io.shutdown().await?;
            let _ = timeout(LINGER, self.discard()).await;
        }
        Err(failure)
    }

    /// To close on unread bytes resets the connection, and the client might lose the reason.
    async fn discard(&mut self) {
        let mut bytes = 0;
        while bytes < READ_AHEAD_BYTES {
            self.input.clear();
            match self.io.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes += read,
            }
        }
    }

    fn declared_length(&self, offset: usize) -> usize {
        let length = (&self.input[offset..offset + 4]).get_u32();
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// `false`: the client has gone before that much came.
    async fn fill(&mut self, bytes: usize) -> Flow<bool> {
        while self.input.len() < bytes {
            self.input.reserve((bytes - self.input.len()).max(INPUT_BYTES));
            if self.io.read_buf(&mut self.input).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(super) fn cancelled() -> Failure {
    refuse(SqlState::QueryCanceled, "canceling statement due to user request")
}

pub(super) fn malformed() -> Failure {
    fatal(SqlState::ProtocolViolation, "invalid message format")
}

/// pgwire's decoders read past the end of a message that lies about its counts, and panic there.
fn decode(mut frame: BytesMut) -> Flow<PgWireFrontendMessage> {
    let mut context = DecodeContext::default();
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    let decoded = catch_unwind(AssertUnwindSafe(|| PgWireFrontendMessage::decode(&mut frame, &context)));
    match decoded {
        Ok(Ok(Some(message))) => Ok(message),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(bytes: &[u8]) -> Flow<Option<PgWireFrontendMessage>> {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(bytes).await.unwrap();
        drop(client);
        Socket::new(server).receive(100).await
    }

    #[tokio::test]
    async fn a_message_is_bounded_before_it_is_buffered() {
        let Err(Failure::Fatal(error)) = receive(b"Q\x00\x00\x00\x65").await else {
            panic!("accepted");
        };
        assert_eq!(error.sqlstate, SqlState::ProgramLimitExceeded);
    }

    #[tokio::test]
    async fn a_message_that_lies_about_its_counts_ends_the_connection() {
        // Bind without a name, that declares 256 format codes and has none: pgwire panics on it.
        let Err(Failure::Fatal(error)) = receive(b"B\x00\x00\x00\x08\x00\x00\x01\x00").await else {
            panic!("accepted");
        };
        assert_eq!(error.sqlstate, SqlState::ProtocolViolation);
        assert!(matches!(receive(b"Q\x00\x00\x00\x03").await, Err(Failure::Fatal(_))));
    }

    #[tokio::test]
    async fn an_abandoned_flush_is_continued_by_the_next() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut socket = Socket::new(server);
        let sent: Vec<u8> = (0..OUTPUT_BYTES).map(|byte| byte as u8).collect();
        socket.output.extend_from_slice(&sent);
        let cancel = CancellationToken::new();
        let (outcome, ()) = tokio::join!(socket.drain(&cancel), async {
            tokio::task::yield_now().await;
            cancel.cancel();
        });
        assert!(matches!(outcome, Err(Failure::Statement(_))));

        let reader = tokio::spawn(async move {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received
        });
        socket.flush().await.unwrap();
        drop(socket);
        assert_eq!(reader.await.unwrap(), sent);
    }
}
