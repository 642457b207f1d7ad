//! The proxies whose `X-Forwarded-For` names the client IP address.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
pub struct TrustedProxies {
    /// IP address or network of a proxy, such as 10.0.0.0/8, whose header X-Forwarded-For is trusted; repeat for more [default:
    /// none]
    #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "CUSTOMER_MATCH_TRUSTED_PROXIES")]
    trusted: Vec<Networks>,
}

impl TrustedProxies {
    pub fn is_empty(&self) -> bool {
        self.trusted.iter().all(|Networks(networks)| networks.is_empty())
    }

    pub fn contain(&self, ip: IpAddr) -> bool {
        self.trusted.iter().flat_map(|Networks(networks)| networks).any(|network| network.contains(&ip))
    }
}

/// Networks separated by commas, as in the environment variable.
#[derive(Debug, Clone)]
struct Networks(Vec<IpNet>);

impl FromStr for Networks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = |text: &str| {
            let ip = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or_else(|_| ip())
                .map_err(|_| "must be an IP address or a network such as 10.0.0.0/8")
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
