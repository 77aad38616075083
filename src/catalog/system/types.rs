//! What a column's Arrow type is called in Postgres.
//!
//! In: an Arrow type. Out: the row of `pg_type` that stands for it, as `pg_attribute` and information_schema show it.
//! A type without a counterpart is shown as text: that is how its values go over the wire.

use arrow::datatypes::{DataType, Field};

use crate::policy::TextForm;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PgType {
    pub oid: i32,
    /// As `format_type` spells it.
    pub name: &'static str,
    /// `pg_type.typname`.
    pub short: &'static str,
    pub length: i16,
    pub by_value: bool,
    pub align: &'static str,
    pub storage: &'static str,
}

const fn fixed(oid: i32, name: &'static str, short: &'static str, length: i16, align: &'static str) -> PgType {
    PgType { oid, name, short, length, by_value: true, align, storage: "p" }
}

const fn varying(oid: i32, name: &'static str, short: &'static str) -> PgType {
    PgType { oid, name, short, length: -1, by_value: false, align: "i", storage: "x" }
}

const BOOL: PgType = fixed(16, "boolean", "bool", 1, "c");
const INT2: PgType = fixed(21, "smallint", "int2", 2, "s");
const INT4: PgType = fixed(23, "integer", "int4", 4, "i");
const INT8: PgType = fixed(20, "bigint", "int8", 8, "d");
const FLOAT4: PgType = fixed(700, "real", "float4", 4, "i");
const FLOAT8: PgType = fixed(701, "double precision", "float8", 8, "d");
const DATE: PgType = fixed(1082, "date", "date", 4, "i");
const TIME: PgType = fixed(1083, "time without time zone", "time", 8, "d");
const TIMESTAMP: PgType = fixed(1114, "timestamp without time zone", "timestamp", 8, "d");
const TIMESTAMPTZ: PgType = fixed(1184, "timestamp with time zone", "timestamptz", 8, "d");
const NUMERIC: PgType = varying(1700, "numeric", "numeric");
const BYTEA: PgType = varying(17, "bytea", "bytea");
const TEXT: PgType = varying(25, "text", "text");
const INTERVAL: PgType = varying(1186, "interval", "interval");
const UUID: PgType = PgType { align: "c", storage: "p", length: 16, ..varying(2950, "uuid", "uuid") };
const JSON: PgType = varying(114, "json", "json");
const JSONB: PgType = varying(3802, "jsonb", "jsonb");
const TEXT_ARRAY: PgType = varying(1009, "text[]", "_text");
const INT8_ARRAY: PgType = varying(1016, "bigint[]", "_int8");
const INT4_ARRAY: PgType = varying(1007, "integer[]", "_int4");
const FLOAT8_ARRAY: PgType = varying(1022, "double precision[]", "_float8");

/// Of a column, whose texts may have a form.
pub(super) fn column_type(field: &Field) -> PgType {
    match (pg_type(field.data_type()), field.metadata().get(TextForm::KEY)) {
        (TEXT, Some(form)) => match TextForm::by_name(form) {
            Some(TextForm::Uuid) => UUID,
            Some(TextForm::Json) => JSON,
            Some(TextForm::Jsonb) => JSONB,
            None => TEXT,
        },
        (other, _) => other,
    }
}

pub(super) fn pg_type(data_type: &DataType) -> PgType {
    match data_type {
        DataType::Boolean => BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => INT2,
        DataType::UInt16 | DataType::Int32 => INT4,
        DataType::UInt32 | DataType::Int64 => INT8,
        DataType::Float16 | DataType::Float32 => FLOAT4,
        DataType::Float64 => FLOAT8,
        DataType::Date32 | DataType::Date64 => DATE,
        DataType::Time32(_) | DataType::Time64(_) => TIME,
        DataType::Timestamp(_, None) => TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => TIMESTAMPTZ,
        DataType::Duration(_) | DataType::Interval(_) => INTERVAL,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => NUMERIC,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => BYTEA,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => match pg_type(item.data_type()) {
            INT8 => INT8_ARRAY,
            INT4 | INT2 => INT4_ARRAY,
            FLOAT8 | FLOAT4 => FLOAT8_ARRAY,
            _ => TEXT_ARRAY,
        },
        DataType::Dictionary(_, value) => pg_type(value),
        DataType::RunEndEncoded(_, value) => pg_type(value.data_type()),
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Struct(_)
        | DataType::Union(..)
        | DataType::Map(..) => TEXT,
    }
}

/// The type's name as `\d` shows it.
pub fn type_name(data_type: &DataType) -> &'static str {
    pg_type(data_type).name
}

/// The name in pg_type of a type as SQL spells it: `integer` is `int4`, `varchar(3)[]` is `_varchar`.
pub(super) fn short_name(sql: &str) -> String {
    let lower = sql.to_lowercase();
    let last = lower.rsplit('.').next().unwrap_or(&lower);
    if let Some(item) = last.strip_suffix("[]") {
        return format!("_{}", short_name(item));
    }
    let bare = match (last.find('('), last.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", &last[..open], &last[close + 1..])
        }
        _ => last.to_owned(),
    };
    let bare = bare.trim();
    match bare {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "double precision" | "float" | "double" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        other => other,
    }
    .to_owned()
}
