//! Clients that send rubbish: messages of every kind with wrong lengths, in a wrong order, cut, mutated. The server answers
//! with a Postgres error or closes; it lives, and other sessions do not notice.
//!
//! The rubbish comes from a seed that is printed; PARAVENT_FUZZ_SEED repeats it, PARAVENT_FUZZ_ROUNDS makes it longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/raw.rs"]
mod raw;

use std::time::Duration;

use paravent::wire::ListenerOptions;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use raw::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: usize = 300;
/// A client that waits longer for an answer to rubbish gives up: the server may rightly wait for the rest of a message.
const PATIENCE: Duration = Duration::from_millis(30);

fn bytes(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=most)];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn pick<'a, T>(rng: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// What an ordinary session says, message by message.
fn recorded() -> Vec<Vec<u8>> {
    vec![
        query("SELECT 1"),
        query("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH ALL FROM c; COMMIT"),
        query("COPY (SELECT 1) TO STDOUT"),
        query("SET application_name = 'ä'"),
        message('P', b"s\0SELECT $1::int\0\0\x01\0\0\0\x17"),
        message('B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01"),
        message('D', b"Ss\0"),
        message('D', b"Pp\0"),
        message('E', b"p\0\0\0\0\0"),
        message('C', b"Ss\0"),
        message('H', b""),
        message('S', b""),
        message('d', b"data"),
        message('c', b""),
        message('f', b"no\0"),
        message('p', b"SCRAM-SHA-256\0\0\0\0\0"),
    ]
}

/// One message of rubbish, or a good one that was changed.
fn rubbish(rng: &mut StdRng) -> Vec<u8> {
    let mut message = pick(rng, &recorded()).clone();
    match rng.random_range(0..9) {
        0 => return bytes(rng, 64),
        // A length that no message has: negative, short, a gigabyte.
        1 => {
            let lengths = [0_u32, 1, 3, 4, 5, u32::MAX, 1 << 30, 1 << 31, 17 << 20];
            message[1..5].copy_from_slice(&pick(rng, &lengths).to_be_bytes());
        }
        2 => message.truncate(rng.random_range(0..=message.len())),
        3 => {
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..message.len());
                message[at] ^= 1 << rng.random_range(0..8);
            }
        }
        4 => message[0] = rng.random(),
        // No UTF-8, and no zero at the end.
        5 => return raw::message('Q', &[b"SELECT '\xff\xfe".as_slice(), &bytes(rng, 8)].concat()),
        // A TLS record, or a startup packet, in the middle of a session.
        6 => return [b"\x16\x03\x01\x02\x00\x01".as_slice(), &bytes(rng, 32)].concat(),
        7 => return packet(*pick(rng, &[PROTOCOL_3_0, SSL_REQUEST, CANCEL_REQUEST, 0]), &bytes(rng, 16)),
        _ => {}
    }
    message
}

/// What came back, if it is messages at all, is of kinds that a server sends.
fn check(answer: &[u8], seed: u64) {
    let mut rest = answer;
    while rest.len() >= 5 {
        let (kind, length) = (char::from(rest[0]), u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize);
        assert!("123CDEHINRSTZKcdnstvA".contains(kind), "seed {seed}: a message {kind:?}");
        assert!(length >= 4, "seed {seed}: a length of {length}");
        let Some(next) = rest.get(1 + length..) else { return };
        rest = next;
    }
}

async fn talk(client: &mut Raw<tokio::net::TcpStream>, said: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if client.io.write_all(said).await.is_err() {
        return answer;
    }
    let mut part = [0; 4096];
    while let Ok(Ok(read)) = tokio::time::timeout(PATIENCE, client.io.read(&mut part)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&part[..read]);
    }
    answer
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_ends_a_connection_and_nothing_else() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("PARAVENT_FUZZ_SEED").unwrap_or_else(now);
    println!("PARAVENT_FUZZ_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let rounds = number("PARAVENT_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);

    let options = ListenerOptions { startup_timeout: Duration::from_secs(2), ..ListenerOptions::default() };
    let running = start(options).await;
    let mut bystander = running.connect().await;
    bystander.login().await;
    for round in 0..rounds {
        let mut client = running.connect().await;
        match rng.random_range(0..4) {
            // Before anything was said.
            0 => {}
            // In the middle of SASL.
            1 => {
                client.send(&startup(LOGIN)).await;
                client.next().await;
            }
            _ => {
                client.login().await;
            }
        }
        for _ in 0..rng.random_range(1..6) {
            let said = rubbish(&mut rng);
            check(&talk(&mut client, &said).await, seed);
        }
        drop(client);
        if round % 10 == 0 {
            bystander.send(&query("SELECT 42")).await;
            let answer = bystander.until_ready().await;
            assert_eq!(answer[1].body, b"\0\x01\0\0\0\x0242", "seed {seed}, round {round}");
        }
    }
    bystander.send(&query("SELECT 42")).await;
    assert_eq!(bystander.until_ready().await.len(), 4);
    running.stop().await;
}
