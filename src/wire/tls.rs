//! TLS and the half of SCRAM that depends on it.
//!
//! In: a certificate chain and its key, as PEM. Out: an acceptor, and the SCRAM state for either kind of connection.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use pgwire::api::auth::sasl::scram::ScramServerAuth;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::errors::{Failure, Flow};
use super::socket::Io;

/// The name of the protocol in ALPN, which a client must offer that starts TLS without asking first.
const ALPN: &[u8] = b"postgresql";

/// Where the certificate chain and its key lie (PEM).
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    /// Knows the certificate, and so offers channel binding.
    pub scram: ScramServerAuth,
}

impl Tls {
    pub fn load(files: &TlsFiles) -> io::Result<Self> {
        let pem = std::fs::read(&files.certificate)?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| invalid("the TLS certificate is not valid PEM"))?;
        if chain.is_empty() {
            return Err(invalid("the TLS certificate file holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&std::fs::read(&files.key)?)
            .map_err(|_| invalid("the TLS key is not valid PEM"))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| invalid("the TLS key does not fit the certificate"))?;
        config.alpn_protocols = vec![ALPN.to_vec()];

        let mut scram = ScramServerAuth::new();
        if scram.configure_certificate(&pem).is_err() {
            // RFC 5929 §4.1 leaves the binding of such a signature algorithm undefined: go without it.
            tracing::warn!("the certificate's signature algorithm allows no channel binding");
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), scram })
    }

    /// `direct`: the client began with TLS, without an SSLRequest, and must then name the protocol.
    pub async fn accept(&self, io: Box<dyn Io>, direct: bool) -> Flow<TlsStream<Box<dyn Io>>> {
        let stream = self.acceptor.accept(io).await?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Failure::Gone);
        }
        Ok(stream)
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
