//! What happens before the server serves.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::timeouts;

/// Longer than a Postgres that was started at the same moment needs, and one that recovers from a crash as a rule.
const WAIT_FOR_DATABASE: &str = "30s";

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Start {
    /// Accept the documentation's sample key, for an organisation of its own. [default: true on the private Postgres]
    #[arg(long, value_name = "BOOL", env = "CUSTOMER_MATCH_DEMO", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    demo: Option<bool>,
    /// Refuse the sample key, as every server with a database URL does. Wins over --demo.
    #[arg(long, env = "CUSTOMER_MATCH_NO_DEMO", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    no_demo: bool,
    /// Apply pending migrations first; safe on many machines at once.
    #[arg(long, env = "CUSTOMER_MATCH_MIGRATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub migrate: bool,
    /// How long to wait for a database that cannot be reached yet; 0s does not wait.
    #[arg(long, value_name = "TIME", default_value = WAIT_FOR_DATABASE, value_parser = timeouts::startup_wait,
          env = "CUSTOMER_MATCH_WAIT_FOR_DATABASE")]
    pub wait_for_database: Duration,
}

impl Start {
    /// Whether the documentation's sample key is accepted on a Postgres that is private or not.
    pub fn demo(&self, private: bool) -> bool {
        !self.no_demo && self.demo.unwrap_or(private)
    }
}
