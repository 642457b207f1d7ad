//! The certificate and the private key for HTTPS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::{ConfigError, require};

/// The ALPN protocols, in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
pub struct Tls {
    /// PEM file with the certificate of the server and its chain, to serve HTTPS [default: plain HTTP]
    #[arg(id = "tls-certificate", long, value_name = "FILE", env = "CUSTOMER_MATCH_TLS_CERTIFICATE")]
    certificate: Option<PathBuf>,
    /// PEM file with the private key of the certificate, unencrypted
    #[arg(id = "tls-key", long, value_name = "FILE", env = "CUSTOMER_MATCH_TLS_KEY")]
    key: Option<PathBuf>,
}

/// A certificate and its key as they were read.
#[derive(Debug, Clone)]
pub struct LoadedCertificate {
    pub server_config: Arc<ServerConfig>,
    /// When the certificate ends.
    pub not_after: DateTime<Utc>,
}

impl Tls {
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Reads the files, at each call; `None` for plain HTTP.
    pub fn load(&self) -> Result<Option<LoadedCertificate>, ConfigError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            require(self.certificate.is_none() && self.key.is_none(), || {
                "--tls-certificate and --tls-key need each other: give both or neither".into()
            })?;
            return Ok(None);
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
            .map_err(|error| unreadable("--tls-certificate", certificate, "certificate", &error))?;
        let not_after = not_after(&chain).ok_or_else(|| {
            ConfigError::new(format!(
                "--tls-certificate: {} has a certificate that cannot be read",
                certificate.display()
            ))
        })?;
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
        Ok(Some(LoadedCertificate { server_config: Arc::new(config), not_after }))
    }
}

/// Of the server's certificate, which is the first of its chain.
fn not_after(chain: &[CertificateDer<'_>]) -> Option<DateTime<Utc>> {
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let since_epoch = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    DateTime::from_timestamp(since_epoch.as_secs().try_into().ok()?, 0)
}

/// Quotes nothing of the file, which may contain a private key.
fn unreadable(flag: &str, file: &Path, kind: &str, error: &pem::Error) -> ConfigError {
    let file = file.display();
    ConfigError::new(match error {
        pem::Error::Io(error) => format!("{flag}: {file} cannot be read: {error}"),
        _ => format!("{flag}: {file} has no {kind} in PEM"),
    })
}
