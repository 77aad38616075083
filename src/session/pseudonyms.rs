//! The keys of pseudonyms: which a statement needs, and `CALL privacy.rotate_key(family)`.
//!
//! In: names of keys. Out: keys. Which epoch a family is in is a decision of administrators (`Policies::key_epoch`), logged and kept
//! with the others; the keys themselves are kept by the key service and nowhere else.

use std::collections::BTreeMap;

use super::Session;
use super::procedures::Arguments;
use crate::error::{Error, Result};
use crate::keys::{Key, KeyName};
use crate::policy::{Change, Level};
use crate::query::statement::Call;
use crate::query::{Shows, Verified};
use crate::release::RowKeys;

pub(super) const ROTATE: &str = "privacy.rotate_key";

/// `CALL privacy.rotate_key(family)`
pub(super) fn rotate(call: &Call) -> Result<Vec<Change>> {
    let family = Arguments::new(call, &["family"])?.required("family")?.to_owned();
    Ok(vec![Change::RotateKey { family }])
}

impl Session {
    /// The new key is drawn at once, so that the old one is gone when the statement is answered.
    pub(super) async fn draw_rotated_key(&self, call: &Call) -> Result<()> {
        if call.procedure != ROTATE {
            return Ok(());
        }
        let family = Arguments::new(call, &["family"])?.required("family")?.to_owned();
        let epoch = self.server.catalog.policies().key_epoch(&family);
        self.key(KeyName::Family { family, epoch }).await.map(|_| ())
    }

    /// The keys of what a statement shows of rows; none where it shows none.
    pub(super) async fn row_keys(&self, verified: &Verified) -> Result<Option<RowKeys>> {
        let Some(recipe) = verified.recipe() else { return Ok(None) };
        let access = self.key(KeyName::Access(recipe.access)).await?;
        let mut families = BTreeMap::new();
        for column in &recipe.columns {
            if let Shows::Pseudonym { family, epoch } = &column.shows
                && !families.contains_key(family)
            {
                let name = KeyName::Family { family: family.clone(), epoch: *epoch };
                // Beside a person's own rows a pseudonym of another grant would be a name: those of `direct` rows are the grant's own.
                let key = match recipe.level {
                    Level::Deidentified => self.key(name).await?,
                    Level::Direct => access.clone(),
                };
                families.insert(family.clone(), key);
            }
        }
        Ok(Some(RowKeys { access, families, purpose: self.purpose().unwrap_or_default() }))
    }

    /// The key service may read and write files.
    pub(super) async fn key(&self, name: KeyName) -> Result<Key> {
        let keys = self.server.keys.clone();
        tokio::task::spawn_blocking(move || keys.key(&name)).await.map_err(|_| Error::internal())?
    }
}
