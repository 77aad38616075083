//! What an administrator changed in a transaction block: made at COMMIT, all of it or nothing, and forgotten at ROLLBACK.
//!
//! In: changes and the policies that are in force. Out: the policies as the block sees them. Must never: reach a question about
//! persons, another session, or who somebody is; those know committed policies only. `CALL` does not wait: it acts at once.

use std::sync::Arc;

use super::Session;
use super::answer::{Answer, Notice};
use crate::error::{Error, Result, SqlState};
use crate::policy::{Change, Policies, Principal};
use crate::query::statement::Admin;

#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: Vec<Change>,
    /// The statements, for the record of changes.
    texts: Vec<String>,
    /// How many of both there were at each savepoint.
    savepoints: Vec<(usize, usize)>,
    /// Tables that were to be, and will not.
    forgotten: Vec<Change>,
    /// With these changes; `None` where there are none, or they no longer fit what others changed since.
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Of the committed policies that these stand on.
    epoch: u64,
    policies: Arc<Policies>,
}

/// How many changes wait at most.
const MOST: usize = 10_000;

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds the changes of a statement, if they may be made now.
    fn add(&mut self, committed: &Policies, actor: &Principal, changes: Vec<Change>, text: &str) -> Result<()> {
        if self.changes.len() + changes.len() > MOST {
            return Err(Error::new(SqlState::ProgramLimitExceeded, "too many changes in one transaction")
                .hint("COMMIT, and go on in another"));
        }
        let all = self.changes.iter().chain(&changes);
        let policies = all.cloned().try_fold(committed.clone(), |policies, change| policies.apply(actor, change))?;
        self.seen = Some(Seen { epoch: committed.epoch, policies: Arc::new(policies) });
        self.changes.extend(changes);
        self.texts.push(text.to_owned());
        Ok(())
    }

    /// Others changed something. Where that leaves no room for what waits, COMMIT will say so.
    fn follow(&mut self, committed: &Policies, actor: &Principal) {
        if self.changes.is_empty() || self.seen.as_ref().is_some_and(|seen| seen.epoch == committed.epoch) {
            return;
        }
        let made =
            self.changes.iter().cloned().try_fold(committed.clone(), |policies, change| policies.apply(actor, change));
        self.seen = made.ok().map(|policies| Seen { epoch: committed.epoch, policies: Arc::new(policies) });
    }

    pub fn savepoint(&mut self) {
        self.savepoints.push((self.changes.len(), self.texts.len()));
    }

    /// Forgets the savepoints after the first `before`.
    pub fn release(&mut self, before: usize) {
        self.savepoints.truncate(before);
    }

    /// Forgets what came after the savepoint that `before` others stand before; the savepoint stays.
    pub fn rollback_to(&mut self, before: usize) {
        if let Some((changes, texts)) = self.savepoints.get(before).copied() {
            let gone = self.changes.drain(changes..);
            self.forgotten.extend(gone.filter(|change| matches!(change, Change::CreateTable { .. })));
            self.texts.truncate(texts);
            self.seen = None;
        }
        self.savepoints.truncate(before + 1);
    }

    pub fn forget(&mut self) {
        let Self { changes, mut forgotten, .. } = std::mem::take(self);
        forgotten.extend(changes.into_iter().filter(|change| matches!(change, Change::CreateTable { .. })));
        self.forgotten = forgotten;
    }
}

impl Session {
    /// The policies as this session's block sees them; outside of one, as they are.
    pub(super) fn policies_seen(&self) -> Arc<Policies> {
        match &self.pending.seen {
            Some(seen) => seen.policies.clone(),
            None => self.server.catalog.policies(),
        }
    }

    pub(super) fn follow_pending(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Ok(actor) = self.principal() {
            self.pending.follow(&self.server.catalog.policies(), &actor);
        }
    }

    /// Errors: 55000 while changes wait that a question might stand on.
    pub(super) fn refuse_while_pending(&self, what: &str) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            SqlState::ObjectNotInPrerequisiteState,
            format!("{what} cannot follow changes in one transaction"),
        )
        .detail("changes that an administrator makes in a transaction block count from COMMIT on")
        .hint("COMMIT first"))
    }

    /// Errors: 55000 after a load in the same block: at COMMIT its table must be there.
    fn refuse_while_loading(&self) -> Result<()> {
        if self.loads.is_empty() {
            return Ok(());
        }
        let refused = "DROP TABLE cannot follow COPY FROM in one transaction";
        Err(Error::new(SqlState::ObjectNotInPrerequisiteState, refused).hint("COMMIT first"))
    }

    /// `text` is the statement with passwords blanked: what the log of changes keeps.
    pub(super) async fn administer(&mut self, admin: &Admin, text: &str) -> Result<Answer> {
        let actor = self.principal()?;
        let before = self.policies_seen();
        if let Admin::DropTable { .. } = admin {
            self.refuse_while_loading()?;
        }
        if let Admin::Call(_) = admin {
            self.refuse_while_pending("CALL")?;
        }
        let (tag, changes) = self.changes(&actor, admin).await?;
        if self.transaction.in_block() && !matches!(admin, Admin::Call(_)) {
            self.pending.add(&self.server.catalog.policies(), &actor, changes, text)?;
        } else {
            self.make(&actor, &changes, text).await?;
        }
        if let Admin::Call(call) = admin {
            self.draw_rotated_key(call).await?;
        }
        let notices = self.requested(&actor, admin).into_iter().chain(self.cascaded(admin, &before));
        Ok(Answer::done(tag).with_notices(notices.collect()))
    }

    async fn make(&self, actor: &Principal, changes: &[Change], text: &str) -> Result<()> {
        let before = self.server.catalog.policies();
        let applied = self.server.catalog.apply(actor, changes, text).await;
        self.remove_unused_folders(&before, changes).await;
        applied?;
        self.server.sweep_access().await;
        let policies = self.server.catalog.policies();
        self.server.ledger.forget_before_epoch(policies.release_epoch).await
    }

    /// COMMIT: errors leave nothing of the block.
    pub(super) async fn make_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let actor = self.principal()?;
        self.make(&actor, &pending.changes, &pending.texts.join(";\n")).await
    }

    /// Of tables that a rolled back block was to make.
    pub(super) async fn remove_forgotten_folders(&mut self) {
        let forgotten = std::mem::take(&mut self.pending.forgotten);
        if !forgotten.is_empty() {
            let now = self.server.catalog.policies();
            self.remove_unused_folders(&now, &forgotten).await;
        }
    }

    /// Which views a `DROP VIEW … CASCADE` took with it.
    fn cascaded(&self, admin: &Admin, before: &Policies) -> Option<Notice> {
        let Admin::DropView { names, cascade: true, .. } = admin else {
            return None;
        };
        let after = self.policies_seen();
        let gone = |name: &&String| !after.views.contains_key(*name) && !names.contains(name);
        let gone: Vec<&str> = before.views.keys().filter(gone).map(String::as_str).collect();
        (!gone.is_empty()).then(|| Notice {
            severity: "NOTICE",
            message: format!("drop cascades to view {}", gone.join(", ")),
            hint: None,
        })
    }
}
