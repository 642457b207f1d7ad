//! The TLS handshake in front of a connection.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::connection::ConnectionDriver;
use crate::config::LoadedCertificate;

/// The current certificate with its key. A renewed one is sent here; open connections keep theirs.
pub type Certificate = watch::Receiver<LoadedCertificate>;

/// Does the handshake if there is a certificate. `None` if the client fails it or is slower than the header timeout, or
/// if the server stops meanwhile: no request was made yet, so nothing is lost.
pub(super) async fn accept(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    driver: &ConnectionDriver,
) -> Option<Either<TcpStream, TlsStream<TcpStream>>> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    let handshake = timeout(driver.timeouts.header, TlsAcceptor::from(tls).accept(stream));
    match driver.shutdown.run_until_cancelled(handshake).await? {
        Ok(Ok(stream)) => return Some(Either::Right(stream)),
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
    None
}
