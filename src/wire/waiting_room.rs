//! Clients that have connected and not logged in yet: so many at once, and none of them for long where others wait.
//!
//! In: sockets as they are accepted. Out: a [`Place`] for each. When all places are taken, nobody else is accepted until one is free or
//! the one that is here longest has had its [`TURN`], and then loses its place: a client that says nothing cannot keep out those
//! that log in. Must never: touch a connection whose login has ended; it has left its place by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How many at once.
const PLACES: usize = 64;
/// What each may take before it makes room for another.
const TURN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct WaitingRoom {
    /// Those who came first are in front. Cancelled: the place is free again, or taken away.
    taken: VecDeque<(Instant, CancellationToken)>,
    left: Arc<Notify>,
}

pub(super) struct Place {
    over: CancellationToken,
    left: Arc<Notify>,
}

impl WaitingRoom {
    /// Ends when there is a place. Cancel safe.
    pub async fn vacancy(&mut self) {
        loop {
            self.taken.retain(|(_, over)| !over.is_cancelled());
            let Some((since, over)) = self.taken.front().filter(|_| self.taken.len() >= PLACES) else {
                return;
            };
            tokio::select! {
                () = self.left.notified() => {}
                () = sleep_until(*since + TURN) => over.cancel(),
            }
        }
    }

    pub fn enter(&mut self) -> Place {
        let over = CancellationToken::new();
        self.taken.push_back((Instant::now(), over.clone()));
        Place { over, left: self.left.clone() }
    }
}

impl Place {
    /// Ends when the place is taken away.
    pub async fn lost(&self) {
        self.over.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.over.cancel();
        self.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_come_makes_room_after_its_turn() {
        let mut room = WaitingRoom::default();
        let mut places = VecDeque::new();
        for _ in 0..PLACES {
            room.vacancy().await;
            places.push_back(room.enter());
        }
        let full = Instant::now();
        room.vacancy().await;
        assert!(full.elapsed() >= TURN);
        places[0].lost().await;
        assert!(!places[1].over.is_cancelled());

        let last = room.enter();
        let full = Instant::now();
        drop(places.pop_back());
        room.vacancy().await;
        assert!(full.elapsed() < TURN, "a place that is left is free at once");
        assert!(!last.over.is_cancelled());
    }
}
