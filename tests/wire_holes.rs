//! What pgwire 0.42.1 leaves open by default, and must be shut here. Each test says what its loop over a socket did before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/raw.rs"]
mod raw;

use std::time::Duration;

use certificate::Certificate;
use paravent::wire::ListenerOptions;
use raw::*;

fn with_tls(certificate: &Certificate, require_tls: bool) -> ListenerOptions {
    ListenerOptions { tls: Some(certificate.files.clone()), require_tls, ..ListenerOptions::default() }
}

/// pgwire to 0.41 told the client of the failed login and went on reading: the pipelined query ran without a session.
#[tokio::test]
async fn a_query_behind_a_failed_login_is_not_read() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let proof = client.begin_login(LOGIN, "a wrong password").await;
    client.send(&[proof, query("SELECT 1"), query("SELECT 2")].concat()).await;
    let rest = client.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    rest[0].expect_error("FATAL", "28P01");
}

/// pgwire sends ReadyForQuery after any error on this path that is not FATAL, and takes a query then.
#[tokio::test]
async fn every_error_before_the_login_is_fatal() {
    let running = start(ListenerOptions::default()).await;
    let start_of_login = startup(LOGIN);
    let wrong_order = [&start_of_login[..], &message('S', b"")].concat();
    let no_mechanism = [&start_of_login[..], &sasl_initial("PLAIN", "n,,n=,r=a")].concat();
    let unbound = [&start_of_login[..], &sasl_initial("SCRAM-SHA-256-PLUS", "n,,n=,r=a")].concat();
    let bound = [&start_of_login[..], &sasl_initial("SCRAM-SHA-256", "p=tls-server-end-point,,n=,r=a")].concat();
    let not_scram = [&start_of_login[..], &sasl_initial("SCRAM-SHA-256", "hello")].concat();
    let password = [&start_of_login[..], &message('p', b"secret\0")].concat();
    let lies = [&start_of_login[..], &message('p', b"SCRAM-SHA-256\0\xff\xff\xff\xf0")].concat();
    let nonsense = [&start_of_login[..], &message('?', b"")].concat();
    let cases = [
        (packet(PROTOCOL_3_0, b"database\0paravent\0\0"), "28000"),
        (packet(PROTOCOL_3_0, b"user\0a\0replication\0true\0\0"), "0A000"),
        (packet(2 << 16, b"user\0a\0\0"), "0A000"),
        (u32::to_be_bytes(4).to_vec(), "08P01"),
        (u32::to_be_bytes(0x3fff_ffff).to_vec(), "08P01"),
        (start_of_login, "08P01"),
        (wrong_order, "08P01"),
        (no_mechanism, "08P01"),
        (unbound, "08P01"),
        (bound, "08P01"),
        (not_scram, "08P01"),
        (password, "08P01"),
        (lies, "08P01"),
        (nonsense, "08P01"),
    ];
    for (number, (bytes, sqlstate)) in cases.into_iter().enumerate() {
        let mut client = running.connect().await;
        client.send(&[bytes, query("SELECT 1")].concat()).await;
        let mut rest = client.rest().await;
        rest.retain(|message| message.kind != 'R');
        assert_eq!(rest.len(), 1, "case {number}: {rest:?}");
        rest[0].expect_error("FATAL", sqlstate);
    }
}

/// pgwire serves a client that does not ask for TLS, whether there is a certificate or not.
#[tokio::test]
async fn plaintext_is_refused_where_there_is_a_certificate() {
    let certificate = Certificate::new();
    let running = start(with_tls(&certificate, true)).await;
    let mut client = running.connect().await;
    client.send(&startup(LOGIN)).await;
    let rest = client.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    rest[0].expect_error("FATAL", "28000");

    let running = start(with_tls(&certificate, false)).await;
    let mut client = running.connect().await;
    client.send(&startup(LOGIN)).await;
    let mechanisms = client.next().await.unwrap();
    assert_eq!(&mechanisms.body[4..], b"SCRAM-SHA-256\0\0");
}

#[tokio::test]
async fn tls_offers_channel_binding() {
    let certificate = Certificate::new();
    let running = start(with_tls(&certificate, true)).await;
    let mut client = running.connect().await;
    client.send(&packet(SSL_REQUEST, b"")).await;
    assert_eq!(client.byte().await, b'S');
    let mut client = Raw::new(certificate.handshake(client.io).await.unwrap());
    client.send(&startup(LOGIN)).await;
    let mechanisms = client.next().await.unwrap();
    assert_eq!(&mechanisms.body[4..], b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0\0");
}

/// pgwire carries what it had read into the encrypted connection, as if it had come through it (CVE-2021-23214).
#[tokio::test]
async fn bytes_before_the_handshake_end_the_connection() {
    let certificate = Certificate::new();
    let running = start(with_tls(&certificate, true)).await;
    let mut client = running.connect().await;
    client.send(&[packet(SSL_REQUEST, b""), startup(LOGIN)].concat()).await;
    let rest = client.rest().await;
    assert_eq!(rest.len(), 1, "{rest:?}");
    rest[0].expect_error("FATAL", "08P01");
}

#[tokio::test]
async fn an_unknown_login_and_a_wrong_password_look_alike() {
    let running = start(ListenerOptions::default()).await;
    let mut seen = Vec::new();
    for user in [LOGIN, "nobody_01"] {
        let mut client = running.connect().await;
        client.send(&startup(user)).await;
        let mechanisms = client.next().await.unwrap();
        client.send(&sasl_initial("SCRAM-SHA-256", "n,,n=,r=abc")).await;
        let challenge = client.next().await.unwrap();
        let nonce = challenge.body[4..].split(|byte| *byte == b',').next().unwrap();
        let nonce = std::str::from_utf8(nonce).unwrap();
        let proof = "A".repeat(43);
        let last = message('p', format!("c=biws,{nonce},p={proof}=").as_bytes());
        client.send(&last).await;
        let rest = client.rest().await;
        assert_eq!(rest.len(), 1);
        rest[0].expect_error("FATAL", "28P01");
        let text = rest[0].field('M').unwrap().replace(user, "");
        seen.push((mechanisms, challenge.kind, challenge.body.len(), text));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn requests_before_the_startup() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.send(&packet(GSSENC_REQUEST, b"")).await;
    assert_eq!(client.byte().await, b'N');
    client.send(&packet(SSL_REQUEST, b"")).await;
    assert_eq!(client.byte().await, b'N');
    client.send(&startup(LOGIN)).await;
    assert_eq!(client.next().await.unwrap().kind, 'R');

    let mut client = running.connect().await;
    client.send(&packet(CANCEL_REQUEST, &[0; 8])).await;
    assert_eq!(client.rest().await, []);
}

#[tokio::test]
async fn a_newer_protocol_is_negotiated_down() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let body = format!("user\0{LOGIN}\0_pq_.shiny\0on\0\0");
    client.send(&packet((3 << 16) | 9999, body.as_bytes())).await;
    let negotiated = client.next().await.unwrap();
    assert_eq!(negotiated.kind, 'v');
    assert_eq!(negotiated.body, b"\x00\x03\x00\x02\x00\x00\x00\x01_pq_.shiny\0");
}

#[tokio::test]
async fn a_client_that_does_not_log_in_is_dropped() {
    let options = ListenerOptions { startup_timeout: Duration::from_millis(100), ..ListenerOptions::default() };
    let running = start(options).await;
    let mut silent = running.connect().await;
    let mut slow = running.connect().await;
    slow.send(&startup(LOGIN)).await;
    assert_eq!(silent.rest().await, []);
    assert_eq!(slow.rest().await.len(), 1);
}

#[tokio::test]
async fn a_full_server_says_so_and_can_still_be_cancelled() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    let messages = client.login().await;
    let key = messages.into_iter().find(|message| message.kind == 'K').unwrap();
    client.send(&query("ALTER SYSTEM SET max_connections = 1")).await;
    assert_eq!(client.until_ready().await[0].kind, 'C');
    let mut second = running.connect().await;
    let proof = second.begin_login(LOGIN, PASSWORD).await;
    second.send(&proof).await;
    let told = second.until_ready().await;
    told.last().unwrap().expect_error("FATAL", "53300");
    client
        .send(&query("SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b"))
        .await;
    // Until the statement has begun there is nothing to cancel.
    let cancelled = async {
        loop {
            let mut other = running.connect().await;
            other.send(&packet(CANCEL_REQUEST, &key.body)).await;
            assert_eq!(other.rest().await, []);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        messages = client.until_ready() => messages[0].expect_error("ERROR", "57014"),
        () = cancelled => {}
    }
    // A place that is left is free again.
    drop(client);
    loop {
        let mut next = running.connect().await;
        let proof = next.begin_login(LOGIN, PASSWORD).await;
        next.send(&proof).await;
        if next.until_ready().await.last().unwrap().kind == 'Z' {
            break;
        }
    }
}

/// They were let sit for the whole time that a login may take, and there was no room for others.
#[tokio::test]
async fn silent_clients_keep_out_nobody() {
    let options = ListenerOptions { startup_timeout: Duration::from_secs(600), ..ListenerOptions::default() };
    let running = start(options).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(running.connect().await);
    }
    let mut client = running.connect().await;
    client.login().await;
    assert_eq!(silent[0].rest().await, [], "the first of them made room");
}

/// The server stops although a client is in the middle of its login.
#[tokio::test]
async fn a_stopped_server_lets_go_of_its_clients() {
    let running = start(ListenerOptions::default()).await;
    let mut client = running.connect().await;
    client.send(&startup(LOGIN)).await;
    client.next().await.unwrap();
    running.stop().await;
    assert_eq!(client.rest().await, []);
}
