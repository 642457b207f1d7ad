//! Where the server is measured.

use clap::Args;

use super::ListenAddress;

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Metrics {
    /// ListenAddress or host name, and port, where Prometheus reads /metrics. Nothing is served there unless given.
    #[arg(id = "metrics-listen", long, value_name = "ADDRESS", env = "CUSTOMER_MATCH_METRICS_LISTEN")]
    pub address: Option<ListenAddress>,
}
