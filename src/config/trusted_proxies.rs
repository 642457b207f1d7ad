//! Whose word is taken for where a request comes from.

use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;

/// See the fields. None is trusted unless told so.
#[derive(Args, Debug, Clone)]
pub struct TrustedProxies {
    /// Address or network, such as 10.0.0.0/8, of proxies whose header X-Forwarded-For is believed; repeat it for more.
    #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "CUSTOMER_MATCH_TRUSTED_PROXIES")]
    trusted: Vec<Networks>,
}

impl TrustedProxies {
    /// Whether this is the address of one.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.trusted.iter().flat_map(|Networks(networks)| networks).any(|network| network.contains(&address))
    }
}

/// Networks between commas, as a variable has them.
#[derive(Debug, Clone)]
struct Networks(Vec<IpNet>);

impl FromStr for Networks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = |text: &str| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or_else(|_| address())
                .map_err(|_| "must be an address or a network such as 10.0.0.0/8")
        };
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
