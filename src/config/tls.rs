//! The certificate that the server speaks HTTPS with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};

use super::{ConfigError, require};

/// What a client is offered, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Tls {
    /// Speak HTTPS: a PEM file with the server's certificate, then those that lead to a root. Without it a proxy in
    /// front may.
    #[arg(id = "tls-certificate", long, value_name = "FILE", env = "CUSTOMER_MATCH_TLS_CERTIFICATE")]
    certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(id = "tls-key", long, value_name = "FILE", env = "CUSTOMER_MATCH_TLS_KEY")]
    key: Option<PathBuf>,
}

impl Tls {
    /// Whether the server speaks HTTPS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    /// Of the server's URL.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// The certificate as it is now in its files, read at each call; `None` for plain HTTP.
    pub fn server_config(&self) -> Result<Option<Arc<ServerConfig>>, ConfigError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            require(self.certificate.is_none() && self.key.is_none(), || {
                "--tls-certificate and --tls-key go together: give both or neither".into()
            })?;
            return Ok(None);
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(|error| unreadable("--tls-certificate", certificate, "certificate", &error))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unreadable("--tls-key", key, "unencrypted private key", &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => ConfigError::new(format!(
                    "--tls-key: {} is not the key of the certificate in {}",
                    key.display(),
                    certificate.display()
                )),
                error => ConfigError::new(format!(
                    "--tls-certificate {} with --tls-key {}: {error}",
                    certificate.display(),
                    key.display()
                )),
            })?;
        config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
        Ok(Some(Arc::new(config)))
    }
}

/// Of what is in the file nothing is repeated: it may be a key.
fn unreadable(flag: &str, file: &Path, kind: &str, error: &pem::Error) -> ConfigError {
    let file = file.display();
    ConfigError::new(match error {
        pem::Error::Io(error) => format!("{flag}: {file} cannot be read: {error}"),
        _ => format!("{flag}: {file} has no {kind} in PEM"),
    })
}
