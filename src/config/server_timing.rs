//! Whether answers tell where their time went.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Log and measurements")]
pub struct ServerTiming {
    /// Send the header Server-Timing, for developers: clients learn how busy the server and its database are
    #[arg(id = "server-timing", long = "server-timing", env = "CUSTOMER_MATCH_SERVER_TIMING", action = ArgAction::SetTrue,
          value_parser = BoolishValueParser::new())]
    pub enabled: bool,
}
