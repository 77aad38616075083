//! Files on disk in, columns, identities and refusals out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;

use super::{Files, arrow_schema};
use crate::error::{Error, SqlState};
use crate::policy::{Access, Column, Format, Location, Table, UniqueKey};

struct Folder {
    dir: TempDir,
    files: Files,
}

fn folder(contents: &[(&str, &str)]) -> Folder {
    let dir = TempDir::new().unwrap();
    for (name, text) in contents {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let files = Files::new(dir.path().to_path_buf(), &super::Memory::default()).unwrap();
    Folder { dir, files }
}

fn csv(url: &str, options: &[(&str, &str)]) -> Location {
    let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Location { format: Format::Csv, url: url.to_owned(), options }
}

fn parquet(url: &str) -> Location {
    Location { format: Format::Parquet, url: url.to_owned(), options: BTreeMap::new() }
}

fn column(name: &str, data_type: DataType, nullable: bool) -> Column {
    Column {
        name: name.to_owned(),
        data_type: data_type.to_string(),
        nullable,
        class: None,
        bounds: None,
        domain: None,
        rules: Default::default(),
        form: None,
    }
}

fn table(location: Location, columns: Vec<Column>, primary: &[&str]) -> Table {
    let unique_keys = if primary.is_empty() { vec![] } else { vec![key(primary)] };
    Table {
        name: "t".to_owned(),
        location,
        columns,
        unique_keys,
        foreign_keys: vec![],
        access: Access::Unclassified,
        max_rows_per_person: None,
        max_groups_per_person: None,
        purpose_required: false,
        manager_key: None,
        row_policies: vec![],
    }
}

fn key(columns: &[&str]) -> UniqueKey {
    UniqueKey { columns: columns.iter().map(|name| name.to_string()).collect(), primary: true }
}

fn types(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect()
}

async fn rows(files: &Files, table: &Table) -> Vec<RecordBatch> {
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), files.runtime().clone());
    let provider = files.provider(table).await.unwrap();
    context.read_table(provider).unwrap().collect().await.unwrap()
}

fn text(error: &Error) -> String {
    format!(
        "{} {} | {} | {}",
        error.sqlstate.code(),
        error.message,
        error.detail.as_deref().unwrap_or_default(),
        error.hint.as_deref().unwrap_or_default()
    )
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn csv_with_another_delimiter_and_timestamps() {
    let f = folder(&[(
        "mail.csv",
        "Sender;Recipient;EventDate;Note\n17;37;2010-01-02 17:40:10;a, b\n17;136;2010-01-03 00:00:00;\n",
    )]);
    let location = csv("mail.csv", &[("delimiter", ";")]);
    let columns = f.files.inspect(&location, &[]).await.unwrap();
    assert_eq!(types(&columns), ["Sender Int64", "Recipient Int64", "EventDate Timestamp(µs)", "Note Utf8View"]);
    let batches = rows(&f.files, &table(location, columns, &[])).await;
    let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
    assert!(shown.contains("| 17     | 37        | 2010-01-02T17:40:10 | a, b |"), "{shown}");
    assert_eq!(batches[0].column(3).null_count(), 1);
}

#[tokio::test]
async fn quoted_lines_and_absolute_paths_and_names_with_pattern_characters() {
    let f = folder(&[("a [1]*.csv", "id,note\n1,\"two\nlines\"\n2,x\n")]);
    let path = f.dir.path().join("a [1]*.csv");
    for url in ["a [1]*.csv", path.to_str().unwrap()] {
        let location = csv(url, &[]);
        let columns = f.files.inspect(&location, &[]).await.unwrap();
        let batches = rows(&f.files, &table(location, columns, &[])).await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    }
    let f = folder(&[("plain.csv", "id\n1\n")]);
    let url = format!("file://{}/plain.csv", f.dir.path().display());
    assert!(f.files.inspect(&csv(&url, &[]), &[]).await.is_ok());
}

#[tokio::test]
async fn a_bad_row_is_named_and_not_quoted() {
    let mut data = String::from("id,age\n");
    for id in 0..20_000 {
        data.push_str(&format!("{id},{}\n", id % 90));
    }
    let bad_type = data.clone() + "20000,secret at line 3 for column 0\n20001,5\n";
    let bad_fields = data.clone() + "20000,5,secret\n";
    let f = folder(&[("type.csv", &bad_type), ("fields.csv", &bad_fields), ("early.csv", "a,b\n1,2\n3\n")]);
    for (name, message, detail) in [
        (
            "type.csv",
            "row 20001 of \"type.csv\" does not fit the table",
            "line 20002, column \"age\" is not of type bigint",
        ),
        ("fields.csv", "row 20001 of \"fields.csv\" does not fit the table", "line 20002 does not have 2 fields"),
        ("early.csv", "row 2 of \"early.csv\" does not fit the table", "line 3 does not have 2 fields"),
    ] {
        let error = f.files.inspect(&csv(name, &[]), &[]).await.unwrap_err();
        assert_eq!(error.sqlstate, SqlState::InvalidTextRepresentation);
        assert_eq!(error.message, message);
        assert_eq!(error.detail.as_deref(), Some(detail));
        assert!(error.hint.is_some());
        assert!(!text(&error).contains("secret"), "{}", text(&error));
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let f = folder(&[]);
    fs::write(f.dir.path().join("x.csv"), b"id,name\n1,ok\n2,\xff\xfe\n").unwrap();
    let error = f.files.inspect(&csv("x.csv", &[]), &[]).await.unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("line 3 is not UTF-8 text"));
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    let f = folder(&[
        ("empty/readme.txt", "x"),
        ("nothing.csv", ""),
        ("headless.csv", "17,37,5\n18,2,5\n"),
        ("text.parquet", "id\n1\n"),
        ("ok.csv", "id,age\n1,2\n"),
    ]);
    for (location, expected) in [
        (csv("gone.csv", &[]), "58P01 could not open location \"gone.csv\": no such file"),
        (csv("empty/", &[]), "58P01 could not open location \"empty/\": no .csv file in the folder"),
        (csv("s3://b/x.csv", &[]), "0A000 locations of scheme \"s3\" are not supported"),
        (csv("nothing.csv", &[]), "22000 \"nothing.csv\" is empty"),
        (csv("headless.csv", &[]), "42P16 column 1 of the file's first line has no name"),
        (csv("ok.csv", &[("colour", "red")]), "22023 unrecognized option \"colour\""),
        (csv("ok.csv", &[("delimiter", ";;")]), "22023 option \"delimiter\" requires one single-byte character"),
        (parquet("text.parquet"), "42809 \"text.parquet\" is not a readable Parquet file"),
    ] {
        let error = f.files.inspect(&location, &[]).await.unwrap_err();
        assert!(text(&error).starts_with(expected), "{}", text(&error));
    }
}

#[tokio::test]
async fn declared_columns_are_held_against_the_header() {
    let f = folder(&[("p.csv", "ID,Pay\n1,\n2,3\n")]);
    let good = [column("id", DataType::Int32, true), column("pay", DataType::Float64, true)];
    let columns = f.files.inspect(&csv("p.csv", &[]), &good).await.unwrap();
    assert_eq!(types(&columns), ["id Int32", "pay Float64"]);

    let swapped = [column("pay", DataType::Int64, true), column("id", DataType::Int64, true)];
    let error = f.files.inspect(&csv("p.csv", &[]), &swapped).await.unwrap_err();
    assert_eq!(error.message, "column 1 of the file is not \"pay\"");

    let required = [column("id", DataType::Int64, true), column("pay", DataType::Int64, false)];
    let error = f.files.inspect(&csv("p.csv", &[]), &required).await.unwrap_err();
    assert_eq!(error.sqlstate, SqlState::NotNullViolation);
}

#[tokio::test]
async fn keys_are_proved_from_the_data() {
    let f = folder(&[("p.csv", "id,week,maybe\n1,1,7\n1,2,\n2,1,8\n")]);
    let location = csv("p.csv", &[]);
    let columns = f.files.inspect(&location, &[]).await.unwrap();
    for (key_columns, holds) in
        [(vec!["id"], false), (vec!["id", "week"], true), (vec!["maybe"], false), (vec!["id", "maybe"], false)]
    {
        // Declared already: the declaration must not prove itself.
        let table = table(location.clone(), columns.clone(), &key_columns);
        let found = f.files.key_holds(&table, &key(&key_columns)).await.unwrap();
        assert_eq!(found, holds, "{key_columns:?}");
    }
    let table = table(location, columns, &["id", "week"]);
    let schema = arrow_schema(&table).unwrap();
    let nullable: Vec<bool> = schema.fields().iter().map(|f| f.is_nullable()).collect();
    assert_eq!(nullable, [false, false, true]);
}

#[tokio::test]
async fn a_snapshot_changes_when_files_do() {
    let f = folder(&[("d/a.csv", "id\n1\n"), ("d/.hidden.csv", "x")]);
    let location = csv("d", &[]);
    let first = f.files.snapshot(&location).await.unwrap();
    assert_eq!(f.files.snapshot(&location).await.unwrap(), first);
    fs::write(f.dir.path().join("d/.hidden.csv"), "y").unwrap();
    assert_eq!(f.files.snapshot(&location).await.unwrap(), first);
    fs::write(f.dir.path().join("d/a.csv"), "id\n1\n2\n").unwrap();
    let second = f.files.snapshot(&location).await.unwrap();
    assert_ne!(second, first);
    fs::write(f.dir.path().join("d/b.csv"), "id\n3\n").unwrap();
    assert_ne!(f.files.snapshot(&location).await.unwrap(), second);

    let columns = f.files.inspect(&location, &[]).await.unwrap();
    let batches = rows(&f.files, &table(location, columns, &[])).await;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

#[tokio::test]
async fn parquet_says_its_own_columns() {
    let f = folder(&[]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None), true),
    ]));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(TimestampNanosecondArray::from(vec![1_500, 2_000_000])),
    ];
    let batch = RecordBatch::try_new(schema, arrays).unwrap();
    write_parquet(&f.dir.path().join("p.parquet"), &batch);

    let location = parquet("p.parquet");
    let columns = f.files.inspect(&location, &[]).await.unwrap();
    assert_eq!(types(&columns), ["id Int64", "name Utf8View", "at Timestamp(µs)"]);
    assert!(!columns[0].nullable && columns[1].nullable);
    let table = table(location.clone(), columns, &["id"]);
    assert!(f.files.key_holds(&table, &key(&["id"])).await.unwrap());
    let batches = rows(&f.files, &table).await;
    assert_eq!(batches[0].schema(), arrow_schema(&table).unwrap());

    let some = [column("name", DataType::Utf8View, true)];
    let columns = f.files.inspect(&location, &some).await.unwrap();
    assert_eq!(types(&columns), ["name Utf8View"]);
    let wrong = [column("Name", DataType::Utf8View, true)];
    let error = f.files.inspect(&location, &wrong).await.unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("the files have the columns id, name, at"));
    let required = [column("name", DataType::Utf8View, false)];
    let error = f.files.inspect(&location, &required).await.unwrap_err();
    assert_eq!(error.sqlstate, SqlState::NotNullViolation);
}
