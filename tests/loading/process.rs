//! The real binary: what it holds in memory of a long load, and what is left when it is killed in the middle of one.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::{Loader, files_in, told};
use crate::support::{ADMIN, ADMIN_PASSWORD, connect, value};

/// Killed when dropped.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The most memory that it ever held, in bytes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Process, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_paravent"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder)
        .env("PARAVENT_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    for line in lines.map(Result::unwrap) {
        if let Some(address) = line.strip_prefix("listening on ") {
            return (process, address.parse().unwrap());
        }
    }
    panic!("the server ended before it listened");
}

/// About 64 kB of rows that do not compress to nothing.
fn piece(seed: usize) -> String {
    let mix = |n: usize| (n as u64 ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31);
    let row = |n: usize| format!("{}\t{:016x}{:016x}\n", mix(n) % 1_000_000, mix(n), mix(n * 7 + 1));
    (0..1600).map(|n| row(seed * 1600 + n)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_load_is_not_held_in_memory_and_a_killed_one_leaves_nothing() {
    const PIECES: usize = 1200;
    /// What is gathered for a batch and for a row group, several times over; less than what is sent.
    const GROWTH_BYTES: usize = 56 << 20;

    let folder = tempfile::tempdir().unwrap();
    let (mut process, address) = serve(folder.path());
    let mut admin = Loader::at(address, ADMIN).await;
    for statement in [
        "CREATE TABLE t (id bigint, text text) WITH (public = true)",
        "GRANT SELECT ON t TO insights_analyst",
        "CREATE ROLE ana LOGIN PASSWORD 'ana' IN ROLE insights_analyst",
        "ALTER SYSTEM SET statement_timeout = '10min'",
    ] {
        assert!(admin.run(statement).await.is_ok(), "{statement}");
    }
    assert_eq!(admin.copy("COPY t FROM STDIN", piece(0)).await, Ok("COPY 1600".to_owned()));
    let before = process.peak();
    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    let mut sent = 0;
    for n in 1..=PIECES {
        let piece = piece(n);
        sent += piece.len();
        admin.data(piece.as_bytes()).await;
    }
    assert_eq!(told(&admin.done().await), Ok(format!("COPY {}", 1600 * PIECES)));
    let grown = process.peak() - before;
    assert!(sent > GROWTH_BYTES, "{sent} bytes: the test shows nothing");
    assert!(grown < GROWTH_BYTES, "{grown} bytes more for {sent} bytes of rows");

    assert!(admin.begin("COPY t FROM STDIN").await.is_none());
    admin.data(piece(0).as_bytes()).await;
    let hidden = |folder: &Path| {
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".load-");
        files_in(folder).iter().filter(|path| name(path)).count()
    };
    assert_eq!(hidden(folder.path()), 1);
    process.kill();
    assert_eq!(hidden(folder.path()), 1, "what the killed server left");

    let (_process, address) = serve(folder.path());
    assert_eq!(hidden(folder.path()), 0);
    let analyst = connect(address, "ana", "ana").await.unwrap();
    let count = "SELECT count(*) FROM t";
    assert_eq!(value(&analyst, count).await, (1600 * (PIECES + 1)).to_string());
    let mut admin = Loader::at(address, ADMIN).await;
    assert_eq!(admin.copy("COPY t FROM STDIN", "1\ta\n").await, Ok("COPY 1".to_owned()));
    assert_eq!(value(&analyst, count).await, (1600 * (PIECES + 1) + 1).to_string());
}
