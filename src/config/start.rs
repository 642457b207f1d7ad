//! The steps before the server serves: migrations, demo data, waiting for the database.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::timeouts;

/// Longer than a Postgres needs that starts at the same time, or usually for crash recovery.
const WAIT_FOR_DATABASE: &str = "30s";

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Start")]
pub struct Start {
    /// Accept the sample key of the documentation, for an organisation of its own [default: true on the private Postgres while
    /// only this machine reaches the server]
    #[arg(long, value_name = "BOOL", env = "CUSTOMER_MATCH_DEMO", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    demo: Option<bool>,
    /// Reject the sample key, as a server with a database URL always does; takes precedence over --demo
    #[arg(long, env = "CUSTOMER_MATCH_NO_DEMO", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    no_demo: bool,
    /// Apply pending migrations first; safe on several machines at once
    #[arg(long, env = "CUSTOMER_MATCH_MIGRATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub migrate: bool,
    /// Serve on a Postgres with fsync off, which loses acknowledged writes when its machine crashes: for tests
    #[arg(long, env = "CUSTOMER_MATCH_ALLOW_DATA_LOSS", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    pub allow_data_loss: bool,
    /// How long to wait for an unavailable database; 0s does not wait
    #[arg(long, value_name = "TIME", default_value = WAIT_FOR_DATABASE, value_parser = timeouts::startup_wait,
          env = "CUSTOMER_MATCH_WAIT_FOR_DATABASE")]
    pub wait_for_database: Duration,
}

impl Start {
    /// Whether the sample key is accepted. By default only on the private Postgres and where no other machine reaches the server,
    /// because everyone knows that key.
    pub fn demo(&self, private: bool, only_local: bool) -> bool {
        !self.no_demo && self.demo.unwrap_or(private && only_local)
    }
}
