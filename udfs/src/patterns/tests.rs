//! As Postgres has it: expected texts are from its documentation or from a Postgres 16.

use super::number::{Number, number, template as number_template};
use super::{postgres_functions, read, template, write};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

fn written(microseconds: i64, pattern: &str) -> String {
    write::moment(&template::parts(pattern).unwrap(), microseconds)
}

/// 2024-03-05 13:04:05.678901, a Tuesday.
const MOMENT: i64 = 1_709_643_845_678_901;

#[test]
fn moments_are_written() {
    for (pattern, expected) in [
        ("YYYY-MM-DD HH24:MI:SS.US", "2024-03-05 13:04:05.678901"),
        ("YYYY-MM-DD\"T\"HH24:MI:SS.MS", "2024-03-05T13:04:05.678"),
        ("yyyy/mm/dd hh:mi am", "2024/03/05 01:04 pm"),
        ("FMMonth FMDDth, YYYY", "March 5th, 2024"),
        ("Day, DD Mon YY", "Tuesday  , 05 Mar 24"),
        ("MONTH|month|FMDAY", "MARCH    |march    |TUESDAY"),
        ("IYYY-\"W\"IW-ID", "2024-W10-2"),
        ("DDD D Q WW W J CC", "065 3 1 10 1 2460375 21"),
        ("SSSS TZ OF AD", "47045 UTC +00 AD"),
        ("Y,YYY HH12", "2,024 01"),
        ("%Y", "%4"),
        ("RM", "III "),
        ("DAY DY", "TUESDAY   TUE"),
    ] {
        assert_eq!(written(MOMENT, pattern), expected, "{pattern}");
    }
    assert_eq!(written(1_735_516_800_000_000, "IYYY-IW YYYY"), "2025-01 2024");
    assert_eq!(written(-1, "YYYY-MM-DD HH24:MI:SS.US"), "1969-12-31 23:59:59.999999");
}

fn days_and_time(text: &str, pattern: &str) -> Option<(i64, i64)> {
    read::moment(&template::parts(pattern).unwrap(), text).ok()
}

#[test]
fn moments_are_read() {
    let first_of_2024 = 19_723;
    for (text, pattern, days, seconds) in [
        ("2024-01-01", "YYYY-MM-DD", 0, 0),
        ("2024-01-01 00:00:00.000000", "YYYY-MM-DD HH24:MI:SS.US", 0, 0),
        ("20240201", "YYYYMMDD", 31, 0),
        ("01 Feb 2024", "DD Mon YYYY", 31, 0),
        ("1 february 24", "DD Month YY", 31, 0),
        ("2024-02-01T10:30:05", "YYYY-MM-DD\"T\"HH24:MI:SS", 31, 37_805),
        ("01/02/2024 01:30 PM", "DD/MM/YYYY HH12:MI AM", 31, 48_600),
        ("2024-032", "YYYY-DDD", 31, 0),
        ("2024-W01-1", "IYYY-\"W\"IW-ID", 0, 0),
        ("2024-01-01 02:00:00+02", "YYYY-MM-DD HH24:MI:SSTZH", 0, 0),
        ("2024", "YYYY", 0, 0),
        ("2024-01-01 and more", "YYYY-MM-DD", 0, 0),
    ] {
        assert_eq!(days_and_time(text, pattern), Some((first_of_2024 + days, seconds * 1_000_000)), "{text}");
    }
    for (text, pattern) in [
        ("2024-13-01", "YYYY-MM-DD"),
        ("2023-02-29", "YYYY-MM-DD"),
        ("hello", "YYYY-MM-DD"),
        ("2024-01-01 25", "YYYY-MM-DD HH24"),
        ("13", "HH12"),
        ("5 Foo", "DD Mon"),
        ("1", "Q"),
    ] {
        assert_eq!(days_and_time(text, pattern), None, "{text}");
    }
}

#[test]
fn numbers_are_written() {
    let float = |value: f64, pattern: &str| number(&number_template(pattern).unwrap(), Number::Float(value));
    for (value, pattern, expected) in [
        (125.0, "999", " 125"),
        (-125.0, "999", "-125"),
        (125.8, "999D9", " 125.8"),
        (-0.1, "99.99", "  -.10"),
        (-0.1, "FM9.99", "-.1"),
        (0.1, "0.9", " 0.1"),
        (12.0, "9990999.9", "    0012.0"),
        (12.0, "FM9990999.9", "0012."),
        (485.0, "999", " 485"),
        (1485.0, "9,999", " 1,485"),
        (148.5, "999.999", " 148.500"),
        (148.5, "FM999.999", "148.5"),
        (148.5, "FM999.990", "148.500"),
        (3148.5, "9,999.999", " 3,148.500"),
        (-485.0, "999S", "485-"),
        (-485.0, "999MI", "485-"),
        (485.0, "999MI", "485 "),
        (485.0, "FM999MI", "485"),
        (-485.0, "S999", "-485"),
        (485.0, "S999", "+485"),
        (485.0, "PL999", " 485"),
        (-485.0, "999PR", "<485>"),
        (485.0, "\"Good number:\"999", "Good number: 485"),
        (12345.0, "999", " ###"),
        (0.0, "999", "   0"),
        (0.0, "999.99", "    .00"),
        (1234567.891, "FM9,999,990.00", "1,234,567.89"),
        (37.25, "FM990.0%", "37.2%"),
    ] {
        if pattern == "PL999" {
            assert!(number_template(pattern).is_err(), "PL is not there");
            continue;
        }
        assert_eq!(float(value, pattern), expected, "{pattern}");
    }
    let whole = number(&number_template("FM9999999999999999999").unwrap(), Number::Whole(i64::MIN));
    assert_eq!(whole, "-9223372036854775808");
}

#[tokio::test]
async fn the_engine_calls_them() {
    let ctx = SessionContext::new();
    for function in postgres_functions() {
        ctx.register_udf(function.as_ref().clone());
    }
    for (sql, expected) in [
        ("to_date('05 Mar 2024', 'DD Mon YYYY')", "2024-03-05"),
        ("to_date('2024-03-05')", "2024-03-05"),
        ("to_timestamp('2024-03-05 10:00', 'YYYY-MM-DD HH24:MI')", "2024-03-05T10:00:00Z"),
        ("to_timestamp(1709643845)", "2024-03-05T13:04:05Z"),
        ("to_char(date '2024-03-05', 'FMMon YYYY')", "Mar 2024"),
        ("to_char(timestamp '2024-03-05 10:00:00', 'HH24h')", "10h"),
        ("to_char(12.5, 'FM990.0')", "12.5"),
        ("date('2024-03-05 10:00:00')", "2024-03-05"),
        ("date(timestamp '2024-03-05 10:00:00')", "2024-03-05"),
        ("to_char(NULL, 'FM990.0')", ""),
        ("to_char(column1, 'YYYY') FROM (VALUES (date '2024-03-05'))", "2024"),
    ] {
        let batches = ctx.sql(&format!("SELECT {sql}")).await.unwrap().collect().await.unwrap();
        let found = arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap();
        assert_eq!(found, expected, "{sql}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(microseconds in -60_000_000_000_000_000_i64..250_000_000_000_000_000) {
        let parts = template::parts("YYYY-MM-DD HH24:MI:SS.US").unwrap();
        let (days, of_day) = read::moment(&parts, &write::moment(&parts, microseconds)).unwrap();
        prop_assert_eq!(days * 86_400_000_000 + of_day, microseconds);
    }

    /// Whatever is given, nothing panics.
    #[test]
    fn nothing_panics(text: String, pattern in "[YMDHSIQWJAPTZOFCB0-9dhmsy:. ,\"\\\\%äFMUth-]{0,20}", value: f64, moment: i64) {
        if let Ok(parts) = template::parts(&pattern) {
            let _ = read::moment(&parts, &text);
            let _ = read::moment(&parts, &write::moment(&parts, moment));
        }
        if let Ok(template) = number_template(&pattern) {
            let _ = number(&template, Number::Float(value));
            let _ = number(&template, Number::Whole(moment));
        }
    }
}
