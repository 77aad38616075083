//! Pairs of neighbouring worlds, many of them side by side in one file.
//!
//! Groups are numbered; a block is `wide` groups, even blocks are the world of 60 persons a group, odd ones have one person more.
//! In: a size. Out: Parquet files and the statements that register them. Everyone but that person is alike, so that the adversary
//! sees the mechanism and nothing else.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch};
use datafusion::parquet::arrow::ArrowWriter;
use tokio_postgres::Client;

use crate::support::{TestServer, run};

pub const PERSONS: usize = 60;

/// One row: person, group, a measure, an attribute.
type Row = (i64, i32, f64, i32);

/// Rows as a Parquet file of the columns `person`, `grp`, `size`, `kind`.
struct Writer {
    file: Option<ArrowWriter<File>>,
    path: std::path::PathBuf,
    person: Int64Builder,
    grp: Int32Builder,
    size: Float64Builder,
    kind: Int32Builder,
    rows: usize,
}

impl Writer {
    fn new(path: &Path) -> Self {
        let (person, grp) = (Int64Builder::new(), Int32Builder::new());
        let (size, kind) = (Float64Builder::new(), Int32Builder::new());
        Self { file: None, path: path.to_owned(), person, grp, size, kind, rows: 0 }
    }

    fn add(&mut self, (person, grp, size, kind): Row) {
        self.person.append_value(person);
        self.grp.append_value(grp);
        self.size.append_value(size);
        self.kind.append_value(kind);
        self.rows += 1;
        if self.rows == 100_000 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let columns: [(&str, ArrayRef); 4] = [
            ("person", Arc::new(self.person.finish())),
            ("grp", Arc::new(self.grp.finish())),
            ("size", Arc::new(self.size.finish())),
            ("kind", Arc::new(self.kind.finish())),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let path = &self.path;
        let open = || ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        self.file.get_or_insert_with(open).write(&batch).unwrap();
        self.rows = 0;
    }

    fn finish(mut self) {
        self.flush();
        self.file.unwrap().close().unwrap();
    }
}

/// Which world group `grp` is of, and the block it is in.
pub fn world_of(grp: i32, wide: i32) -> (usize, usize) {
    let block = (grp / wide) as usize;
    (block % 2, block / 2)
}

async fn register(admin: &Client, table: &str, options: &[&str]) {
    run(admin, &format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{table}.parquet'")).await;
    for option in options {
        run(admin, &format!("ALTER TABLE {table} {option}")).await;
    }
    for change in [
        "SET (person_key = 'person')",
        "ALTER COLUMN grp SET (class = 'attribute')",
        "ALTER COLUMN kind SET (class = 'attribute')",
        "ALTER COLUMN size SET (class = 'measure', lower = 0, upper = 80)",
    ] {
        run(admin, &format!("ALTER TABLE {table} {change}")).await;
    }
    run(admin, &format!("GRANT SELECT ON {table} TO insights_analyst")).await;
}

/// `crowd`: one row a person, one group each; the person more has a measure of 1e308.
pub async fn crowd(server: &TestServer, groups: i32) {
    let mut writer = Writer::new(&server.folder().join("crowd.parquet"));
    each_person(groups, |person, grp, more| {
        writer.add((person, grp, if more { 1e308 } else { 40.0 }, (person % 2) as i32))
    });
    writer.finish();
    register(&server.admin().await, "crowd", &["ADD PRIMARY KEY (person)"]).await;
}

/// `event`: rows of the persons of `crowd`, one each; the person more has 25, each with a measure of 1e308.
pub async fn event(server: &TestServer, groups: i32) {
    let mut writer = Writer::new(&server.folder().join("event.parquet"));
    each_person(groups, |person, grp, more| {
        for _ in 0..if more { 25 } else { 1 } {
            writer.add((person, grp, if more { 1e308 } else { 40.0 }, (person % 2) as i32));
        }
    });
    writer.finish();
    register(&server.admin().await, "event", &["SET (max_rows_per_person = 3, max_groups_per_person = 1)"]).await;
}

fn each_person(groups: i32, mut add: impl FnMut(i64, i32, bool)) {
    let mut person = 0;
    for grp in 0..groups {
        let (world, _) = world_of(grp, 1);
        for member in 0..PERSONS + world {
            add(person, grp, member == PERSONS);
            person += 1;
        }
    }
}

/// Groups that one person of `visit` is in, of which two may count.
pub const WIDE: i32 = 16;

/// `visit`: 60 persons with a row in one group of the block; the person more has 25 rows in every group of it.
pub async fn visit(server: &TestServer, blocks: i32) {
    let mut writer = Writer::new(&server.folder().join("visit.parquet"));
    let mut person = 0;
    for grp in 0..blocks * WIDE {
        let (world, block) = world_of(grp, WIDE);
        for _ in 0..PERSONS {
            writer.add((person, grp, 40.0, 0));
            person += 1;
        }
        for _ in 0..25 * world {
            writer.add((-1 - block as i64, grp, 1e308, 0));
        }
    }
    writer.finish();
    let options = ["SET (max_rows_per_person = 3, max_groups_per_person = 2)"];
    register(&server.admin().await, "visit", &options).await;
}

/// `name`: one row a person; `groups` groups of each of the sizes, `kind` says which.
pub async fn sizes(server: &TestServer, name: &str, groups: i32, sizes: &[usize]) {
    let mut writer = Writer::new(&server.folder().join(format!("{name}.parquet")));
    let mut person = 0;
    for (kind, size) in sizes.iter().enumerate() {
        for grp in 0..groups {
            for _ in 0..*size {
                writer.add((person, grp, 40.0, kind as i32));
                person += 1;
            }
        }
    }
    writer.finish();
    register(&server.admin().await, name, &["ADD PRIMARY KEY (person)"]).await;
}
