//! CSV files: their dialect, their columns, and the one pass over all rows when a table is made.
//!
//! In: a location's options and its files. Out: columns to register, or a refusal that names row, column and expected
//! type. The parser's own errors quote cells and rows, so none of their text leaves this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::str::FromStr;
use std::sync::Arc;

use arrow::csv::reader::Format as Reading;
use arrow::csv::{Reader, ReaderBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;

use super::locate::DataFile;
use super::registered_column;
use crate::catalog::system::type_name;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Column, Location};

/// Rows per file from which types are guessed. The later rows must then fit.
const SAMPLE_ROWS: usize = 1000;
const BATCH_ROWS: usize = 8192;

/// How the fields of a row are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    header: bool,
    delimiter: u8,
    quote: u8,
    escape: Option<u8>,
    comment: Option<u8>,
}

impl Dialect {
    /// Only what the reader really does is an option: an empty field is null, timestamps are ISO 8601.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut dialect = Self { header: true, delimiter: b',', quote: b'"', escape: None, comment: None };
        for (name, value) in options {
            let key = name.to_ascii_lowercase();
            match key.strip_prefix("format.").unwrap_or(&key) {
                "header" | "has_header" => dialect.header = boolean(name, value)?,
                "delimiter" => dialect.delimiter = character(name, value)?,
                "quote" => dialect.quote = character(name, value)?,
                "escape" => dialect.escape = Some(character(name, value)?),
                "comment" => dialect.comment = Some(character(name, value)?),
                _ => {
                    return Err(invalid(format!("unrecognized option \"{name}\""))
                        .hint("options of CSV are header, delimiter, quote, escape and comment; an empty field is null, timestamps are read as 2010-01-31 17:40:10"));
                }
            }
        }
        Ok(dialect)
    }

    /// Quoted values may span lines: without this a large file is cut at any line end, and rows with it.
    pub fn format(self) -> Arc<dyn FileFormat> {
        Arc::new(
            CsvFormat::default()
                .with_has_header(self.header)
                .with_delimiter(self.delimiter)
                .with_quote(self.quote)
                .with_escape(self.escape)
                .with_comment(self.comment)
                .with_newlines_in_values(true),
        )
    }

    fn reading(self) -> Reading {
        let mut reading =
            Reading::default().with_header(self.header).with_delimiter(self.delimiter).with_quote(self.quote);
        if let Some(escape) = self.escape {
            reading = reading.with_escape(escape);
        }
        if let Some(comment) = self.comment {
            reading = reading.with_comment(comment);
        }
        reading
    }
}

/// Columns of the files, guessed from a sample or as declared; then every row is read with them.
pub(super) async fn inspect(location: &Location, files: Vec<DataFile>, declared: &[Column]) -> Result<Vec<Column>> {
    let dialect = Dialect::new(&location.options)?;
    let declared = declared.to_vec();
    let work = move || {
        let columns = columns_of(dialect, &files, &declared)?;
        let schema = nullable_schema(&columns)?;
        for file in &files {
            read_all(dialect, file, &schema)?;
        }
        Ok(columns)
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal())?
}

fn columns_of(dialect: Dialect, files: &[DataFile], declared: &[Column]) -> Result<Vec<Column>> {
    let mut guessed: Option<Schema> = None;
    for file in files {
        let schema = guess(dialect, file)?;
        guessed = Some(match guessed {
            None => schema,
            Some(sofar) => merge(&sofar, &schema, file.name())?,
        });
    }
    let schema = guessed.ok_or_else(Error::internal)?;
    if dialect.header {
        check_header(&schema)?;
    }
    if declared.is_empty() {
        return Ok(schema.fields().iter().map(|f| registered_column(f)).collect());
    }
    hold_against(dialect, &schema, declared)?;
    Ok(declared.to_vec())
}

fn guess(dialect: Dialect, file: &DataFile) -> Result<Schema> {
    let sampled = dialect.reading().infer_schema(open(file)?, Some(SAMPLE_ROWS));
    let (schema, _) = match sampled {
        Ok(found) => found,
        Err(_) => {
            // The sample holds a row that cannot be split as the first one: say which.
            let (names, _) = dialect.reading().infer_schema(open(file)?, Some(0)).map_err(|_| not_csv(file))?;
            let text = names.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8View, true));
            read_all(dialect, file, &Arc::new(Schema::new(text.collect::<Vec<_>>())))?;
            return Err(not_csv(file));
        }
    };
    if schema.fields().is_empty() {
        return Err(Error::new(SqlState::DataException, format!("\"{}\" is empty", file.name()))
            .hint("a file needs at least a header line, or a row and OPTIONS (header 'false')"));
    }
    Ok(schema)
}

/// One table from several files: the same columns in the same order; whole numbers give way to fractions, anything
/// else that differs is text.
fn merge(left: &Schema, right: &Schema, name: &str) -> Result<Schema> {
    let same = left.fields().len() == right.fields().len()
        && left.fields().iter().zip(right.fields()).all(|(a, b)| a.name() == b.name());
    if !same {
        return Err(Error::new(
            SqlState::DatatypeMismatch,
            format!("\"{name}\" has other columns than the files before it"),
        )
        .hint("all files of a table need the same columns in the same order"));
    }
    let fields = left.fields().iter().zip(right.fields()).map(|(a, b)| {
        let both = match (a.data_type(), b.data_type()) {
            (one, other) if one == other => one.clone(),
            (DataType::Null, known) | (known, DataType::Null) => known.clone(),
            (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
            (DataType::Timestamp(unit, zone), DataType::Timestamp(_, other)) if zone == other => {
                DataType::Timestamp(*unit, zone.clone())
            }
            _ => DataType::Utf8,
        };
        Field::new(a.name(), both, true)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// A header that looks like data is data: its cells must not become names that everyone can see.
fn check_header(schema: &Schema) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        let letters = name.chars().any(char::is_alphabetic);
        if !letters || !seen.insert(name) {
            let why = if letters { "the same name as one before it" } else { "no name" };
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("column {} of the file's first line has {why}", index + 1),
            )
            .hint("use OPTIONS (header 'false') where the first line is data, and OPTIONS (delimiter ';') where fields end in something else than a comma"));
        }
    }
    Ok(())
}

/// CSV is read by position, so a declared column under another header would give its class to the wrong values.
fn hold_against(dialect: Dialect, schema: &Schema, declared: &[Column]) -> Result<()> {
    let found = schema.fields().len();
    if found != declared.len() {
        return Err(Error::new(
            SqlState::InvalidTableDefinition,
            format!("the files have {found} columns, {} are declared", declared.len()),
        )
        .hint("declare all columns in the order of the file, or none; check OPTIONS (delimiter)"));
    }
    for (index, (field, column)) in schema.fields().iter().zip(declared).enumerate() {
        if dialect.header && !field.name().trim().eq_ignore_ascii_case(&column.name) {
            return Err(Error::new(
                SqlState::InvalidTableDefinition,
                format!("column {} of the file is not \"{}\"", index + 1, column.name),
            )
            .hint("declare the columns in the order of the file's header; use OPTIONS (header 'false') where there is none"));
        }
    }
    Ok(())
}

fn nullable_schema(columns: &[Column]) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> = columns
        .iter()
        .map(|column| {
            let data_type = DataType::from_str(&column.data_type).map_err(|_| Error::internal())?;
            Ok(Field::new(&column.name, data_type, true))
        })
        .collect();
    Ok(Arc::new(Schema::new(fields?)))
}

fn read_all(dialect: Dialect, file: &DataFile, schema: &SchemaRef) -> Result<()> {
    let build = || ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS);
    let (rows, error) = rows_until_error(reader(dialect, file, build())?);
    if error.is_none() {
        return Ok(());
    }
    // Row by row from there, then column by column in that row: numbers found so, never read from the parser's text.
    let from = build().with_batch_size(1).with_bounds(rows, rows + BATCH_ROWS);
    let (more, error) = rows_until_error(reader(dialect, file, from)?);
    let row = rows + more;
    let mut failing = Vec::new();
    for column in 0..schema.fields().len() {
        let one = build().with_bounds(row, row + 1).with_projection(vec![column]);
        if rows_until_error(reader(dialect, file, one)?).1.is_some() {
            failing.push(column);
        }
    }
    let line = row + 1 + usize::from(dialect.header);
    let split = failing.len() == schema.fields().len() && matches!(&error, Some(ArrowError::CsvError(_)));
    let detail = match failing.first() {
        Some(_) if split && says_fields(error.as_ref()) => {
            format!("line {line} does not have {} fields", schema.fields().len())
        }
        Some(_) if split => format!("line {line} is not UTF-8 text"),
        Some(&column) => {
            let field = schema.field(column);
            format!("line {line}, column \"{}\" is not of type {}", field.name(), type_name(field.data_type()))
        }
        None => format!("line {line} cannot be read"),
    };
    Err(Error::new(
        SqlState::InvalidTextRepresentation,
        format!("row {} of \"{}\" does not fit the table", row + 1, file.name()),
    )
    .detail(detail)
    .hint("put the row right, or declare the column with another type: CREATE EXTERNAL TABLE name (column type, …)"))
}

fn says_fields(error: Option<&ArrowError>) -> bool {
    matches!(error, Some(ArrowError::CsvError(text)) if text.starts_with("incorrect number of fields"))
}

fn rows_until_error(reader: Reader<File>) -> (usize, Option<ArrowError>) {
    let mut rows = 0;
    for batch in reader {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => return (rows, Some(error)),
        }
    }
    (rows, None)
}

fn reader(dialect: Dialect, file: &DataFile, builder: ReaderBuilder) -> Result<Reader<File>> {
    let mut builder = builder.with_header(dialect.header).with_delimiter(dialect.delimiter).with_quote(dialect.quote);
    if let Some(escape) = dialect.escape {
        builder = builder.with_escape(escape);
    }
    if let Some(comment) = dialect.comment {
        builder = builder.with_comment(comment);
    }
    builder.build(open(file)?).map_err(|_| not_csv(file))
}

fn open(file: &DataFile) -> Result<File> {
    File::open(file.path()).map_err(|_| {
        Error::new(SqlState::UndefinedFile, format!("could not open \"{}\"", file.name()))
            .hint("the account the server runs as must be able to read it")
    })
}

fn not_csv(file: &DataFile) -> Error {
    Error::new(SqlState::WrongObjectType, format!("\"{}\" is not a readable CSV file", file.name()))
        .hint("a CSV file is UTF-8 text; use STORED AS PARQUET for a Parquet file")
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" | "match" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(invalid(format!("option \"{name}\" requires true or false"))),
    }
}

fn character(name: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(invalid(format!("option \"{name}\" requires one single-byte character"))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::InvalidParameterValue, message)
}
