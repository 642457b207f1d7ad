//! `customer-match serve`

use std::io::{Write, stdout};
use std::net::SocketAddr;

use anyhow::{Context, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::database::{Database, DatabaseArgs};
use crate::demo;
use crate::http::{self, App, server};

/// Where the server listens unless told otherwise: this machine only.
pub(super) const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// As a shell reports a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Serve the API (what happens without a subcommand).
#[derive(Args)]
pub(super) struct Serve {
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN, env = "CUSTOMER_MATCH_LISTEN")]
    listen: SocketAddr,
    /// Accept the documentation's sample key, for an organisation of its own. [default: true on the private Postgres]
    #[arg(long, value_name = "BOOL", env = "CUSTOMER_MATCH_DEMO", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = FalseyValueParser::new())]
    demo: Option<bool>,
    /// Refuse the sample key, as every server with a database URL does. Wins over --demo.
    #[arg(long, env = "CUSTOMER_MATCH_NO_DEMO", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    no_demo: bool,
    /// Apply pending migrations first; safe on many machines at once.
    #[arg(long, env = "CUSTOMER_MATCH_MIGRATE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    migrate: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let shutdown = shutdown_on_signal()?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot listen on {}; --listen chooses another address", self.listen))?;
        // A signal ends the start too, at whatever it waits for.
        let opened = shutdown.run_until_cancelled(self.database.open_for_serving()).await;
        let Some(database) = opened.transpose()? else { return Ok(()) };
        let result = match shutdown.run_until_cancelled(self.prepare(&database)).await {
            Some(Ok((pool, demo))) => {
                announce(listener.local_addr()?, &database, demo);
                let app = App::new(pool.clone(), demo, shutdown.clone());
                server::serve(listener, http::router(app), shutdown).await;
                pool.close().await;
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        database.close().await?;
        result
    }

    /// Brings schema and demo data up to date, and says whether the server is in demo mode.
    async fn prepare(&self, database: &Database) -> anyhow::Result<(PgPool, bool)> {
        let private = database.private.is_some();
        let demo = !self.no_demo && self.demo.unwrap_or(private);
        if demo && !private {
            bail!(
                "--demo is for the private Postgres: it would register a key that everybody knows in your database"
            );
        }
        database.ensure_current(self.migrate).await?;
        let pool = database.pool();
        if demo {
            demo::set_up(&pool).await?;
        }
        Ok((pool, demo))
    }
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
