//! The listener for Prometheus.

use clap::Args;

use super::ListenAddress;

#[derive(Args, Debug, Clone)]
pub struct Metrics {
    /// Listen address of /metrics, for Prometheus [default: none]
    #[arg(id = "metrics-listen", long, value_name = "ADDRESS", env = "CUSTOMER_MATCH_METRICS_LISTEN")]
    pub address: Option<ListenAddress>,
}
