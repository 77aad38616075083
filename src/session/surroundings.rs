//! Gathers what a query is compiled against and run on: the tables it names, their data's identity, their proven keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use datafusion::common::TableReference;
use datafusion::sql::parser::Statement as ParserStatement;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast;
use paravent_udfs::{Delta, Epsilon};

use super::Session;
use crate::catalog::files::{Files, Listing, arrow_schema};
use crate::error::{Error, Result};
use crate::policy::{
    Access, AccessGrant, Capability, DigestOf, Location, Person, Policies, Principal, Settings, Table, UniqueKey, View,
};
use crate::query::statement::Statement;
use crate::query::statistics::Statistics;
use crate::query::{Context, KnownTable, KnownView, Subject, Viewer, directory_query, parse};
use crate::release::Sources;

/// The context of one query and the sources behind its tables.
pub(super) struct Surroundings {
    pub context: Context,
    /// Identity of the data, by table.
    pub snapshots: BTreeMap<String, String>,
    pub tables: Vec<Table>,
    /// The files of those tables that may be read.
    pub listings: BTreeMap<String, Listing>,
    /// Tables whose data says who is in a scope, and its identity.
    pub scoping: Vec<(Table, String)>,
    /// All of it.
    pub looked: Looked,
}

/// Data that a statement looked at: each once, so that all it is told is of the same files.
#[derive(Default)]
pub(super) struct Looked(Vec<(Location, Listing)>);

impl Looked {
    pub async fn at(&mut self, files: &Files, location: &Location) -> Result<Listing> {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known == location) {
            return Ok(known.clone());
        }
        let listing = files.list(location).await?;
        self.0.push((location.clone(), listing.clone()));
        Ok(listing)
    }

    /// Where, and which data it was.
    pub fn identities(&self) -> Vec<(Location, String)> {
        self.0.iter().map(|(location, listing)| (location.clone(), listing.snapshot().as_str().to_owned())).collect()
    }
}

impl Session {
    pub(super) async fn surroundings(&self, query: &ast::Query, text: &str) -> Result<Surroundings> {
        self.refuse_while_pending("a question")?;
        let policies = self.server.catalog.policies();
        self.surroundings_as(query, text, policies, self.principal()?, &self.settings_in_force()).await
    }

    /// The same for somebody else.
    pub(super) async fn surroundings_as(
        &self,
        query: &ast::Query,
        text: &str,
        policies: Arc<Policies>,
        principal: Principal,
        settings: &Settings,
    ) -> Result<Surroundings> {
        let readable = principal.may_ask();
        let (mut known, mut snapshots, mut tables) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (mut listings, mut looked) = (BTreeMap::new(), Looked::default());
        let show_suppressed = self.shows_suppressed();
        let named = Named::of(&policies, query, show_suppressed)?;
        for table in named.tables {
            let classified = table.access != Access::Unclassified;
            let readable = readable || table.access == Access::Directory;
            let (snapshot, proven_keys) = if readable && classified {
                let (listing, proven_keys) = self.data_of(table, &mut looked).await?;
                let snapshot = listing.snapshot().as_str().to_owned();
                listings.insert(table.name.clone(), listing);
                (snapshot, proven_keys)
            } else {
                (String::new(), vec![])
            };
            let statistics = if readable && classified { self.statistics_of(table, &mut looked).await? } else { None };
            let schema = arrow_schema(table)?;
            known.insert(
                table.name.clone(),
                KnownTable { table: table.clone(), schema, proven_keys, snapshot: snapshot.clone(), statistics },
            );
            snapshots.insert(table.name.clone(), snapshot);
            tables.push(table.clone());
        }
        let now = Utc::now();
        let holds = principal.can(Capability::HoldAccess);
        let grants = tables.iter().filter(|_| holds).filter_map(|table: &Table| {
            let grant = policies.live_access(&principal, &table.name, now.timestamp())?;
            Some((table.name.clone(), grant.clone()))
        });
        let access: BTreeMap<String, AccessGrant> = grants.collect();
        let digester = self.server.catalog.digester();
        let subject = |grant: &AccessGrant| Some(Subject::new(grant.person.clone()?, digester.clone()));
        let subjects = access.iter().filter_map(|(table, grant)| Some((table.clone(), subject(grant)?))).collect();
        // Who asks about nobody may see a directory.
        let in_question = |table: &&Table| match table.access {
            Access::Unclassified => false,
            Access::Directory => true,
            Access::Public | Access::Protected { .. } | Access::Linked { .. } => readable,
        };
        let in_question: Vec<&Table> = tables.iter().filter(in_question).collect();
        let scoped = self.scopes(&policies, &principal, &in_question, &mut looked).await?;
        let now = Utc::now();
        let context = Context {
            purpose: self.declared_purpose(&policies, &principal, now)?,
            scopes: scoped.scopes,
            policies: policies.clone(),
            principal,
            tables: known,
            views: named.views,
            access,
            subjects,
            viewer: self.viewer(),
            show_suppressed,
            functions: self.server.functions.clone(),
            epsilon: Epsilon::new(settings.epsilon).map_err(|_| Error::internal())?,
            mechanism: settings.mechanism,
            delta: Delta::new(settings.delta).map_err(|_| Error::internal())?,
            weights: settings.weights.clone(),
            now,
            moment: self.transaction.moment(),
            text: text.to_owned(),
        };
        Ok(Surroundings { context, snapshots, tables, listings, scoping: scoped.tables, looked })
    }

    /// The person behind this login; as the policies say now, not as the session began.
    fn viewer(&self) -> Option<Viewer> {
        let policies = self.server.catalog.policies();
        let person = policies.roles.get(&self.client.user)?.person.clone()?;
        let digester = self.server.catalog.digester().clone();
        Some(Viewer::new(move |text| digester.digest(DigestOf::Login, Person::of_text(text)) == person))
    }

    /// The data and the declared keys that hold on it. A key is looked at once per identity of the data; rows that come meanwhile can
    /// only make it fail.
    async fn data_of(&self, table: &Table, looked: &mut Looked) -> Result<(Listing, Vec<UniqueKey>)> {
        let listing = looked.at(&self.server.files, &table.location).await?;
        let snapshot = listing.snapshot();
        let mut proven = Vec::new();
        for key in &table.unique_keys {
            if self.key_holds(table, key, snapshot.as_str()).await? {
                proven.push(key.clone());
            }
        }
        Ok((listing, proven))
    }

    /// What ANALYZE found in the present data, by the present person key.
    async fn statistics_of(&self, table: &Table, looked: &mut Looked) -> Result<Option<Arc<Statistics>>> {
        let snapshot = self.statistics_snapshot_of(table, looked).await?;
        let known = self.server.statistics_kept(&table.name, &snapshot).await?;
        Ok(known.filter(|known| known.of == format!("{:?}", table.access)))
    }

    /// The rows that the query was compiled for, and none that came since.
    pub(super) async fn sources(&self, around: &Surroundings) -> Result<Sources> {
        let mut sources = Sources::watched(self.seat.backend().progress.clone());
        let files = &self.server.files;
        let mut listed = around.tables.iter().map(|table| around.listings.get(&table.name).map(Listing::bytes));
        if let Some(bytes) = listed.try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?))) {
            sources.weigh(bytes);
        }
        for table in &around.tables {
            let provider = match around.listings.get(&table.name) {
                Some(listing) => files.provider_of(table, listing),
                None => files.provider(table).await,
            };
            let snapshot = around.snapshots.get(&table.name).cloned();
            sources.add(table.name.clone(), provider.map_err(|_| Error::internal())?, snapshot);
        }
        Ok(sources)
    }
}

/// What a query names, itself or through views; the tables through which rows reach their persons; and, where they are
/// wanted, the public tables that hold declared values.
struct Named<'a> {
    tables: Vec<&'a Table>,
    views: BTreeMap<String, KnownView>,
}

impl<'a> Named<'a> {
    fn of(policies: &'a Policies, query: &ast::Query, values_too: bool) -> Result<Self> {
        let mut open = public_names(query)?;
        let mut tables: BTreeMap<&str, &Table> = BTreeMap::new();
        let mut views = BTreeMap::new();
        while let Some(name) = open.pop() {
            if let Some(table) = policies.tables.get(&name)
                && tables.insert(&table.name, table).is_none()
            {
                open.extend(table.link().map(|by| by.table.clone()));
                if table.access == Access::Directory {
                    open.extend(public_names(&directory_query(table)?)?);
                }
                if values_too {
                    let public =
                        |name: &&String| policies.tables.get(*name).is_some_and(|t| t.access == Access::Public);
                    open.extend(table.foreign_keys.iter().map(|key| &key.table).filter(public).cloned());
                }
            }
            if let Some(view) = policies.views.get(&name)
                && !views.contains_key(&name)
            {
                let known = known_view(view)?;
                open.extend(public_names(&known.query)?);
                views.insert(name, known);
            }
        }
        Ok(Self { tables: tables.into_values().collect(), views })
    }
}

/// A view's query, parsed again from its text.
pub(super) fn known_view(view: &View) -> Result<KnownView> {
    let statement = parse::parse(&view.definition)?.pop().map(|parsed| parsed.statement);
    let Some(Statement::Query(query)) = statement else {
        tracing::error!("the state file holds a view that is no query");
        return Err(Error::internal());
    };
    let columns = view.columns.iter().map(|(name, _)| name.clone()).collect();
    Ok(KnownView { query: *query, columns, security_invoker: view.security_invoker, metric: view.metric })
}

/// The relations of the schema `public` among those a query names.
pub(super) fn public_names(query: &ast::Query) -> Result<Vec<String>> {
    let in_reach = |name: &TableReference| name.schema().is_none_or(|schema| schema == "public");
    Ok(relations(query)?.iter().filter(|name| in_reach(name)).map(|name| name.table().to_owned()).collect())
}

/// The relations a query names; names of its own WITH queries are not among them.
pub(super) fn relations(query: &ast::Query) -> Result<Vec<TableReference>> {
    let statement = ParserStatement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))));
    let (relations, _) = resolve_table_references(&statement, true).map_err(|_| Error::internal())?;
    Ok(relations)
}
