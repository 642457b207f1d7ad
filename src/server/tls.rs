//! TLS in front of a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// What to serve HTTPS with, until another takes its place; connections keep that of their beginning.
pub type Certificate = watch::Receiver<Arc<ServerConfig>>;

/// Does the handshake, if there is one to do; `None` for a client that does not, or not in time, or too late: nothing was
/// asked yet.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    patience: Duration,
    shutdown: &CancellationToken,
) -> Option<Either<TcpStream, TlsStream<TcpStream>>> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    let handshake = timeout(patience, TlsAcceptor::from(tls).accept(stream));
    match shutdown.run_until_cancelled(handshake).await? {
        Ok(Ok(stream)) => return Some(Either::Right(stream)),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
    None
}
