//! What a statement holds is given back when it is cancelled. Who sees and ends what: `tests/running.rs`.

use std::sync::Arc;
use std::time::Duration;

use paravent_udfs::Noise;
use tokio_util::sync::CancellationToken;

use crate::catalog::files::Memory;
use crate::error::{Result, SqlState};
use crate::session::{Answer, Client, Config, Protocol, Server, Session};

async fn session(server: &Arc<Server>, user: &str) -> Session {
    let client = Client {
        user: user.to_owned(),
        database: "paravent".to_owned(),
        application_name: String::new(),
        asked: vec![],
        address: ([127, 0, 0, 1], 1).into(),
        encrypted: false,
    };
    server.open_session(client, CancellationToken::new()).await.unwrap()
}

async fn answer(session: &mut Session, sql: &str) -> Result<Answer> {
    let prepared = session.prepare(sql, Protocol::Simple).await?.remove(0);
    let running = session.backend().begin();
    session.answer(&prepared, &[], Protocol::Simple, &running.token).await
}

async fn until(wanted: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if wanted() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_statement_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(folder.path().join("line.csv"), format!("n\n{lines}")).unwrap();
    // Large enough to run on the threads of long queries.
    std::fs::write(folder.path().join("long.csv"), format!("n\n{}", lines.repeat(250))).unwrap();
    let config = Config {
        data_dir: folder.path().to_owned(),
        admin_password: Some("admin".to_owned()),
        keys: None,
        noise: Noise::from_os(),
        memory: Memory { limit: Some(256 << 20), spill_dir: None },
    };
    let (server, _) = Server::open(config).await.unwrap();
    let mut admin = session(&server, "admin").await;
    for sql in [
        "CREATE ROLE ana LOGIN PASSWORD 'ana' IN ROLE insights_analyst",
        "CREATE EXTERNAL TABLE line STORED AS CSV LOCATION 'line.csv'",
        "ALTER TABLE line SET (public = true)",
        "CREATE EXTERNAL TABLE long STORED AS CSV LOCATION 'long.csv'",
        "ALTER TABLE long SET (public = true)",
        "GRANT SELECT ON line, long TO insights_analyst",
    ] {
        answer(&mut admin, sql).await.unwrap();
    }
    let pool = server.files.runtime().memory_pool.clone();
    for other in ["line", "long"] {
        let mut ana = session(&server, "ana").await;
        let backend = ana.backend().clone();
        let sql = format!("SELECT a.n, b.n, count(*) FROM line AS a CROSS JOIN {other} AS b GROUP BY 1, 2");
        let asked = tokio::spawn(async move { answer(&mut ana, &sql).await });
        until(|| pool.reserved() > 1 << 20).await;
        backend.cancel();
        let refusal = asked.await.unwrap().err().unwrap();
        assert_eq!(refusal.sqlstate, SqlState::QueryCanceled);
        until(|| pool.reserved() == 0).await;
    }
    assert_eq!(server.activities.all().len(), 1, "and with its session goes its place");
}
