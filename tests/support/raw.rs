//! A client that sends what no driver would: bytes, in any order, and a server to send them to.

#![allow(dead_code)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use paravent::session::{Config, Server};
use paravent::wire::{Listener, ListenerOptions};
use paravent_udfs::Noise;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The bootstrap account: it reads nobody, but it may log in and ask for what is nobody's.
pub const LOGIN: &str = "admin";
pub const PASSWORD: &str = "secret";

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Running {
    pub port: u16,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    listening: JoinHandle<()>,
}

pub async fn start(options: ListenerOptions) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: folder.path().to_owned(),
        admin_password: Some(PASSWORD.to_owned()),
        keys: None,
        noise: Noise::from_os(),
        memory: Default::default(),
    };
    let (server, _) = Server::open(config).await.unwrap();
    let listener = Listener::bind("127.0.0.1:0", options).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let listening = tokio::spawn(listener.run(server, async {
        let _ = stopped.await;
    }));
    Running { port, folder, stop: Some(stop), listening }
}

impl Running {
    pub async fn connect(&self) -> Raw<TcpStream> {
        Raw::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap())
    }

    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.listening).await.unwrap().unwrap();
    }
}

pub struct Raw<S> {
    pub io: S,
}

/// A message of the server: its type byte and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: char,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse.
    pub fn field(&self, key: char) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        let field = fields.filter(|field| !field.is_empty()).find(|field| char::from(field[0]) == key)?;
        Some(String::from_utf8(field[1..].to_vec()).unwrap())
    }

    #[track_caller]
    pub fn expect_error(&self, severity: &str, sqlstate: &str) {
        assert_eq!(self.kind, 'E', "{self:?}");
        let found = (self.field('S').unwrap(), self.field('C').unwrap());
        assert_eq!(found, (severity.to_owned(), sqlstate.to_owned()));
    }
}

pub fn message(kind: char, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind as u8], &length.to_be_bytes()[..], body].concat()
}

pub fn query(sql: &str) -> Vec<u8> {
    message('Q', format!("{sql}\0").as_bytes())
}

/// A packet without a type byte, of `code` (a version or a request).
pub fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

pub const PROTOCOL_3_0: u32 = 3 << 16;
pub const SSL_REQUEST: u32 = 80_877_103;
pub const GSSENC_REQUEST: u32 = 80_877_104;
pub const CANCEL_REQUEST: u32 = 80_877_102;

pub fn startup(user: &str) -> Vec<u8> {
    startup_of(PROTOCOL_3_0, user)
}

pub fn startup_of(version: u32, user: &str) -> Vec<u8> {
    let parameters = format!("user\0{user}\0database\0paravent\0\0");
    packet(version, parameters.as_bytes())
}

pub fn sasl_initial(mechanism: &str, client_first: &str) -> Vec<u8> {
    let length = u32::try_from(client_first.len()).unwrap().to_be_bytes();
    let name = format!("{mechanism}\0");
    message('p', &[name.as_bytes(), &length, client_first.as_bytes()].concat())
}

const CLIENT_FIRST_BARE: &str = "n=,r=abcdefghijklmnop";

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub fn new(io: S) -> Self {
        Self { io }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub async fn byte(&mut self) -> u8 {
        self.io.read_u8().await.unwrap()
    }

    /// `None`: the server has closed.
    pub async fn next(&mut self) -> Option<Message> {
        let read = async {
            let kind = char::from(self.io.read_u8().await.ok()?);
            let length = self.io.read_u32().await.ok()?;
            let mut body = vec![0; length as usize - 4];
            self.io.read_exact(&mut body).await.ok()?;
            Some(Message { kind, body })
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// Everything up to ReadyForQuery or the end.
    pub async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            let ready = message.kind == 'Z';
            messages.push(message);
            if ready {
                break;
            }
        }
        messages
    }

    /// Everything up to the end.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }

    /// Up to the server's challenge; the client's last message is handed back, not sent.
    pub async fn begin_login(&mut self, user: &str, password: &str) -> Vec<u8> {
        self.send(&startup(user)).await;
        self.answer_challenge(password).await
    }

    pub async fn answer_challenge(&mut self, password: &str) -> Vec<u8> {
        let mechanisms = self.next().await.unwrap();
        assert_eq!((mechanisms.kind, mechanisms.body[3]), ('R', 10));
        let client_first = format!("n,,{CLIENT_FIRST_BARE}");
        self.send(&sasl_initial("SCRAM-SHA-256", &client_first)).await;
        let challenge = self.next().await.unwrap();
        assert_eq!((challenge.kind, challenge.body[3]), ('R', 11));
        let server_first = std::str::from_utf8(&challenge.body[4..]).unwrap();
        message('p', client_final(server_first, password).as_bytes())
    }

    /// A login with a first message of one's own; gives the messages after the proof.
    pub async fn login_as(&mut self, startup: &[u8]) -> Vec<Message> {
        self.send(startup).await;
        let proof = self.answer_challenge(PASSWORD).await;
        self.send(&proof).await;
        self.until_ready().await
    }

    /// A login that succeeds; gives the messages after the proof.
    pub async fn login(&mut self) -> Vec<Message> {
        let proof = self.begin_login(LOGIN, PASSWORD).await;
        self.send(&proof).await;
        let messages = self.until_ready().await;
        assert_eq!(messages.last().unwrap().kind, 'Z', "{messages:?}");
        messages
    }
}

fn client_final(server_first: &str, password: &str) -> String {
    let part = |index: usize| &server_first.split(',').nth(index).unwrap()[2..];
    let salt = STANDARD.decode(part(1)).unwrap();
    let iterations = part(2).parse().unwrap();
    let without_proof = format!("c=biws,r={}", part(0));
    let auth_message = format!("{CLIENT_FIRST_BARE},{server_first},{without_proof}");

    let salted = stretch(password.as_bytes(), &salt, iterations);
    let client_key = mac(&salted, b"Client Key");
    let stored_key = Sha256::digest(client_key);
    let signature = mac(&stored_key, auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

/// PBKDF2 with one block.
fn stretch(password: &[u8], salt: &[u8], iterations: usize) -> [u8; 32] {
    let mut block = mac(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = block;
    for _ in 1..iterations {
        block = mac(password, &block);
        sum.iter_mut().zip(block).for_each(|(a, b)| *a ^= b);
    }
    sum
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().into()
}
