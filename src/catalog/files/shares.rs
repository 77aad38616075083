//! Who may take how much of the memory for queries.
//!
//! Parts of queries that can spill have even shares, as in the engine's own fair pool: what one is refused it writes to disk. Parts
//! that cannot spill (the groups of a release, the small side of a join) mostly need little, and take what they find. In the engine's
//! pool they find nothing where large questions have filled their shares, and a small question of somebody else's ends for the lack
//! of a kilobyte. Here an eighth is kept for them.
//!
//! In: requests for bytes. Out: yes, or the engine's own refusal. As there, who took a share keeps it when others come and shares are
//! smaller, until it asks again: for a while all together may hold more than the limit.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

#[derive(Debug)]
pub(super) struct Shares {
    /// Bytes.
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many can spill.
    spillers: usize,
    /// Bytes of those.
    spillable: usize,
    /// Bytes of all others.
    fixed: usize,
}

impl Shares {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that nobody who can spill gets.
    fn kept(&self) -> usize {
        self.limit / 8
    }
}

impl Taken {
    fn of(&mut self, reservation: &MemoryReservation) -> &mut usize {
        if reservation.consumer().can_spill() { &mut self.spillable } else { &mut self.fixed }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shares of {} bytes", self.limit)
    }
}

impl MemoryPool for Shares {
    fn name(&self) -> &str {
        "shares"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.taken().spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut taken = self.taken();
        taken.spillers = taken.spillers.saturating_sub(usize::from(consumer.can_spill()));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.taken().of(reservation) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut taken = self.taken();
        let bytes = taken.of(reservation);
        *bytes = bytes.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut taken = self.taken();
        let free = if reservation.consumer().can_spill() {
            let all = self.limit.saturating_sub(taken.fixed.max(self.kept()));
            (all / taken.spillers.max(1)).saturating_sub(reservation.size())
        } else {
            let free = self.limit.saturating_sub(taken.fixed.saturating_add(taken.spillable));
            free.max(self.kept().saturating_sub(taken.fixed))
        };
        if additional > free {
            let name = reservation.consumer().name();
            return Err(DataFusionError::ResourcesExhausted(format!("{additional} bytes for {name}, {free} are free")));
        }
        *taken.of(reservation) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let taken = self.taken();
        taken.spillable.saturating_add(taken.fixed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn reservation(pool: &Arc<dyn MemoryPool>, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new("test").with_can_spill(can_spill).register(pool)
    }

    #[test]
    fn who_can_spill_leaves_an_eighth_to_others_and_shares_the_rest_evenly() {
        let pool: Arc<dyn MemoryPool> = Arc::new(Shares::new(800));
        let (large, fixed) = (reservation(&pool, true), reservation(&pool, false));
        large.try_grow(701).unwrap_err();
        large.try_grow(700).unwrap();
        fixed.try_grow(101).unwrap_err();
        fixed.try_grow(100).unwrap();
        large.try_grow(1).unwrap_err();
        let other = reservation(&pool, true);
        other.try_grow(351).unwrap_err();
        other.try_grow(350).unwrap();
        large.try_resize(351).unwrap();
        large.try_grow(1).unwrap_err();
        drop((large, other));
        assert_eq!(pool.reserved(), 100);
        fixed.try_grow(700).unwrap();
        reservation(&pool, true).try_grow(1).unwrap_err();
        fixed.free();
        assert_eq!(pool.reserved(), 0);
    }
}
