//! `customer-match serve`

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use crate::config::{Config, ListenAddress, Tls};
use crate::demo;
use crate::domain::ApiKey;
use crate::http::tls::Certificate;
use crate::http::{self, App, measure, server};
use crate::metrics::ConnectionMetrics;

/// As a shell reports a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
/// Closing a connection takes one message.
const POOL_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serve the API (what happens without a subcommand).
#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: Config,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = &self.config;
        config.check()?;
        server::allow_files(config.limits);
        let shutdown = shutdown_on_signal()?;
        let certificate = certificate(&config.tls)?;
        let listener = listen(&config.listen.address, "--listen").await?;
        let metrics_listener = match &config.metrics.address {
            Some(address) => Some(listen(address, "--metrics-listen").await?),
            None => None,
        };
        // A signal ends the start too, at whatever it waits for.
        let opened = shutdown.run_until_cancelled(config.database.open_for_serving()).await;
        let Some(database) = opened.transpose()? else { return Ok(()) };
        let result = match shutdown.run_until_cancelled(self.prepare(&database)).await {
            Some(Ok(pool)) => {
                let metrics_address = metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?;
                let url = format!("{}://{}", config.tls.scheme(), listener.local_addr()?);
                announce(&url, metrics_address, &database, self.demo(&database));
                let app = App::new(pool.clone(), config, self.demo(&database), shutdown.clone());
                let keys = app.keys();
                let measured = serve_metrics(metrics_listener, &app, config, &shutdown);
                let connections = app.connections();
                let router = http::router(app);
                server::serve(listener, certificate, router, config, connections, shutdown.clone()).await;
                if let Some(measured) = measured {
                    measured.await?;
                }
                keys.close().await;
                // A statement that outlasted the drain is not waited for.
                let _ = timeout(POOL_CLOSE_TIMEOUT, pool.close()).await;
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        database.close().await?;
        result
    }

    /// Brings schema and demo data up to date.
    async fn prepare(&self, database: &Database) -> anyhow::Result<PgPool> {
        let start = &self.config.start;
        database.wait(start.wait_for_database).await?;
        database.ensure_current(start.migrate).await?;
        let pool = database.pool(self.config.pool.max_connections);
        if self.demo(database) {
            demo::set_up(&pool).await?;
        }
        Ok(pool)
    }

    fn demo(&self, database: &Database) -> bool {
        self.config.start.demo(database.private.is_some())
    }
}

async fn listen(address: &ListenAddress, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address.host.as_str(), address.port))
        .await
        .with_context(|| format!("cannot listen on {address}; {flag} chooses another address"))
}

/// Serves the metrics in a task of its own, if they are to be served.
fn serve_metrics(
    listener: Option<TcpListener>,
    app: &App,
    config: &Config,
    shutdown: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let (router, config, shutdown) = (measure::router(app), config.clone(), shutdown.clone());
    listener.map(|listener| {
        tokio::spawn(async move {
            server::serve(listener, None, router, &config, ConnectionMetrics::default(), shutdown).await;
        })
    })
}

/// What to serve HTTPS with, if that is to be done: read now, and again at each SIGHUP.
fn certificate(tls: &Tls) -> anyhow::Result<Option<Certificate>> {
    let Some(first) = tls.server_config()? else { return Ok(None) };
    let mut hang_up = signal(SignalKind::hangup())?;
    let (current, certificate) = watch::channel(first);
    let tls = tls.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match tls.server_config() {
                Ok(Some(renewed)) => {
                    current.send_replace(renewed);
                    tracing::info!("the TLS certificate was read again");
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the TLS certificate stays as it was"),
            }
        }
    });
    Ok(Some(certificate))
}

/// Cancelled by SIGTERM or Ctrl-C. The second of them ends the process at once; its Postgres stops by itself.
fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                signalled.cancel();
                tracing::info!("shutting down");
            }
        }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(shutdown)
}

/// Tells whoever started the server where it is and what to do next. A closed stdout is no reason not to serve.
fn announce(url: &str, metrics: Option<SocketAddr>, database: &Database, demo: bool) {
    let mut text = format!("customer-match {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    if let Some(metrics) = metrics {
        text += &format!("metrics are on http://{metrics}/metrics\n");
    }
    if let Some(private) = &database.private {
        text += &format!("private Postgres in {}\n", private.data_dir().display());
    }
    if demo {
        text += &format!(
            "\ndemo mode: the documented call works as printed. Paste it:\n\n{}\n",
            demo::curl(url, ApiKey::SAMPLE)
        );
    }
    let _ = stdout().write_all(text.as_bytes());
}
