//! Rows that `COPY … FROM STDIN` brings → batches of the table's columns.
//!
//! In: fields of text, or tuples in binary, a row at a time. Out: a batch when enough have gathered. A value that is not of its
//! column's type is found with its line and column; it is never repeated in an error.

use arrow::array::{Array, ArrayRef, BinaryBuilder, BooleanBuilder, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::copy_lines::Fields;
use super::decode;
use super::errors::Flow;
use super::types::{column_type, form_of};
use crate::error::{Error, Result, SqlState};
use crate::policy::TextForm;

const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Where in the copied data something is.
pub(super) fn place(table: &str, line: u64, column: Option<&str>) -> String {
    match column {
        Some(column) => format!("COPY {table}, line {line}, column {column}"),
        None => format!("COPY {table}, line {line}"),
    }
}

pub(super) struct Rows {
    table: String,
    schema: SchemaRef,
    types: Vec<Type>,
    columns: Columns,
    /// Of each row.
    lines: Vec<u64>,
    bytes: usize,
}

enum Columns {
    Texts(Vec<StringBuilder>),
    Values(Vec<Vec<ScalarValue>>),
}

impl Rows {
    /// Errors: 0A000 where a column's type has no counterpart in Postgres.
    pub fn new(table: &str, schema: &SchemaRef, binary: bool) -> Flow<Self> {
        let types = schema.fields().iter().map(|field| column_type(field)).collect::<Flow<Vec<_>>>()?;
        let width = types.len();
        let columns = if binary {
            Columns::Values(vec![Vec::new(); width])
        } else {
            Columns::Texts((0..width).map(|_| StringBuilder::new()).collect())
        };
        Ok(Self { table: table.to_owned(), schema: schema.clone(), types, columns, lines: Vec::new(), bytes: 0 })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A line of text. Errors: 22P04 with too few or too many fields, 22021 where they are not UTF-8.
    pub fn push(&mut self, line: u64, fields: &Fields) -> Result<()> {
        let names = self.schema.fields();
        if let Some(missing) = names.get(fields.len()) {
            return Err(bad_format(format!("missing data for column \"{}\"", missing.name())));
        }
        if fields.len() > names.len() {
            return Err(bad_format("extra data after last expected column"));
        }
        let Columns::Texts(columns) = &mut self.columns else {
            return Err(Error::internal());
        };
        let texts: Vec<Option<&str>> = fields
            .iter()
            .zip(names)
            .map(|(field, name)| match field.map(std::str::from_utf8) {
                None => Ok(None),
                Some(Ok(text)) if !text.contains('\0') => Ok(Some(text)),
                Some(_) => {
                    Err(Error::new(SqlState::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
                        .hint("send UTF-8; bytea is written as \\x and hexadecimal digits")
                        .context(place(&self.table, line, Some(name.name()))))
                }
            })
            .collect::<Result<_>>()?;
        for (column, text) in columns.iter_mut().zip(texts) {
            column.append_option(text);
            self.bytes += text.map_or(0, str::len);
        }
        self.lines.push(line);
        Ok(())
    }

    /// A tuple in binary; `None` for null. Errors: 22P03 where bytes are not of the column's type.
    pub fn push_binary(&mut self, row: u64, fields: &[Option<&[u8]>]) -> Result<()> {
        let Columns::Values(columns) = &mut self.columns else {
            return Err(Error::internal());
        };
        for (position, (field, bytes)) in self.schema.fields().iter().zip(fields).enumerate() {
            let value = match bytes {
                None => ScalarValue::try_new_null(field.data_type()).ok(),
                Some(bytes) => decode::from_binary(bytes, &self.types[position])
                    .and_then(|value| value.cast_to(field.data_type()).ok())
                    .filter(|value| !value.is_null()),
            };
            let value = value.ok_or_else(|| {
                Error::new(SqlState::InvalidBinaryRepresentation, "incorrect binary data format")
                    .hint(format!("the column is of type {}", self.types[position].name()))
                    .context(place(&self.table, row, Some(field.name())))
            })?;
            columns[position].push(value);
            self.bytes += bytes.map_or(0, <[u8]>::len);
        }
        self.lines.push(row);
        Ok(())
    }

    /// What has gathered. Errors: that of the first row that has one, and in it of the first column.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let mut arrays = Vec::new();
        let mut wrong: Option<(usize, usize)> = None;
        for position in 0..self.types.len() {
            let (array, bad) = self.column(position)?;
            if let Some(row) = bad
                && wrong.is_none_or(|(first, _)| row < first)
            {
                wrong = Some((row, position));
            }
            arrays.push(array);
        }
        if let Some((row, position)) = wrong {
            let line = self.lines.get(row).copied().unwrap_or_default();
            return Err(self.refuse(position).context(place(
                &self.table,
                line,
                Some(self.schema.field(position).name()),
            )));
        }
        if let Some((row, position)) = self.missing(&arrays) {
            let name = self.schema.field(position).name();
            return Err(Error::new(
                SqlState::NotNullViolation,
                format!("null value in column \"{name}\" of relation \"{}\" violates not-null constraint", self.table),
            )
            .detail("the column is declared NOT NULL, or is part of a key")
            .hint("put the row right and send all rows again; nothing was loaded")
            .context(place(&self.table, self.lines.get(row).copied().unwrap_or_default(), None)));
        }
        self.lines.clear();
        self.bytes = 0;
        RecordBatch::try_new(self.schema.clone(), arrays).map_err(|_| Error::internal())
    }

    /// A column, and the first row whose text is not of its type.
    fn column(&mut self, position: usize) -> Result<(ArrayRef, Option<usize>)> {
        let field = self.schema.field(position);
        match &mut self.columns {
            Columns::Texts(columns) => convert(&columns[position].finish(), field, form_of(&self.types[position])),
            Columns::Values(columns) => {
                let values = std::mem::take(&mut columns[position]);
                let array = if values.is_empty() {
                    arrow::array::new_empty_array(field.data_type())
                } else {
                    ScalarValue::iter_to_array(values).map_err(|_| Error::internal())?
                };
                Ok((array, None))
            }
        }
    }

    fn missing(&self, arrays: &[ArrayRef]) -> Option<(usize, usize)> {
        let required = |position: &usize| !self.schema.field(*position).is_nullable();
        let first = |position: usize| {
            let array = &arrays[position];
            (0..array.len()).find(|row| array.is_null(*row)).map(|row| (row, position))
        };
        (0..arrays.len()).filter(required).filter_map(first).min()
    }

    fn refuse(&self, position: usize) -> Error {
        let (of, name) = (self.schema.field(position).data_type(), &self.types[position]);
        let state = match of {
            DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) => SqlState::InvalidDatetimeFormat,
            _ => SqlState::InvalidTextRepresentation,
        };
        Error::new(state, format!("invalid input syntax for type {}", spelled(name)))
            .detail("the value is not repeated here: it may be about a person")
            .hint("put the row right and send all rows again; nothing was loaded")
    }
}

/// As Postgres spells a type in its messages.
fn spelled(of: &Type) -> &str {
    match *of {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        _ => of.name(),
    }
}

pub(super) fn bad_format(message: impl Into<String>) -> Error {
    Error::new(SqlState::BadCopyFileFormat, message)
        .hint("check DELIMITER, QUOTE and FORMAT; send all rows again, nothing was loaded")
}

fn convert(texts: &StringArray, field: &Field, form: Option<TextForm>) -> Result<(ArrayRef, Option<usize>)> {
    use DataType as D;
    let of = field.data_type();
    let array: ArrayRef = match of {
        D::Utf8 | D::LargeUtf8 | D::Utf8View if let Some(form) = form => {
            let read: StringArray = texts.iter().map(|text| text.and_then(|text| form.read(text))).collect();
            cast(&read, of).map_err(|_| Error::internal())?
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => cast(texts, of).map_err(|_| Error::internal())?,
        D::Boolean => {
            let mut values = BooleanBuilder::new();
            texts.iter().for_each(|text| values.append_option(text.and_then(decode::boolean)));
            std::sync::Arc::new(values.finish())
        }
        D::Binary | D::LargeBinary | D::BinaryView => {
            let mut values = BinaryBuilder::new();
            texts.iter().for_each(|text| values.append_option(text.and_then(decode::bytea)));
            cast(&values.finish(), of).map_err(|_| Error::internal())?
        }
        D::List(_) | D::LargeList(_) | D::FixedSizeList(..) | D::FixedSizeBinary(_) => {
            let null = ScalarValue::try_new_null(of).map_err(|_| Error::internal())?;
            let value = |text: Option<&str>| text.and_then(|text| decode::from_text(text, of));
            let values: Vec<ScalarValue> =
                texts.iter().map(|text| value(text).unwrap_or_else(|| null.clone())).collect();
            if values.is_empty() {
                arrow::array::new_empty_array(of)
            } else {
                ScalarValue::iter_to_array(values).map_err(|_| Error::internal())?
            }
        }
        _ => {
            let trimmed: StringArray = texts.iter().map(|text| text.map(str::trim)).collect();
            let lenient = CastOptions { safe: true, ..CastOptions::default() };
            cast_with_options(&trimmed, of, &lenient).map_err(|_| Error::internal())?
        }
    };
    let bad = (array.null_count() > texts.null_count())
        .then(|| (0..texts.len()).find(|row| array.is_null(*row) && !texts.is_null(*row)))
        .flatten();
    Ok((array, bad))
}
