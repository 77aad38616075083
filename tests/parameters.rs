//! Parameters of the extended protocol: their types are inferred, their values are part of the question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Refusal, SMALL, TestServer, rows};
use tokio_postgres::types::Type;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_question_is_asked_with_values() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let question = "SELECT function, count(*) AS n, avg(after_hours) AS hours FROM person JOIN person_week USING (person_id) \
                    WHERE country <> $1 AND week >= $2 AND hired < $3 GROUP BY function ORDER BY n DESC LIMIT $4";
    let prepared = analyst.prepare(question).await.unwrap();
    assert_eq!(prepared.params(), &[Type::TEXT, Type::INT4, Type::DATE, Type::INT8]);
    let types: Vec<&Type> = prepared.columns().iter().map(|column| column.type_()).collect();
    assert_eq!(types, [&Type::TEXT, &Type::INT8, &Type::FLOAT8]);

    let date = chrono::NaiveDate::from_ymd_opt(2100, 1, 1).unwrap();
    let budget = "SELECT statements FROM privacy.budget WHERE principal IS NULL";
    let ask = |country: &'static str| {
        let (analyst, prepared) = (&analyst, &prepared);
        async move { analyst.query(prepared, &[&country, &2_i32, &date, &3_i64]).await.map_err(Refusal::of) }
    };
    let first = ask("DE").await.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(!first.is_empty() && first.len() <= 3);
    let spent = rows(&analyst, budget).await;
    let again = ask("DE").await.unwrap_or_else(|refusal| panic!("{refusal}"));
    let values = |rows: &[tokio_postgres::Row]| -> Vec<(String, i64, f64)> {
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    };
    assert_eq!(values(&first), values(&again), "the same values are the same question");
    assert_eq!(rows(&analyst, budget).await, spent, "which costs nothing");
    ask("US").await.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_ne!(rows(&analyst, budget).await, spent, "other values are a new one");
}

/// A parameter is a literal to the check: it cannot name a person either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_cannot_single_out_a_person() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let error = analyst.query("SELECT count(*) FROM person WHERE person_id = $1", &[&7_i64]).await.unwrap_err();
    assert_eq!(Refusal::of(error).sqlstate, "42501");
}
