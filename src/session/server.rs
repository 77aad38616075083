//! Everything one server holds, as one value; several live side by side in one process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use paravent_udfs::Noise;
use tokio_util::sync::CancellationToken;

use super::activity::Activities;
use super::kept_statistics::KeptStatistics;
use super::recent::Recent;
use super::scopes::ExcludedNow;
use super::single_flight::Flights;
use super::texts::Texts;
use super::{Client, Session};
use crate::catalog::Catalog;
use crate::catalog::files::{Files, Memory};
use crate::catalog::system::SystemCatalog;
use crate::error::{Error, Result, SqlState};
use crate::keys::{KeyFile, KeyService};
use crate::ledger::Ledger;
use crate::policy::Verifier;
use crate::query::Functions;
use crate::release::{Engine, ScopeCache};
use crate::state::State;

pub use crate::query::parse::DATABASE;

/// What `main` decides.
pub struct Config {
    /// Holds `paravent.db` (roles, policies, ledger, log) and the files of tables with relative locations.
    pub data_dir: PathBuf,
    /// Of the bootstrap account, at the first start; `None`: one is made up.
    pub admin_password: Option<String>,
    /// The key file of pseudonyms; `None`: `pseudonym.keys` in the data folder.
    pub keys: Option<PathBuf>,
    pub noise: Noise,
    /// What queries may take of it.
    pub memory: Memory,
}

pub struct Server {
    pub(super) catalog: Catalog,
    pub(super) ledger: Ledger,
    pub(super) files: Files,
    pub(super) engine: Engine,
    pub(super) functions: Arc<Functions>,
    pub(super) system: SystemCatalog,
    /// Columns of the views of `privacy` and `audit`, once they are known.
    pub(super) view_columns: Mutex<BTreeMap<(&'static str, &'static str), SchemaRef>>,
    pub(super) keys: Arc<dyn KeyService>,
    pub(super) scopes: ScopeCache,
    pub(super) excluded: ExcludedNow,
    pub(super) recent: Recent,
    pub(super) kept_statistics: KeptStatistics,
    pub(super) texts: Texts,
    pub(super) activities: Arc<Activities>,
    pub(super) flights: Flights,
}

impl Server {
    /// Opens the state file, makes it at the first start. Gives the bootstrap account's password if it was made up just now.
    pub async fn open(config: Config) -> Result<(Arc<Self>, Option<String>)> {
        std::fs::create_dir_all(&config.data_dir).map_err(|error| {
            Error::new(SqlState::UndefinedFile, format!("could not make the data folder: {}", error.kind()))
        })?;
        let keys = KeyFile::open(config.keys.unwrap_or_else(|| config.data_dir.join("pseudonym.keys")))?;
        let state = State::open(config.data_dir.join("paravent.db"))?;
        let (catalog, generated) = Catalog::open(state.clone(), config.admin_password).await?;
        let files = Files::new(config.data_dir, &config.memory)?;
        for table in catalog.policies().tables.values() {
            files.remove_abandoned(table).await;
        }
        let engine = Engine::new(config.noise, files.runtime().clone());
        let server = Self {
            catalog,
            ledger: Ledger::open(state).await?,
            files,
            engine,
            functions: Arc::new(Functions::new()),
            system: SystemCatalog::new()?,
            view_columns: Mutex::default(),
            keys: Arc::new(keys),
            scopes: ScopeCache::default(),
            excluded: ExcludedNow::default(),
            recent: Recent::default(),
            kept_statistics: KeptStatistics::default(),
            texts: Texts::default(),
            activities: Arc::default(),
            flights: Flights::default(),
        };
        server.sweep_access().await;
        Ok((Arc::new(server), generated))
    }

    /// The SCRAM verifier of a login, or one that no password fits where there is no such login.
    pub async fn verifier(&self, user: &str) -> Verifier {
        let _ = self.catalog.refresh().await;
        let policies = self.catalog.policies();
        let now = chrono::Utc::now().timestamp();
        match policies.login_verifier(user, now) {
            Some(verifier) => verifier.clone(),
            None => Verifier::mock(self.catalog.mock_secret(), user),
        }
    }

    /// A session for a login that has proved itself; `stop` ends it. Errors: no such database (3D000), may not log in (28000), too many
    /// sessions (53300).
    pub async fn open_session(self: &Arc<Self>, client: Client, stop: CancellationToken) -> Result<Session> {
        if client.database != DATABASE {
            return Err(Error::new(
                SqlState::InvalidCatalogName,
                format!("database \"{}\" does not exist", client.database),
            )
            .hint(format!("there is one database: {DATABASE}")));
        }
        self.sweep_access().await;
        Session::open(self.clone(), client, stop).await
    }
}
