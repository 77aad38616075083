//! What is loaded once: Postgres's own catalog tables, and the engine's state without anything that reads or writes.
//!
//! In: nothing. Out: tables by name, which of them are empty, and the rows that pg_class and pg_attribute have about them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::format_type::create_format_type_udf;
use datafusion_pg_catalog::pg_catalog::generate_series_arg_coercion::CoerceIntArgsToBigInt;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::quote_ident_udf::{create_parse_ident_udf, create_quote_ident_udf};
use datafusion_pg_catalog::pg_catalog::{
    ArrowTable, PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable, array_bounds_udf,
};

use super::objects::{Objects, Relation, oid};
use super::schemas::{StaticTables, SystemRows};
use super::{information_schema, tables};
use crate::catalog::Yielding;

/// Tables that Postgres itself shows to superusers only.
const WITHHELD: [&str; 7] = [
    "pg_authid",
    "pg_largeobject",
    "pg_stat_gssapi",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_user_mapping",
];

/// Tables whose contents came from another server: here they have no rows.
const EMPTIED: [&str; 5] = ["pg_depend", "pg_init_privs", "pg_rewrite", "pg_shdepend", "pg_shdescription"];

pub(super) struct Loaded {
    pub tables: StaticTables,
    pub empty: HashSet<String>,
    pub relations: Vec<Relation>,
    pub rows: SystemRows,
    pub types: HashMap<String, i32>,
    pub keywords: Arc<ArrowTable>,
}

pub(super) fn load() -> Result<Loaded> {
    let statics = Arc::new(PgCatalogStaticTables::try_new()?);
    let keywords = statics.pg_get_keywords.clone();
    let types = types(&statics.pg_type)?;
    let nothing: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    let source = PgCatalogSchemaProvider::try_new(nothing, statics, EmptyContextProvider)?;
    let mut found = StaticTables::new();
    let mut empty = HashSet::new();
    for name in PG_CATALOG_TABLES {
        if tables::NAMES.contains(name) || WITHHELD.contains(name) {
            continue;
        }
        let Some(table) = source.build_table_by_name(name)? else {
            continue;
        };
        let rows = match &table {
            PgCatalogTable::Static(table) => table.data().iter().map(|b| b.num_rows()).sum(),
            PgCatalogTable::Empty(_) => 0,
            // Made for each query from a catalog list: this room makes those itself.
            PgCatalogTable::Dynamic(_) => continue,
        };
        if rows == 0 || EMPTIED.contains(name) {
            empty.insert((*name).to_owned());
        }
        let mut provider = table.try_into_table_provider()?;
        if EMPTIED.contains(name) {
            provider = Arc::new(EmptyTable::new(provider.schema()));
        }
        found.insert((*name).to_owned(), provider);
    }
    let relations = relations(&found)?;
    let rows = SystemRows {
        classes: tables::classes(&Objects::of_nobody(), &relations)?,
        attributes: tables::attributes(&relations)?,
    };
    Ok(Loaded { tables: found, empty, relations, rows, types, keywords })
}

fn types(pg_type: &ArrowTable) -> Result<HashMap<String, i32>> {
    let mut found = HashMap::new();
    for batch in pg_type.data() {
        let (Some(oids), Some(names)) = (batch.column_by_name("oid"), batch.column_by_name("typname")) else {
            continue;
        };
        let oids = cast(oids, &DataType::Int32)?;
        let names = cast(names, &DataType::Utf8)?;
        let oids = oids.as_primitive::<Int32Type>().iter();
        let names = names.as_string::<i32>().iter();
        let pairs = names.zip(oids);
        found.extend(pairs.filter_map(|(name, oid)| Some((name?.to_owned(), oid?))));
    }
    Ok(found)
}

/// The system's own relations, as pg_class lists them.
fn relations(found: &StaticTables) -> Result<Vec<Relation>> {
    let relation = |schema: &str, name: &str, kind, fields| Relation {
        oid: oid("relation", &format!("{schema}.{name}")),
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind,
        fields,
        comment: None,
        column_comments: vec![],
        selectable: true,
        definition: None,
    };
    let sorted: BTreeMap<&String, &Arc<dyn TableProvider>> = found.iter().collect();
    let mut relations: Vec<Relation> =
        sorted.iter().map(|(name, table)| relation("pg_catalog", name, "r", table.schema())).collect();
    let objects = Objects::of_nobody();
    for name in tables::NAMES {
        if let Some(batch) = tables::build(name, &objects, &BTreeMap::new())? {
            relations.push(relation("pg_catalog", name, "r", batch.schema()));
        }
    }
    for name in information_schema::NAMES {
        if let Some(batch) = information_schema::build(name, &objects)? {
            relations.push(relation("information_schema", name, "v", batch.schema()));
        }
    }
    Ok(relations)
}

/// The engine with its functions, without files, formats and table factories.
pub(super) fn template(keywords: &Arc<ArrowTable>) -> Result<SessionState> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .set_str("datafusion.execution.time_zone", "+00:00")
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime()?)
        .with_default_features()
        .with_file_formats(vec![])
        .with_table_factories(Default::default())
        .with_type_planner(Arc::new(PgOidTypePlanner))
        .with_physical_optimizer_rule(Arc::new(Yielding))
        .build();
    let context = SessionContext::new_with_state(state);
    for function in [
        create_format_type_udf(),
        create_quote_ident_udf(),
        create_parse_ident_udf(),
        array_bounds_udf::create_array_upper_udf(),
        array_bounds_udf::create_array_lower_udf(),
    ] {
        context.register_udf(function);
    }
    context.register_udtf("pg_get_keywords", keywords.clone());
    CoerceIntArgsToBigInt::widen(&context);
    Ok(context.state())
}

/// What sorting and joining in all catalog queries together may take.
const MEMORY_BYTES: usize = 512 << 20;

/// Nothing is spilled: what does not fit is refused.
fn runtime() -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY_BYTES)))
        .with_disk_manager_builder(disk)
        .build_arc()
}
