//! Values through a whole server: as a driver reads them (binary), as psql shows them (text), and back as parameters.
//! What every type looks like on the wire is tested beside the encoder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/raw.rs"]
mod raw;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use paravent::wire::ListenerOptions;
use raw::{LOGIN, PASSWORD, Running, start};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

async fn connect(running: &Running) -> Client {
    let config = format!("host=127.0.0.1 port={} user={LOGIN} password={PASSWORD} dbname=paravent", running.port);
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn text(client: &Client, sql: &str) -> Option<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.unwrap().get(0).map(str::to_owned)
}

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(sql: &str, found: T, expected: T) {
    assert_eq!(found, expected, "{sql}");
}

async fn check<T>(client: &Client, expression: &str, expected: T, shown: &str)
where
    T: for<'a> FromSql<'a> + PartialEq + std::fmt::Debug,
{
    let sql = format!("SELECT {expression} AS value");
    let row = client.query_one(&sql, &[]).await.unwrap();
    same(&sql, row.try_get::<_, T>(0).map_err(|error| error.to_string()), Ok(expected));
    same(&sql, text(client, &sql).await, Some(shown.to_owned()));
}

#[tokio::test]
async fn results_in_binary_and_in_text() {
    let running = start(ListenerOptions::default()).await;
    let client = connect(&running).await;
    let date = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
    check(&client, "true", true, "t").await;
    check(&client, "CAST(-5 AS smallint)", -5_i16, "-5").await;
    check(&client, "CAST(-5 AS int)", -5_i32, "-5").await;
    check(&client, "CAST(-5 AS bigint)", -5_i64, "-5").await;
    check(&client, "CAST(0.5 AS real)", 0.5_f32, "0.5").await;
    check(&client, "CAST(0.1 AS double precision)", 0.1_f64, "0.1").await;
    check(&client, "'ä'", "ä".to_owned(), "ä").await;
    check(&client, "CAST('2024-01-01' AS date)", date, "2024-01-01").await;
    let moment: NaiveDateTime = date.and_time(noon);
    let expression = "CAST('2024-01-01 12:00:00' AS timestamp)";
    check(&client, expression, moment, "2024-01-01 12:00:00").await;
    let expression = "CAST('2024-01-01 12:00:00Z' AS timestamptz)";
    let zoned: DateTime<Utc> = moment.and_utc();
    check(&client, expression, zoned, "2024-01-01 12:00:00+00").await;
    check(&client, "CAST('12:00:00' AS time)", noon, "12:00:00").await;
    let list = vec![Some(1_i64), None];
    check(&client, "ARRAY[1, NULL]", list, "{1,NULL}").await;
    let null = "SELECT CAST(NULL AS int) AS value";
    let row = client.query_one(null, &[]).await.unwrap();
    same(null, row.get::<_, Option<i32>>(0), None);
    same(null, text(&client, null).await, None);
}

async fn echo<T>(client: &Client, of: &str, declared: Type, value: T)
where
    T: ToSql + Sync + for<'a> FromSql<'a> + PartialEq + std::fmt::Debug,
{
    let sql = format!("SELECT CAST($1 AS {of}) AS value");
    let rows = client.query_typed(&sql, &[(&value, declared)]).await;
    let row = rows.unwrap().remove(0);
    same(&sql, row.get::<_, T>(0), value);
}

#[tokio::test]
async fn parameters_come_back() {
    let running = start(ListenerOptions::default()).await;
    let client = connect(&running).await;
    echo(&client, "bigint", Type::INT8, -5_i64).await;
    echo(&client, "bigint", Type::INT8, None::<i64>).await;
    echo(&client, "double precision", Type::FLOAT8, 0.1_f64).await;
    echo(&client, "text", Type::TEXT, "ä".to_owned()).await;
    echo(&client, "date", Type::DATE, NaiveDate::from_ymd_opt(2024, 1, 1).unwrap()).await;
    echo(&client, "boolean", Type::BOOL, true).await;
}
