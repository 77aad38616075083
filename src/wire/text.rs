//! Values as Postgres prints them, with its default settings (`DateStyle` ISO, `IntervalStyle` postgres,
//! `extra_float_digits` 1, `bytea_output` hex).
//!
//! In: plain numbers. Out: text. `None` where Postgres itself would be out of range.

use std::fmt::{LowerExp, Write};

use arrow::array::timezone::Tz;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike};

pub(super) const MICROS_PER_SECOND: i64 = 1_000_000;

/// Shortest digits that read back as the same number; exponents where `float8out` and `float4out` have them.
pub(super) fn float(value: f64, out: &mut BytesMut) {
    const PLAIN_BELOW: i32 = 15;
    if !special(value, out) {
        digits(value, PLAIN_BELOW, out);
    }
}

pub(super) fn float4(value: f32, out: &mut BytesMut) {
    const PLAIN_BELOW: i32 = 6;
    if !special(f64::from(value), out) {
        digits(value, PLAIN_BELOW, out);
    }
}

fn special(value: f64, out: &mut BytesMut) -> bool {
    let text: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"Infinity"
    } else if value == f64::NEG_INFINITY {
        b"-Infinity"
    } else {
        return false;
    };
    out.put_slice(text);
    true
}

fn digits(value: impl LowerExp, plain_below: i32, out: &mut BytesMut) {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.put_slice(sign.as_bytes());
    if !(-4..plain_below).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        put(out, format_args!("{mantissa}e{sign}{:02}", exponent.abs()));
        return;
    }
    let all: String = mantissa.chars().filter(|digit| *digit != '.').collect();
    match usize::try_from(exponent) {
        Ok(exponent) if all.len() > exponent + 1 => {
            let (whole, fraction) = all.split_at(exponent + 1);
            put(out, format_args!("{whole}.{fraction}"));
        }
        Ok(exponent) => put(out, format_args!("{all:0<width$}", width = exponent + 1)),
        Err(_) => {
            let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
            put(out, format_args!("0.{:0<zeros$}{all}", ""));
        }
    }
}

/// Writing to memory does not fail.
fn put(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

pub(super) fn date(days: i32, out: &mut BytesMut) -> Option<()> {
    let date = epoch_date(days)?;
    put_date(date, out);
    put_era(date, out);
    Some(())
}

fn epoch_date(days: i32) -> Option<NaiveDate> {
    let epoch = NaiveDate::default();
    let distance = Days::new(u64::from(days.unsigned_abs()));
    if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) }
}

fn put_date(date: NaiveDate, out: &mut BytesMut) {
    let year = if date.year() > 0 { date.year() } else { 1 - date.year() };
    put(out, format_args!("{year:04}-{:02}-{:02}", date.month(), date.day()));
}

fn put_era(date: NaiveDate, out: &mut BytesMut) {
    if date.year() <= 0 {
        out.put_slice(b" BC");
    }
}

pub(super) fn time(micros: i64, out: &mut BytesMut) {
    let seconds = micros / MICROS_PER_SECOND;
    put(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    put_fraction(micros % MICROS_PER_SECOND, out);
}

fn put_fraction(micros: i64, out: &mut BytesMut) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        put(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

pub(super) fn timestamp(micros: i64, out: &mut BytesMut) -> Option<()> {
    let moment = DateTime::from_timestamp_micros(micros)?.naive_utc();
    put_moment(moment, out);
    put_era(moment.date(), out);
    Some(())
}

pub(super) fn timestamptz(micros: i64, zone: Tz, out: &mut BytesMut) -> Option<()> {
    let utc = DateTime::from_timestamp_micros(micros)?.naive_utc();
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    let local = utc.checked_add_offset(offset)?;
    put_moment(local, out);
    let seconds = offset.local_minus_utc();
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    put(out, format_args!("{sign}{:02}", seconds / 3600));
    if seconds % 3600 != 0 {
        put(out, format_args!(":{:02}", seconds / 60 % 60));
    }
    if seconds % 60 != 0 {
        put(out, format_args!(":{:02}", seconds % 60));
    }
    put_era(local.date(), out);
    Some(())
}

fn put_moment(moment: NaiveDateTime, out: &mut BytesMut) {
    put_date(moment.date(), out);
    out.put_u8(b' ');
    let seconds = i64::from(moment.num_seconds_from_midnight());
    let micros = i64::from(moment.nanosecond()) / 1000;
    time(seconds * MICROS_PER_SECOND + micros, out);
}

/// As `EncodeInterval` with style postgres: a sign is written after a negative part even where it is plus.
pub(super) fn interval(months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let sign = if after_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        put(out, format_args!("{space}{sign}{value} {unit}{plural}"));
        after_negative = value < 0;
    }
    let empty = out.len() == start;
    if micros != 0 || empty {
        let space = if empty { "" } else { " " };
        let sign = match micros {
            ..0 => "-",
            _ if after_negative => "+",
            _ => "",
        };
        put(out, format_args!("{space}{sign}"));
        let magnitude = i64::try_from(micros.unsigned_abs()).unwrap_or(i64::MAX);
        time(magnitude, out);
    }
}

pub(super) fn bytea(bytes: &[u8], out: &mut BytesMut) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 + 2 * bytes.len());
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(HEX[usize::from(byte >> 4)]);
        out.put_u8(HEX[usize::from(byte & 15)]);
    }
}

/// One element of an array, quoted where `array_out` quotes.
pub(super) fn element(text: &[u8], out: &mut BytesMut) {
    let special =
        |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        out.put_slice(text);
        return;
    }
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// Right-hand sides: PostgreSQL 16, `SELECT …::float8`.
    #[test]
    fn floats_as_postgres_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (100000.0, "100000"),
            (123456789012345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1234567890123456.0, "1.234567890123456e+15"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| float(value, out)), expected);
        }
        for (value, expected) in [(0.1, "0.1"), (123456.0, "123456"), (1e6, "1e+06")] {
            assert_eq!(text(|out| float4(value, out)), expected);
        }
    }

    #[test]
    fn moments_as_postgres_prints_them() {
        let date = |days| text(|out| super::date(days, out).unwrap());
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(19_723), "2024-01-01");
        assert_eq!(date(-719_163), "0001-12-31 BC");
        assert!(super::date(i32::MAX, &mut BytesMut::new()).is_none());

        let timestamp = |micros| text(|out| super::timestamp(micros, out).unwrap());
        let new_year = 1_704_067_200 * MICROS_PER_SECOND;
        assert_eq!(timestamp(new_year), "2024-01-01 00:00:00");
        assert_eq!(timestamp(new_year + 500_000), "2024-01-01 00:00:00.5");
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59.999999");

        let zoned = |zone: &str| {
            let zone = zone.parse().unwrap();
            text(|out| timestamptz(new_year, zone, out).unwrap())
        };
        assert_eq!(zoned("UTC"), "2024-01-01 00:00:00+00");
        assert_eq!(zoned("+05:30"), "2024-01-01 05:30:00+05:30");
        assert_eq!(zoned("-08:00"), "2023-12-31 16:00:00-08");
    }

    #[test]
    fn intervals_as_postgres_prints_them() {
        let interval = |months, days, micros| text(|out| interval(months, days, micros, out));
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(14, 3, 0), "1 year 2 mons 3 days");
        assert_eq!(interval(0, 1, 3_661_500_000), "1 day 01:01:01.5");
        assert_eq!(interval(-1, 3, -1_000_000), "-1 mons +3 days -00:00:01");
        assert_eq!(interval(0, -1, 3_600_000_000), "-1 days +01:00:00");
    }

    #[test]
    fn elements_are_quoted_where_postgres_quotes() {
        let element = |value: &str| text(|out| element(value.as_bytes(), out));
        assert_eq!(element("a"), "a");
        assert_eq!(element(""), r#""""#);
        assert_eq!(element("null"), r#""null""#);
        assert_eq!(element("a b"), r#""a b""#);
        assert_eq!(element(r#"a"\"#), r#""a\"\\""#);
    }
}
