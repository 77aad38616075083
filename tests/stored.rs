//! Answers from answers (design, section 5): what was drawn once answers whatever needs no more, and nothing that the rules of the
//! moment would not have given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{SMALL, TestServer, number, refused, rows, run, value};
use tokio_postgres::Client;

/// What the policy has spent so far, as epsilon.
async fn spent(analyst: &Client) -> f64 {
    number(analyst, "SELECT epsilon_spent FROM privacy.budget WHERE principal IS NULL").await
}

/// Where EXPLAIN (PRIVACY) says the releases will come from.
async fn sources(analyst: &Client, query: &str) -> Vec<String> {
    let lines = rows(analyst, &format!("EXPLAIN (PRIVACY) {query}")).await;
    let lines = lines.into_iter().map(|line| line[0].clone().unwrap());
    lines.filter_map(|line| line.trim().strip_prefix("source: ").map(str::to_owned)).collect()
}

/// Asks, and says whether it cost anything. EXPLAIN must have said the same beforehand.
async fn costs(analyst: &Client, query: &str) -> bool {
    let said = sources(analyst, query).await.contains(&"new release".to_owned());
    let before = spent(analyst).await;
    rows(analyst, query).await;
    let cost = spent(analyst).await > before;
    assert_eq!(said, cost, "EXPLAIN says otherwise: {query}");
    cost
}

const BOTH: &str = "SELECT function, country, count(*) AS persons, avg(after_hours) AS hours, sum(email_count) AS mails \
                    FROM person JOIN person_week USING (person_id) GROUP BY function, country";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_an_answer_costs_nothing() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    assert!(costs(&analyst, BOTH).await);
    for free in [
        BOTH,
        // Fewer aggregates, in another order, under other names, with something computed of them.
        "SELECT p.country AS c, p.function AS f, 2 * sum(w.email_count) FROM person AS p JOIN person_week AS w \
         ON p.person_id = w.person_id GROUP BY p.function, p.country ORDER BY 3 DESC LIMIT 3",
        "SELECT function, country, avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function, country \
         HAVING avg(after_hours) > 2",
        // Errors and intervals are made of the same rows, whatever the level.
        "SELECT function, country, dp_stddev(avg(after_hours)), dp_interval_low(avg(after_hours), 0.8), \
         dp_interval_high(avg(after_hours), 0.999) FROM person JOIN person_week USING (person_id) GROUP BY function, country",
    ] {
        assert!(!costs(&analyst, free).await, "{free}");
    }
    let part = "SELECT function, country, avg(after_hours) AS hours FROM person JOIN person_week USING (person_id) \
                GROUP BY function, country ORDER BY 1, 2";
    let whole = format!("SELECT function, country, hours FROM ({BOTH}) AS b ORDER BY 1, 2");
    assert_eq!(rows(&analyst, part).await, rows(&analyst, &whole).await, "the same numbers");
    assert_eq!(sources(&analyst, part).await, ["part of a stored answer, free of charge"]);
    assert_eq!(sources(&analyst, BOTH).await, ["stored answer, free of charge"]);
    for new in [
        // Another aggregate, another predicate, other bounds, other keys.
        "SELECT function, country, avg(call_hours) FROM person JOIN person_week USING (person_id) GROUP BY function, country",
        "SELECT function, country, avg(after_hours) FROM person JOIN person_week USING (person_id) WHERE level <> 'L2 senior' \
         GROUP BY function, country",
        "SELECT function, country, avg(clamp(after_hours, 0, 10)) FROM person JOIN person_week USING (person_id) \
         GROUP BY function, country",
        "SELECT function, avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function",
    ] {
        assert!(costs(&analyst, new).await, "{new}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_groups_add_up_for_who_prefers_them() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    rows(&analyst, BOTH).await;
    let coarse = "SELECT function, count(*) AS persons, avg(after_hours) AS hours, sum(email_count) AS mails, \
                  dp_stddev(sum(email_count)) AS error FROM person JOIN person_week USING (person_id) GROUP BY function";
    assert_eq!(sources(&analyst, coarse).await, ["new release"], "not unless it is preferred");
    run(&analyst, "SET privacy.prefer = 'stored'").await;
    assert_eq!(sources(&analyst, coarse).await, ["added up from stored groups, free of charge"]);
    assert!(!costs(&analyst, coarse).await);
    // Sums are the sums of what was shown, group by group; errors add up as independent noise does.
    let check = format!(
        "SELECT count(*), bool_and(c.mails = b.mails AND abs(c.error / b.error - 1) < 1e-9) \
         FROM ({coarse}) AS c JOIN (SELECT function, sum(mails) AS mails, \
         sqrt(sum(error * error)) AS error FROM (SELECT function, country, sum(email_count) AS mails, \
         dp_stddev(sum(email_count)) AS error FROM person JOIN person_week USING (person_id) GROUP BY function, country) AS s \
         GROUP BY function) AS b ON c.function = b.function"
    );
    assert!(!costs(&analyst, &check).await);
    assert_eq!(rows(&analyst, &check).await, [[Some("8".to_owned()), Some("t".to_owned())]]);
    // All of it in one row.
    let all = "SELECT sum(email_count) FROM person JOIN person_week USING (person_id)";
    assert!(!costs(&analyst, all).await);
    // A key that is not there, and persons who are in several groups, need a release.
    let level = "SELECT level, sum(email_count) FROM person JOIN person_week USING (person_id) GROUP BY level";
    assert!(costs(&analyst, level).await);
    rows(&analyst, "SELECT week, count(DISTINCT person_id), sum(chat_count) FROM person_week GROUP BY week").await;
    assert!(costs(&analyst, "SELECT count(DISTINCT person_id), sum(chat_count) FROM person_week").await);
    run(&analyst, "RESET privacy.prefer").await;
    assert!(costs(&analyst, coarse).await, "a new release once it is not preferred");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_less_accuracy_or_under_other_rules_is_passed_over() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let question =
        "SELECT function, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY function";
    run(&analyst, "SET privacy.epsilon = 0.2").await;
    assert!(costs(&analyst, question).await);
    assert!(!costs(&analyst, question).await);
    run(&analyst, "SET privacy.epsilon = 0.5").await;
    assert!(costs(&analyst, question).await, "a better one was wanted");
    run(&analyst, "SET privacy.epsilon = 0.3").await;
    let before =
        value(&analyst, "SELECT count(*) FROM (SELECT function, count(*) FROM person GROUP BY function) AS f").await;
    assert_eq!(before, "8");
    assert!(!costs(&analyst, question).await, "there is one that is better than needed");
    for (change, what) in [
        ("ALTER SYSTEM SET privacy.min_group_size = 15", "the floor"),
        ("ALTER SYSTEM SET privacy.mask_high = 0.9", "the band"),
        ("ALTER TABLE person_week ALTER COLUMN after_hours SET (lower = 0, upper = 10)", "a bound"),
        ("ALTER TABLE person_week SET (max_rows_per_person = 40)", "rows of a person"),
    ] {
        run(&admin, change).await;
        assert!(costs(&analyst, question).await, "{what} has changed");
        assert!(!costs(&analyst, question).await);
    }
    let file = server.folder().join("company/person_week.parquet");
    let copy = server.folder().join("company/copy.parquet");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::rename(&copy, &file).unwrap();
    assert!(costs(&analyst, question).await, "the data may have changed");
}

/// A release that reads another one is known as soon as that one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_over_a_release_is_stored_as_well() {
    let server = TestServer::with_company(SMALL).await;
    let analyst = server.analyst().await;
    let typical = "WITH m AS (SELECT avg(after_hours) AS typical FROM person_week) \
                   SELECT count(DISTINCT person_id) FROM person_week CROSS JOIN m WHERE after_hours > typical";
    assert_eq!(sources(&analyst, typical).await, ["new release", "new release"]);
    assert!(costs(&analyst, typical).await);
    assert!(!costs(&analyst, typical).await);
    assert!(!costs(&analyst, "SELECT avg(after_hours) FROM person_week").await);
}

/// Eight sessions ask at once: seven of them get what the first one paid for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_at_once_is_paid_once() {
    let server = TestServer::with_company(SMALL).await;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(server.analyst().await);
    }
    let asked: Vec<_> =
        sessions.into_iter().map(|analyst| tokio::spawn(async move { rows(&analyst, BOTH).await })).collect();
    let mut answers = Vec::new();
    for answer in asked {
        let mut answer = answer.await.unwrap();
        answer.sort();
        answers.push(answer);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all are told the same");
    let auditor = server.auditor().await;
    let log = "SELECT count(*), count(*) FILTER (WHERE NOT from_store), count(*) FILTER (WHERE rho > 0)
        FROM audit.query_log WHERE outcome = 'answered' AND statement LIKE 'SELECT function, country, count%'";
    assert_eq!(
        rows(&auditor, log).await[0].iter().map(|cell| cell.clone().unwrap()).collect::<Vec<_>>(),
        ["8", "1", "1"]
    );
}

/// Design, section 5: Laplace noise costs its epsilon, and no square root of its number until that is less.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laplace_noise_costs_its_epsilon() {
    let server = TestServer::with_company(SMALL).await;
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    assert_eq!(value(&analyst, "SHOW privacy.mechanism").await, "gaussian");
    assert_eq!(refused(&analyst, "SET privacy.mechanism = 'none'").await.sqlstate, "22023");
    run(&analyst, "SET privacy.mechanism = Laplace; SET privacy.epsilon = 0.5").await;
    assert_eq!(value(&analyst, "SHOW privacy.mechanism").await, "laplace");

    let count = "SELECT function, count(*), dp_stddev(count(*)) FROM person GROUP BY function";
    let explained: Vec<String> = rows(&analyst, &format!("EXPLAIN (PRIVACY) {count}"))
        .await
        .into_iter()
        .map(|line| line[0].clone().unwrap())
        .collect();
    let said = |word: &str| explained.iter().any(|line| line.contains(word));
    assert!(said("price: epsilon 0.500000 (laplace; rho 0.125000)"), "{explained:?}");
    assert!(costs(&analyst, count).await);
    assert!((spent(&analyst).await - 0.5).abs() < 1e-9);
    // Of scale 2.
    for row in rows(&analyst, count).await {
        let stddev: f64 = row[2].as_ref().unwrap().parse().unwrap();
        assert!((stddev - 8_f64.sqrt()).abs() < 1e-3, "{stddev}");
    }
    // Several measurements share it, each with an epsilon of its own.
    let several =
        "SELECT country, count(*), avg(after_hours) FROM person JOIN person_week USING (person_id) GROUP BY country";
    assert!(costs(&analyst, several).await);
    assert!((spent(&analyst).await - 1.0).abs() < 1e-9);
    let log = "SELECT rho < 0.125 AND abs(epsilon - 0.5) < 1e-9 FROM audit.query_log WHERE kind = 'SELECT' AND epsilon > 0 \
               ORDER BY id DESC LIMIT 1";
    assert_eq!(value(&server.auditor().await, log).await, "t");

    // A Gaussian answer is another one, and puts an end to adding up.
    run(&analyst, "RESET privacy.mechanism").await;
    assert!(costs(&analyst, count).await, "not the Laplace one, which was drawn with more noise");
    let with_gaussian = spent(&analyst).await;
    assert!(with_gaussian > 2.0, "{with_gaussian}: rho 0.125 and more beside the rest in zCDP");
    run(&analyst, "SET privacy.mechanism = 'laplace'").await;
    assert!(!costs(&analyst, count).await, "each keeps its own");
    run(&analyst, "RESET ALL").await;

    run(&admin, "ALTER SYSTEM SET privacy.mechanism = 'laplace'").await;
    assert_eq!(value(&server.analyst().await, "SHOW privacy.mechanism").await, "laplace");
    run(&admin, "ALTER ROLE analyst_1 SET privacy.mechanism = 'gaussian'").await;
    assert_eq!(value(&server.analyst().await, "SHOW privacy.mechanism").await, "gaussian");
}
