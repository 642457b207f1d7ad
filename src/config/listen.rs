//! Where the server listens.

use std::fmt;
use std::str::FromStr;

use clap::Args;

/// Where the server listens unless told otherwise: this machine only.
const ADDRESS: &str = "127.0.0.1:8080";

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Listen {
    /// ListenAddress or host name, and port; port 0 takes a free one.
    #[arg(long = "listen", value_name = "ADDRESS", default_value = ADDRESS, env = "CUSTOMER_MATCH_LISTEN")]
    pub address: ListenAddress,
}

/// A host, by name or number, and a port. Names are looked up when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Without the brackets that an IPv6 address has before a port.
    pub host: String,
    /// 0 for a free one.
    pub port: u16,
}

impl ListenAddress {
    /// Whether listeners on both would be on the same port of the same host.
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
            Some(number) => number.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?.to_string(),
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
    fn refuses(#[case] text: &str) {
        assert!(text.parse::<ListenAddress>().is_err());
    }
}
