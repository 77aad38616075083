//! Runs the releases of a statement: those that read no other one together, then those that read them.
//!
//! In: a paid [`Reservation`] and a [`Verified`] plan. Out: the releases' rows, as measured and as shown. Must never: run a release
//! whose rows are known, or one before all that it reads are there.

use super::{Drawn, Engine, Measured, Released, Sources};
use crate::error::{Error, Result};
use crate::ledger::Reservation;
use crate::query::{SourceKind, Verified, VerifiedRelease};

/// Runs every release that is not in `known`. `drawn`: what the statement's releases are drawn with.
pub async fn execute(
    engine: &Engine,
    paid: Reservation,
    verified: &Verified,
    known: Vec<Option<Measured>>,
    sources: &Sources,
    drawn: Drawn,
) -> Result<(Reservation, Vec<Measured>, Vec<Released>)> {
    let releases = verified.releases();
    let mut known = known.into_iter();
    let mut measured: Vec<Option<Measured>> = releases.iter().map(|_| known.next().flatten()).collect();
    let mut released: Vec<Option<Released>> = vec![None; releases.len()];
    loop {
        for ((release, rows), shown) in releases.iter().zip(&measured).zip(&mut released) {
            if let (Some(rows), None) = (rows, &shown) {
                *shown = Some(rows.released(release, verified.levels())?);
            }
        }
        let missing = || releases.iter().enumerate().filter(|(number, _)| matches!(measured.get(*number), Some(None)));
        let ready: Vec<(usize, &VerifiedRelease)> =
            missing().filter(|(_, release)| reads_only_known(release, &released)).collect();
        if ready.is_empty() {
            if missing().next().is_some() {
                return Err(Error::internal());
            }
            break;
        }
        let plans: Vec<_> = ready.iter().map(|(_, release)| release.plan()).collect();
        let batches = engine.releases(&plans, sources, &released).await?;
        for ((number, release), batch) in ready.into_iter().zip(batches) {
            let rows = Measured::new(batch, release.identity().clone(), drawn);
            *measured.get_mut(number).ok_or_else(Error::internal)? = Some(rows);
        }
    }
    let all = measured.into_iter().zip(released).map(|(rows, shown)| rows.zip(shown).ok_or_else(Error::internal));
    let (measured, released) = all.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok((paid, measured, released))
}

fn reads_only_known(release: &VerifiedRelease, released: &[Option<Released>]) -> bool {
    release.sources().iter().all(|source| match source {
        SourceKind::Released(number) => matches!(released.get(*number), Some(Some(_))),
        SourceKind::Protected(_) | SourceKind::Public(_) | SourceKind::Directory(_) | SourceKind::Opened(_) => true,
    })
}
