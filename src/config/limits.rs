//! How much of the server clients may take at the same time.

use clap::Args;

use super::{ConfigError, require};

/// Some 30 KB each while idle: 300 MB.
const CONNECTIONS: u32 = 10_000;
/// A tenth of all; far more than a browser, an office behind one address or a pool of a back end opens.
const CONNECTIONS_PER_CLIENT_IP: u32 = 1_000;
/// Sixty for each connection to the database; more would only wait longer.
const REQUESTS: u32 = 1_024;

/// See the fields.
#[derive(Args, Debug, Clone, Copy)]
pub struct Limits {
    /// Connections of clients; one more is closed at once.
    #[arg(id = "max-connections", long, value_name = "N", default_value_t = CONNECTIONS,
          env = "CUSTOMER_MATCH_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Connections from one client address (of IPv6: from one /64), trusted proxies excepted; one more is closed at once.
    /// [default: 1000, or all there may be]
    #[arg(id = "max-connections-per-client-ip", long, value_name = "N",
          env = "CUSTOMER_MATCH_MAX_CONNECTIONS_PER_CLIENT_IP", value_parser = clap::value_parser!(u32).range(1..))]
    connections_per_client_ip: Option<u32>,
    /// Requests that are worked on at the same time, once all of them has been received; one more is answered 503.
    #[arg(id = "max-concurrent-requests", long, value_name = "N", default_value_t = REQUESTS,
          env = "CUSTOMER_MATCH_MAX_CONCURRENT_REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
}

impl Limits {
    /// Connections from one client address.
    pub fn connections_per_client_ip(&self) -> u32 {
        self.connections_per_client_ip.unwrap_or(CONNECTIONS_PER_CLIENT_IP.min(self.connections))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let [all, of_one] = [self.connections, self.connections_per_client_ip()];
        require(of_one <= all, || {
            format!(
                "--max-connections-per-client-ip ({of_one}) must not be more than --max-connections ({all})"
            )
        })
    }
}
