//! Listen addresses.

use std::fmt;
use std::str::FromStr;

use clap::Args;

/// Reachable from this machine only, as it serves without TLS by default.
const DEFAULT_LISTEN_ADDRESS: &str = "127.0.0.1:8080";

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
pub struct Listen {
    /// Listen address: IP address or host name, and port; port 0 chooses a free one
    #[arg(long = "listen", value_name = "ADDRESS", default_value = DEFAULT_LISTEN_ADDRESS, env = "CUSTOMER_MATCH_LISTEN")]
    pub address: ListenAddress,
}

/// A host, by name or IP address, and a port. A name is resolved when the listener is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// An IPv6 address is without brackets.
    pub host: String,
    /// 0: a free one.
    pub port: u16,
}

impl ListenAddress {
    /// Whether two listeners cannot use both.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        self.port != 0 && self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or localhost:8080";
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?.to_string(),
            None if host.contains([':', '[', ']', '/', '@']) || host.trim() != host || host.is_empty() => {
                return Err(FORM);
            }
            None => host.to_owned(),
        };
        Ok(Self { host, port: port.parse().map_err(|_| FORM)? })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.1:8080")]
    #[case("[::1]:0")]
    #[case("localhost:65535")]
    #[case("db-1.example:80")]
    fn accepts(#[case] text: &str) {
        assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
    }

    #[rstest]
    #[case("")]
    #[case("8080")]
    #[case(":8080")]
    #[case("localhost")]
    #[case("localhost:65536")]
    #[case("::1:8080")]
    #[case("[localhost]:80")]
    #[case("http://localhost:80")]
    fn rejects(#[case] text: &str) {
        assert!(text.parse::<ListenAddress>().is_err());
    }
}
