//! What a client asks for while it connects.
//!
//! In: a login that has proved itself, and variables of its first message. Out: a session in which they hold, or a refusal that is in
//! the log. Nothing is allowed here that `SET` would refuse.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::path::Asked;
use super::utility::Variables;
use super::{Client, Protocol, Server, Session};
use crate::error::{Error, Result};
use crate::policy::looks_like;

/// How the log calls it.
const KIND: &str = "CONNECT";

impl Session {
    pub(super) async fn open(server: Arc<Server>, mut client: Client, stop: CancellationToken) -> Result<Self> {
        let asked = std::mem::take(&mut client.asked);
        let seat = server.seat(&client, stop)?;
        let mut session = Self::new(server, client, seat)?;
        session.tell_of_trainings()?;
        for (name, value) in &asked {
            match session.variables.start_as_asked(name, value) {
                Ok(notice) => session.notices.extend(notice),
                Err(error) => {
                    let text = format!("startup option {name}");
                    session.log_startup(&text, &error).await?;
                    return Err(error);
                }
            }
        }
        Ok(session)
    }

    /// Is a startup parameter of this name, outside `options`, more than a driver's habit? What there is, what touches privacy and
    /// what says who the session is.
    pub fn heeds_at_startup(name: &str) -> bool {
        let first = name.split_once('.').map_or(name, |(first, _)| first);
        Variables::has(name)
            || looks_like(first, "privacy")
            || ["role", "session_authorization"].iter().any(|own| looks_like(name, own))
    }

    async fn log_startup(&self, text: &str, error: &Error) -> Result<()> {
        let asked = Asked { text, kind: KIND, parameters: &[], protocol: Protocol::Simple, began: Instant::now() };
        self.log_refusal(&asked, error).await
    }
}
