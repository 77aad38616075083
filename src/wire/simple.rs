//! The simple protocol: a string of statements, each answered in full.
//!
//! In: a query string. Out: what each statement gives, up to the first error.

use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::EmptyQueryResponse;

use super::connection::Connection;
use super::errors::Flow;
use super::rows::Cursor;
use super::types::row_description;
use super::{copy, rows};
use crate::session::{Prepared, Protocol};

impl Connection {
    pub async fn query(&mut self, sql: &str) -> Flow {
        let statements = self.session.prepare(sql, Protocol::Simple).await?;
        if statements.is_empty() {
            return self.socket.send(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        for statement in &statements {
            self.answer_in_full(statement).await?;
        }
        Ok(())
    }

    async fn answer_in_full(&mut self, statement: &Prepared) -> Flow {
        let running = self.begin();
        if let Some((name, direction, moves)) = self.session.fetches_portal(statement)
            && self.extended.has_portal(name)
        {
            self.session.record_portal_fetch(statement, Protocol::Simple).await?;
            return self.fetch_portal(name, direction, moves, true, &running).await;
        }
        let answer = self.answer(statement, &[], Protocol::Simple, &running).await?;
        if let Some(released) = answer.rows() {
            let (schema, batches) = (released.schema(), released.batches());
            if let Some(format) = released.copy() {
                copy::send(&mut self.socket, schema, batches, format, &running.token).await?;
            } else {
                let format = if released.is_binary() { FieldFormat::Binary } else { FieldFormat::Text };
                let formats = vec![format; schema.fields().len()];
                let description = row_description(schema, &formats)?;
                self.socket.send(PgWireBackendMessage::RowDescription(description))?;
                rows::send(
                    &mut self.socket,
                    schema,
                    batches,
                    &formats,
                    &mut Cursor::default(),
                    usize::MAX,
                    &running.token,
                )
                .await?;
            }
        }
        self.send_notices(&answer)?;
        self.complete(answer.tag())?;
        // Many statements in one string do not gather their replies for a client that does not read.
        self.socket.drain(&running.token).await
    }
}
