//! The catalog that one statement is planned against.
//!
//! In: [`Objects`] and the views made for the session. Out: a catalog list of one database with the five schemas. User
//! tables are names and columns only: their `scan` fails, so nothing here can read a file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, Session, TableProvider,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::objects::Objects;
use super::{SystemSession, information_schema, tables};

/// Tables of pg_catalog that are the same for everyone, by name.
pub(super) type StaticTables = HashMap<String, Arc<dyn TableProvider>>;

/// Rows of pg_class and pg_attribute about the system's own relations.
#[derive(Debug, Clone)]
pub(super) struct SystemRows {
    pub classes: RecordBatch,
    pub attributes: RecordBatch,
}

pub(super) fn catalog_list(
    session: &SystemSession,
    objects: &Arc<Objects>,
    statics: &Arc<StaticTables>,
    system_rows: &Arc<SystemRows>,
) -> Result<Arc<dyn CatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    let public = MemorySchemaProvider::new();
    for relation in objects.relations.iter().filter(|r| r.kind == "r") {
        let table = Arc::new(SchemaOnly(relation.fields.clone()));
        public.register_table(relation.name.clone(), table)?;
    }
    catalog.register_schema("public", Arc::new(public))?;
    for schema in ["privacy", "audit"] {
        let views = MemorySchemaProvider::new();
        for view in session.views.iter().filter(|view| view.schema == schema) {
            views.register_table(view.name.to_owned(), view.rows.clone())?;
        }
        catalog.register_schema(schema, Arc::new(views))?;
    }
    catalog.register_schema("information_schema", Arc::new(InformationSchema(objects.clone())))?;
    let pg_catalog = PgCatalog {
        objects: objects.clone(),
        settings: session.settings.clone(),
        statics: statics.clone(),
        system_rows: system_rows.clone(),
    };
    catalog.register_schema("pg_catalog", Arc::new(pg_catalog))?;
    let list = MemoryCatalogProviderList::new();
    list.register_catalog(session.database.clone(), Arc::new(catalog));
    Ok(Arc::new(list))
}

pub(super) fn memory(batches: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    let schema = batches
        .first()
        .map(RecordBatch::schema)
        .ok_or_else(|| DataFusionError::Internal("a table has a batch".to_owned()))?;
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

#[derive(Debug)]
struct PgCatalog {
    objects: Arc<Objects>,
    settings: BTreeMap<String, String>,
    statics: Arc<StaticTables>,
    system_rows: Arc<SystemRows>,
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let made = tables::NAMES.iter().map(|name| (*name).to_owned());
        made.chain(self.statics.keys().cloned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(batch) = tables::build(name, &self.objects, &self.settings)? else {
            return Ok(self.statics.get(name).cloned());
        };
        let mut batches = vec![batch];
        match name {
            "pg_class" => batches.push(self.system_rows.classes.clone()),
            "pg_attribute" => batches.push(self.system_rows.attributes.clone()),
            _ => {}
        }
        memory(batches).map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        tables::NAMES.contains(&name) || self.statics.contains_key(name)
    }
}

#[derive(Debug)]
struct InformationSchema(Arc<Objects>);

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let names = information_schema::NAMES.iter();
        names.map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match information_schema::build(name, &self.0)? {
            Some(batch) => memory(vec![batch]).map(Some),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        information_schema::NAMES.contains(&name)
    }
}

/// A table that can be named and not read.
#[derive(Debug)]
struct SchemaOnly(SchemaRef);

#[async_trait]
impl TableProvider for SchemaOnly {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::Plan("the system catalog does not read tables".to_owned()))
    }
}
