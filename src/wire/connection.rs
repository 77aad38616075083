//! One authenticated connection, message by message.
//!
//! In: a socket and the session that its login opened; a connection cannot be made without one. Out: replies.
//! Must never lose the state of the protocol: after an error in the extended protocol nothing is read but Sync.

use super::FAREWELL;
use super::cancel::CancelKey;
use super::errors::{Failure, Flow, error_message, fatal, notice_message};
use super::extended::Extended;
use super::socket::{OUTPUT_BYTES, Socket};
use super::startup::parameter_status;
use crate::error::SqlState;
use crate::session::{Answer, Prepared, Protocol, Running, Session, TransactionState};
use datafusion::common::ScalarValue;
use pgwire::messages::response::{CommandComplete, ReadyForQuery, TransactionStatus};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

/// The longest message that a session takes: long statements and parameters, but no bulk data, as nothing is written here.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Connection {
    pub socket: Socket,
    pub session: Session,
    pub extended: Extended,
    /// While this is held a CancelRequest finds the session.
    _key: CancelKey,
    /// What the client was last told of each parameter.
    reported: Vec<(String, String)>,
    skips_until_sync: bool,
}

impl Connection {
    pub fn new(socket: Socket, session: Session, key: CancelKey) -> Self {
        Self {
            socket,
            session,
            extended: Extended::default(),
            _key: key,
            reported: Vec::new(),
            skips_until_sync: false,
        }
    }

    /// A session that is to end does so although its client takes nothing more.
    pub async fn serve(mut self) {
        let ended = self.session.backend().ended().clone();
        let overdue = async {
            ended.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        };
        let conversation = async {
            if let Err(failure) = self.converse().await {
                let _ = self.socket.end::<()>(failure).await;
            }
        };
        tokio::select! {
            () = conversation => {}
            () = overdue => {}
        }
    }

    async fn converse(&mut self) -> Flow {
        for notice in self.session.greeting() {
            self.socket.send(notice_message(&notice))?;
        }
        self.ready().await?;
        while let Some(message) = self.next().await? {
            if let PgWireFrontendMessage::Terminate(_) = message {
                return Ok(());
            }
            self.handle(message).await?;
        }
        Ok(())
    }

    /// Waits for a message as long as the session may wait.
    async fn next(&mut self) -> Flow<Option<PgWireFrontendMessage>> {
        let idle = self.session.idle_timeout();
        let expired = async {
            match idle {
                Some((limit, error)) => {
                    tokio::time::sleep(limit).await;
                    error
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.session.backend().ended().cancelled() => Err(fatal(
                SqlState::AdminShutdown,
                "terminating connection due to administrator command",
            )),
            message = self.socket.receive(MESSAGE_BYTES) => message,
            error = expired => Err(Failure::Fatal(error)),
        }
    }

    async fn handle(&mut self, message: PgWireFrontendMessage) -> Flow {
        if let PgWireFrontendMessage::Sync(_) = message {
            self.skips_until_sync = false;
            self.extended.end_transaction(self.session.transaction());
            return self.ready().await;
        }
        if self.skips_until_sync {
            return Ok(());
        }
        if let PgWireFrontendMessage::Query(query) = message {
            let outcome = self.query(&query.query).await;
            self.tell(outcome)?;
            self.extended.end_query(self.session.transaction());
            return self.ready().await;
        }
        let outcome = self.step(message).await;
        self.skips_until_sync = self.tell(outcome)?;
        // A client may wait for the error before it sends Sync, or go on without Sync for ever.
        if self.skips_until_sync || self.socket.output.len() >= OUTPUT_BYTES {
            self.socket.flush().await?;
        }
        Ok(())
    }

    /// One step of the extended protocol.
    async fn step(&mut self, message: PgWireFrontendMessage) -> Flow {
        match message {
            PgWireFrontendMessage::Parse(parse) => self.parse(parse).await,
            PgWireFrontendMessage::Bind(bind) => self.bind(bind),
            PgWireFrontendMessage::Describe(describe) => self.describe(&describe),
            PgWireFrontendMessage::Execute(execute) => self.execute(execute).await,
            PgWireFrontendMessage::Close(close) => self.close(&close),
            PgWireFrontendMessage::Flush(_) => Ok(self.socket.flush().await?),
            // Left over from a COPY that failed, as Postgres has it.
            PgWireFrontendMessage::CopyData(_)
            | PgWireFrontendMessage::CopyDone(_)
            | PgWireFrontendMessage::CopyFail(_) => Ok(()),
            PgWireFrontendMessage::PasswordMessageFamily(_)
            | PgWireFrontendMessage::SslNegotiation(_)
            | PgWireFrontendMessage::Startup(_)
            | PgWireFrontendMessage::CancelRequest(_)
            | PgWireFrontendMessage::PortalSuspended(_)
            | PgWireFrontendMessage::Query(_)
            | PgWireFrontendMessage::Sync(_)
            | PgWireFrontendMessage::Terminate(_) => Err(fatal(SqlState::ProtocolViolation, "unexpected message type")),
        }
    }

    /// `true`: the client was told of an error. What ends the connection is passed on.
    fn tell(&mut self, outcome: Flow) -> Flow<bool> {
        match outcome {
            Ok(()) => Ok(false),
            Err(Failure::Statement(error)) => {
                self.socket.send(error_message(error))?;
                Ok(true)
            }
            Err(ends) => Err(ends),
        }
    }

    async fn ready(&mut self) -> Flow {
        self.session.rests();
        for (name, value) in self.session.reported_parameters() {
            let known = self.reported.iter_mut().find(|(known, _)| *known == name);
            match known {
                Some((_, told)) if *told == value => continue,
                Some((_, told)) => told.clone_from(&value),
                None => self.reported.push((name.clone(), value.clone())),
            }
            self.socket.send(parameter_status(&name, &value))?;
        }
        let status = match self.session.transaction() {
            TransactionState::Idle => TransactionStatus::Idle,
            TransactionState::InTransaction => TransactionStatus::Transaction,
            TransactionState::Failed => TransactionStatus::Error,
        };
        self.socket.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status)))?;
        Ok(self.socket.flush().await?)
    }

    /// Something that a CancelRequest, a hung-up client and the end of the session all end.
    pub fn begin(&self) -> Running {
        self.session.backend().begin()
    }

    /// Runs a statement. Nobody pays on for a client who has hung up.
    pub async fn answer(
        &mut self,
        statement: &Prepared,
        parameters: &[ScalarValue],
        protocol: Protocol,
        running: &Running,
    ) -> Flow<Answer> {
        let answer = self.session.answer(statement, parameters, protocol, &running.token);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => {
                let answer = answer?;
                running.sends();
                return Ok(answer);
            }
            () = self.socket.hung_up() => running.token.cancel(),
        }
        Ok(answer.await?)
    }

    pub fn send_notices(&mut self, answer: &Answer) -> Flow {
        answer.notices().iter().try_for_each(|notice| self.socket.send(notice_message(notice)))
    }

    pub fn complete(&mut self, tag: &str) -> Flow {
        self.socket.send(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.to_owned())))
    }
}
