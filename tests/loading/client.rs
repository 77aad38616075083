//! A client that loads: raw messages, so that each way of cutting and ending them can be tried.

use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use crate::raw::{Message, Raw, message, query};
use crate::support::{ADMIN, TestServer};

pub struct Loader {
    pub raw: Raw<TcpStream>,
}

/// What the client was told at the end: the command tag, or SQLSTATE and context.
pub type Told = Result<String, (String, Option<String>)>;

impl Loader {
    pub async fn login(server: &TestServer, (user, password): (&str, &str)) -> Self {
        Self::at(server.address(), (user, password)).await
    }

    pub async fn at(address: std::net::SocketAddr, (user, password): (&str, &str)) -> Self {
        let mut raw = Raw::new(TcpStream::connect(address).await.unwrap());
        let proof = raw.begin_login(user, password).await;
        raw.send(&proof).await;
        let messages = raw.until_ready().await;
        assert_eq!(messages.last().map(|message| message.kind), Some('Z'), "{messages:?}");
        Self { raw }
    }

    pub async fn admin(server: &TestServer) -> Self {
        Self::login(server, ADMIN).await
    }

    /// Sends the statement; `None`: rows are wanted now.
    pub async fn begin(&mut self, sql: &str) -> Option<Vec<Message>> {
        self.raw.send(&query(sql)).await;
        let first = self.raw.next().await.unwrap();
        if first.kind == 'G' {
            return None;
        }
        let mut messages = vec![first];
        messages.extend(self.raw.until_ready().await);
        Some(messages)
    }

    pub async fn data(&mut self, data: &[u8]) {
        self.raw.send(&message('d', data)).await;
    }

    pub async fn done(&mut self) -> Vec<Message> {
        self.raw.send(&message('c', b"")).await;
        self.raw.until_ready().await
    }

    pub async fn copy(&mut self, sql: &str, data: impl AsRef<[u8]>) -> Told {
        self.copy_in_pieces(sql, data, 4096).await
    }

    pub async fn copy_in_pieces(&mut self, sql: &str, data: impl AsRef<[u8]>, bytes: usize) -> Told {
        told(&self.messages(sql, data.as_ref(), bytes).await)
    }

    pub async fn messages(&mut self, sql: &str, data: &[u8], bytes: usize) -> Vec<Message> {
        if let Some(refused) = self.begin(sql).await {
            return refused;
        }
        let pieces: Vec<u8> = data.chunks(bytes).flat_map(|piece| message('d', piece)).collect();
        self.raw.send(&[&pieces[..], &message('c', b"")].concat()).await;
        self.raw.until_ready().await
    }

    /// A statement without rows either way.
    pub async fn run(&mut self, sql: &str) -> Told {
        self.raw.send(&query(sql)).await;
        told(&self.raw.until_ready().await)
    }
}

pub fn told(messages: &[Message]) -> Told {
    let text = |message: &Message| String::from_utf8(message.body.clone()).unwrap().trim_end_matches('\0').to_owned();
    match messages.iter().find(|message| message.kind == 'E') {
        Some(error) => Err((error.field('C').unwrap(), error.field('W'))),
        None => Ok(messages.iter().rev().find(|message| message.kind == 'C').map(text).unwrap_or_default()),
    }
}

pub fn sqlstate(told: Told) -> String {
    told.map_or_else(|(sqlstate, _)| sqlstate, |tag| panic!("loaded, but must not be: {tag}"))
}

/// Every file in the folders of tables, hidden ones too.
pub fn files(server: &TestServer) -> Vec<PathBuf> {
    files_in(server.folder())
}

pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    below(&folder.join("tables"), &mut found);
    found.retain(|path| path.file_name().is_some_and(|name| name != ".load.lock"));
    found
}
