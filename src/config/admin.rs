//! The listener for operators: probes and Prometheus.

use clap::Args;

use super::ListenAddress;

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
pub struct Admin {
    /// Listen address of /livez, /readyz and /metrics, apart from the clients' connections and their limits [default: none]
    #[arg(id = "admin-listen", long, value_name = "ADDRESS", env = "CUSTOMER_MATCH_ADMIN_LISTEN")]
    pub address: Option<ListenAddress>,
}
