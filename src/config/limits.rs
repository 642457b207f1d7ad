//! Limits of concurrency: connections and requests in flight.

use clap::Args;

use super::{ConfigError, require};

/// An idle connection takes about 30 KB: 300 MB in all.
const CONNECTIONS: u32 = 10_000;
/// A tenth of all, and far more than a browser, an office behind one IP address or a back end's pool opens.
const CONNECTIONS_PER_CLIENT_IP: u32 = 1_000;
/// More than all probes and scrapers of a server open.
const ADMIN_CONNECTIONS: u32 = 64;
/// About sixty for each database connection of an organisation's part of the pool, which gets half of both: more would only wait
/// longer.
const REQUESTS: u32 = 2_048;

#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Most client connections; further ones are closed at once
    #[arg(id = "max-connections", long, value_name = "N", default_value_t = CONNECTIONS,
          env = "CUSTOMER_MATCH_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Most connections from one client IP address (IPv6: from one /64), except trusted proxies; further ones are closed at
    /// once [default: 1000, or --max-connections if that is less]
    #[arg(id = "max-connections-per-client-ip", long, value_name = "N",
          env = "CUSTOMER_MATCH_MAX_CONNECTIONS_PER_CLIENT_IP", value_parser = clap::value_parser!(u32).range(1..))]
    connections_per_client_ip: Option<u32>,
    /// Most requests in flight, from the end of their body to the end of their response, of which one organisation gets half at
    /// most; further ones are answered 503
    #[arg(id = "max-concurrent-requests", long, value_name = "N", default_value_t = REQUESTS,
          env = "CUSTOMER_MATCH_MAX_CONCURRENT_REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub requests: u32,
}

impl Limits {
    /// Those of the admin listener: few, and no part of what clients may take.
    pub fn of_admin_listener(self) -> Self {
        Self { connections: ADMIN_CONNECTIONS, connections_per_client_ip: Some(ADMIN_CONNECTIONS), ..self }
    }

    pub fn connections_per_client_ip(&self) -> u32 {
        self.connections_per_client_ip.unwrap_or(CONNECTIONS_PER_CLIENT_IP.min(self.connections))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let [total, per_client_ip] = [self.connections, self.connections_per_client_ip()];
        require(per_client_ip <= total, || {
            format!(
                "--max-connections-per-client-ip ({per_client_ip}) must not be more than --max-connections ({total})"
            )
        })
    }
}
