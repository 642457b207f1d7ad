//! `customer-match serve`

use std::io::{Write, stdout};
use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::database::Database;
use super::replica;
use super::signals::cancelled_by_signal;
use super::start_event;
use crate::app::App;
use crate::config::{Config, ListenAddress, Tls};
use crate::db::Layout;
use crate::demo;
use crate::domain::ApiKey;
use crate::server::{self, Certificate};

/// Serve the API (what happens without a subcommand).
#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: Config,
}

/// What is known of the database before the server starts.
struct Prepared {
    /// Of the pool.
    max_connections: u32,
    layout: Layout,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = &self.config;
        config.check()?;
        server::raise_open_file_limit(config.limits);
        let shutdown = cancelled_by_signal(|| tracing::info!("shutting down"))?;
        let certificate = certificate(&config.tls)?;
        let listener = listen(&config.listen.address, "--listen").await?;
        let admin_listener = match &config.admin.address {
            Some(address) => Some(listen(address, "--admin-listen").await?),
            None => None,
        };
        // A signal ends the start too, whatever it waits for.
        let opened = shutdown.run_until_cancelled(config.database.open_for_serving()).await;
        let Some(database) = opened.transpose()? else { return Ok(()) };
        let address = listener.local_addr()?;
        let only_local = config.is_only_local(address);
        let demo = config.start.demo(database.private.is_some(), only_local);
        let result = match shutdown.run_until_cancelled(self.prepare(&database, demo)).await {
            Some(Ok(Prepared { max_connections, layout })) => {
                let admin_address = admin_listener.as_ref().map(TcpListener::local_addr).transpose()?;
                let url = format!("{}://{address}", config.tls.scheme());
                announce(&url, admin_address, &database, demo, only_local);
                let replica = config.replica.connect_options()?;
                start_event::log(&url, admin_address, &database, replica.as_ref(), demo);
                let mut config = config.clone();
                config.pool.max_connections = max_connections;
                let config = &config;
                let mut app = App::start(database.options.clone(), layout, config, demo, shutdown.clone());
                if let Some(private) = &database.private {
                    app = app.on_disk_of(private.data_dir());
                }
                if let Some(replica) = replica {
                    app = app.with_replica(database.options.clone(), replica, config);
                }
                app.serve(listener, certificate, admin_listener, config).await
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        database.close().await?;
        result
    }

    /// Brings schema and demo data up to date.
    async fn prepare(&self, database: &Database, demo: bool) -> anyhow::Result<Prepared> {
        let start = &self.config.start;
        database.wait(start.wait_for_database).await?;
        let pooling = database.check().await?;
        database.check_durability(start.allow_data_loss).await?;
        database.ensure_current(start.migrate).await?;
        let layout = database.layout().await?;
        let replica = self.config.replica.connect_options()?;
        let has_replica = replica.is_some();
        if let Some(replica) = replica {
            replica::check_if_reachable(database, replica).await?;
        }
        let max_connections =
            database.pool_size(pooling, self.config.pool.max_connections, has_replica).await?;
        if demo {
            let pool = database.pool(1);
            demo::set_up(&pool).await?;
            pool.close().await;
        }
        Ok(Prepared { max_connections, layout })
    }
}

async fn listen(address: &ListenAddress, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address.host.as_str(), address.port))
        .await
        .with_context(|| format!("cannot listen on {address}; {flag} chooses another address"))
}

/// The certificate and its key, if HTTPS is on: read now, and again at each SIGHUP. Without HTTPS that signal is handled too, as it
/// would end the process.
fn certificate(tls: &Tls) -> anyhow::Result<Option<Certificate>> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let (current, certificate) = tls.load()?.map(watch::channel).unzip();
    let tls = tls.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            match (&current, tls.load()) {
                (Some(current), Ok(Some(renewed))) => {
                    current.send_replace(renewed);
                    tracing::info!("the TLS certificate was read again");
                }
                (_, Err(error)) => tracing::error!(%error, "the TLS certificate stays as it was"),
                _ => tracing::info!(
                    "SIGHUP: there is nothing to read again, as this server has no TLS certificate"
                ),
            }
        }
    });
    Ok(certificate)
}

/// Prints where the server listens and what to do next. A closed stdout does not stop the server.
fn announce(url: &str, admin: Option<SocketAddr>, database: &Database, demo: bool, only_local: bool) {
    let mut text = format!("customer-match {} listens on {url}\n", env!("CARGO_PKG_VERSION"));
    if let Some(admin) = admin {
        text += &format!("probes and metrics are on http://{admin}: /livez, /readyz, /metrics\n");
    }
    if let Some(private) = &database.private {
        text += &format!("private Postgres in {}\n", private.data_dir().display());
        if !demo {
            text += "the sample key is rejected; `customer-match organisation create` and `key create` make keys\n";
        }
    }
    if demo && !only_local {
        tracing::warn!(
            "demo mode: every machine that reaches {url} may use the publicly known sample key; --no-demo rejects it"
        );
        text += "\nDEMO MODE, AND OTHERS CAN REACH THIS SERVER: the publicly known sample key opens it. --no-demo rejects that key.\n";
    }
    if demo {
        text += &format!(
            "\ndemo mode: the documented call works as printed. Paste it:\n\n{}\n",
            demo::curl(url, ApiKey::SAMPLE)
        );
    }
    let _ = stdout().write_all(text.as_bytes());
}
