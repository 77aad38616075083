//! The copy protocol: how a load ends, and what is left when it does not.

use crate::client::{Loader, files, sqlstate, told};
use crate::public_table;
use crate::raw::{CANCEL_REQUEST, Raw, message, packet, query};
use crate::support::{TestServer, number, rows};

async fn server() -> TestServer {
    let server = TestServer::start().await.with_people().await;
    public_table(&server, "t", "id integer").await;
    server
}

async fn count(server: &TestServer) -> f64 {
    number(&server.analyst().await, "SELECT count(*) FROM t").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_loads_nothing() {
    let server = server().await;
    let mut admin = Loader::admin(&server).await;
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    admin.data(b"1\n").await;
    admin.raw.send(&message('f', b"a reason with s3cr3t\0")).await;
    let messages = admin.raw.until_ready().await;
    assert_eq!(sqlstate(told(&messages)), "57014");
    assert!(!format!("{messages:?}").contains("s3cr3t"));
    // Flush and Sync in between mean nothing; any other statement is an error of the protocol.
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    admin.raw.send(&[message('H', b""), message('S', b""), message('d', b"1\n2"), message('d', b"\n")].concat()).await;
    assert_eq!(told(&admin.done().await), Ok("COPY 2".to_owned()));
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    admin.raw.send(&query("SELECT 1")).await;
    let rest = admin.raw.rest().await;
    rest[0].expect_error("FATAL", "08P01");
    assert_eq!(count(&server).await, 2.0);
    assert_eq!(files(&server).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_leaves_nothing() {
    let server = server().await;
    for last in [&b""[..], b"d\0\0\0\xffabc"] {
        let mut admin = Loader::admin(&server).await;
        assert!(admin.begin("COPY t FROM STDIN").await.is_none());
        admin.data("1\n".repeat(20_000).as_bytes()).await;
        admin.raw.send(last).await;
        drop(admin);
    }
    let auditor = server.auditor().await;
    let ended = "SELECT count(*) FROM audit.query_log WHERE kind = 'COPY FROM' AND outcome = 'cancelled'";
    for _ in 0..200 {
        if number(&auditor, ended).await == 2.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(number(&auditor, ended).await, 2.0);
    assert_eq!(count(&server).await, 0.0);
    assert_eq!(files(&server).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_can_be_cancelled_and_times_out() {
    let server = server().await;
    let mut raw = Raw::new(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    let proof = raw.begin_login("admin", crate::support::ADMIN_PASSWORD).await;
    raw.send(&proof).await;
    let key = raw.until_ready().await.into_iter().find(|message| message.kind == 'K').unwrap().body;
    let mut admin = Loader { raw };
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    admin.data(b"1\n").await;
    let mut other = Raw::new(tokio::net::TcpStream::connect(server.address()).await.unwrap());
    other.send(&packet(CANCEL_REQUEST, &key)).await;
    assert_eq!(sqlstate(told(&admin.raw.until_ready().await)), "57014");
    // What was on its way is not taken for anything else.
    admin.raw.send(&[message('d', b"2\n"), message('c', b"")].concat()).await;
    assert_eq!(admin.run("SET statement_timeout = '50ms'").await, Ok("SET".to_owned()));
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    assert_eq!(sqlstate(told(&admin.raw.until_ready().await)), "57014");
    assert_eq!(admin.run("RESET statement_timeout").await, Ok("RESET".to_owned()));
    assert_eq!(admin.copy("COPY t FROM STDIN", "3\n").await, Ok("COPY 1".to_owned()));
    assert_eq!(count(&server).await, 1.0);
}

/// Parse, Bind, Describe, Execute and Sync at once, as libpq sends them; then rows; then Sync again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_extended_protocol_loads_too() {
    let server = server().await;
    let mut admin = Loader::admin(&server).await;
    let begin = |sql: &str| {
        let parse = message('P', format!("\0{sql}\0\0\0").as_bytes());
        let bind = message('B', b"\0\0\0\0\0\0\0\0");
        [parse, bind, message('D', b"P\0"), message('E', b"\0\0\0\0\0"), message('S', b"")].concat()
    };
    for (data, expected) in [("1\n2\n", Ok("COPY 2".to_owned())), ("x\n", Err("22P02"))] {
        admin.raw.send(&begin("COPY t FROM STDIN")).await;
        let mut kinds = String::new();
        while !kinds.ends_with('G') {
            kinds.push(admin.raw.next().await.unwrap().kind);
        }
        assert_eq!(kinds, "12nG");
        admin.raw.send(&[message('d', data.as_bytes()), message('c', b""), message('S', b"")].concat()).await;
        let told = told(&admin.raw.until_ready().await);
        assert_eq!(told.map_err(|(sqlstate, _)| sqlstate), expected.map_err(str::to_owned));
    }
    assert_eq!(admin.copy("COPY t FROM STDIN", "4\n").await, Ok("COPY 1".to_owned()));
    assert_eq!(count(&server).await, 3.0);
}

/// A load belongs to its block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_loads_what_it_commits() {
    let server = server().await;
    let mut admin = Loader::admin(&server).await;
    let load = "COPY t FROM STDIN";
    assert!(admin.run("BEGIN").await.is_ok());
    assert!(admin.copy(load, "1\n").await.is_ok());
    assert_eq!(count(&server).await, 0.0, "nobody sees it before");
    assert!(admin.run("ROLLBACK").await.is_ok());
    assert_eq!(files(&server).len(), 1);

    for statement in ["BEGIN", "SAVEPOINT a"] {
        assert!(admin.run(statement).await.is_ok());
    }
    assert!(admin.copy(load, "2\n").await.is_ok());
    assert!(admin.run("ROLLBACK TO a").await.is_ok());
    assert!(admin.copy(load, "3\n").await.is_ok());
    assert_eq!(admin.run("COMMIT").await, Ok("COMMIT".to_owned()));
    let analyst = server.analyst().await;
    assert_eq!(rows(&analyst, "SELECT id FROM t").await, vec![vec![Some("3".to_owned())]]);

    assert!(admin.run("BEGIN").await.is_ok());
    assert!(admin.copy(load, "4\n").await.is_ok());
    assert_eq!(sqlstate(admin.copy(load, "x\n").await), "22P02");
    assert_eq!(sqlstate(admin.copy(load, "5\n").await), "25P02");
    assert_eq!(admin.run("COMMIT").await, Ok("ROLLBACK".to_owned()));
    assert_eq!(count(&server).await, 1.0);
    assert_eq!(files(&server).len(), 2);
}
