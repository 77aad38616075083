//! TPC-H's tables as Parquet files, a server in front of them, and the unprotected engine over the same files.
//!
//! In: a scale factor. Out: `tpch/TABLE.parquet` in a server's data folder, and `schema.sql` said to it by an administrator.

use std::fs::File;
use std::path::Path;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::support::{TestServer, run, statements};

const TABLES: [&str; 8] = ["region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// Rows a row group: several even at small scale, so that the engine reads a table in parts.
const ROW_GROUP_ROWS: usize = 131_072;

pub type Cell = Option<String>;

/// A server that holds TPC-H, with an analyst who may ask about all of it.
pub async fn server(scale: f64) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    write_tables(folder.path(), scale);
    let server = TestServer::start_in(folder).await.with_people().await;
    let admin = server.admin().await;
    for statement in statements(include_str!("schema.sql")) {
        run(&admin, statement).await;
    }
    server
}

fn write_tables(folder: &Path, scale: f64) {
    let folder = folder.join("tpch");
    std::fs::create_dir(&folder).unwrap();
    let file = |table: &str| folder.join(format!("{table}.parquet"));
    write(&file("region"), RegionArrow::new(RegionGenerator::new(scale, 1, 1)));
    write(&file("nation"), NationArrow::new(NationGenerator::new(scale, 1, 1)));
    write(&file("part"), PartArrow::new(PartGenerator::new(scale, 1, 1)));
    write(&file("supplier"), SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)));
    write(&file("partsupp"), PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)));
    write(&file("customer"), CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)));
    write(&file("orders"), OrderArrow::new(OrderGenerator::new(scale, 1, 1)));
    write(&file("lineitem"), LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)));
}

fn write<R>(path: &Path, batches: R)
where
    R: RecordBatchReader + Iterator<Item = Result<RecordBatch, ArrowError>>,
{
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP_ROWS)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batches.schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
}

/// The unprotected engine over the server's files.
pub async fn plain(server: &TestServer) -> SessionContext {
    let context = SessionContext::new();
    for table in TABLES {
        let file = server.folder().join(format!("tpch/{table}.parquet"));
        context.register_parquet(table, file.to_str().unwrap(), ParquetReadOptions::default()).await.unwrap();
    }
    context
}

/// What the unprotected engine answers: column names, and rows as text.
pub async fn exact(context: &SessionContext, sql: &str) -> (Vec<String>, Vec<Vec<Cell>>) {
    let mut answer = (Vec::new(), Vec::new());
    for statement in statements(sql) {
        let frame = context.sql(statement).await.unwrap_or_else(|error| panic!("{error}\n{statement}"));
        let names: Vec<String> = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
        let batches = frame.collect().await.unwrap_or_else(|error| panic!("{error}\n{statement}"));
        if !names.is_empty() {
            answer = (names, batches.iter().flat_map(texts).collect());
        }
    }
    answer
}

fn texts(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| {
            let cell = |(column, shown): (&arrow::array::ArrayRef, &ArrayFormatter)| {
                column.is_valid(row).then(|| shown.value(row).to_string())
            };
            batch.columns().iter().zip(&columns).map(cell).collect()
        })
        .collect()
}
