//! `customer-match serve`

use std::io::{Write, stdout};
use std::net::SocketAddr;

use anyhow::{Context, bail};
use clap::{ArgAction, Args};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::database::{Database, DatabaseArgs};
use crate::demo;
use crate::http::{self, App, server};

/// Where the server listens unless told otherwise: this machine only.
pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Serve the API (what happens without a subcommand).
#[derive(Args)]
pub(super) struct Serve {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "CUSTOMER_MATCH_LISTEN")]
    listen: SocketAddr,
    /// Accept the documentation's sample key, for an organisation of its own; the default on a private Postgres.
    #[arg(long, env = "CUSTOMER_MATCH_DEMO", action = ArgAction::SetTrue, overrides_with = "no_demo")]
    demo: bool,
    /// Refuse the sample key, as every server with a database URL does.
    #[arg(long, env = "CUSTOMER_MATCH_NO_DEMO", action = ArgAction::SetTrue, overrides_with = "demo")]
    no_demo: bool,
    /// Apply pending migrations first; safe on many machines at once.
    #[arg(long, env = "CUSTOMER_MATCH_MIGRATE", action = ArgAction::SetTrue)]
    migrate: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Before the database is started: a signal meanwhile must not leave it behind.
        let shutdown = shutdown_on_signal()?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}; --listen chooses another address", self.listen))?;
        let database = self.database.open_for_serving().await?;
        let result = self.serve(listener, &database, shutdown).await;
        database.close().await?;
        result
    }

    async fn serve(
        &self,
        listener: TcpListener,
        database: &Database,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        if self.demo && database.private.is_none() {
            bail!(
                "--demo is for the private Postgres: it would register a key that everybody knows in your database"
            );
        }
        let demo = database.private.is_some() && !self.no_demo;
        database.ensure_current(self.migrate).await?;
        let pool = database.pool();
        if demo {
            demo::set_up(&pool).await.context("the demo data could not be written")?;
        }
        let address = listener.local_addr()?;
        announce(address, database, demo);
        server::serve(listener, http::router(App::new(pool.clone(), demo, shutdown.clone())), shutdown).await;
        pool.close().await;
        Ok(())
    }
}

/// Cancelled by SIGTERM or Ctrl-C.
fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        signalled.cancel();
    });
    Ok(shutdown)
}

/// Tells whoever started the server where it is and what to do next. A closed stdout is no reason not to serve.
fn announce(address: SocketAddr, database: &Database, demo: bool) {
    let mut text = format!("customer-match {} listens on http://{address}\n", env!("CARGO_PKG_VERSION"));
    if let Some(private) = &database.private {
        text += &format!("private Postgres in {}\n", private.data_dir().display());
    }
    if demo {
        text += &format!(
            "\ndemo mode: the documented call works as printed. Paste it:\n\n{}\n",
            demo::curl(address)
        );
    }
    let _ = stdout().write_all(text.as_bytes());
}
