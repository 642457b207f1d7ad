//! What the log has of a request.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Log and measurements")]
pub struct AccessLog {
    /// Log no client IP addresses, and store none with the last use of a key: they are personal data in many countries
    #[arg(long, env = "CUSTOMER_MATCH_NO_LOG_CLIENT_IP", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    no_log_client_ip: bool,
}

impl AccessLog {
    pub fn client_ip(self) -> bool {
        !self.no_log_client_ip
    }
}
