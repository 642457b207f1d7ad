//! The IP address of a host, in the notations of proxies.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Serialize;

/// Read from an IP address with or without a port, one of version 6 also in brackets. A version 4 address that is mapped
/// into version 6 is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostIp(IpAddr);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address, of version 4 or 6")]
pub struct HostIpError;

impl HostIp {
    pub fn get(self) -> IpAddr {
        self.0
    }
}

impl FromStr for HostIp {
    type Err = HostIpError;

    fn from_str(text: &str) -> Result<Self, HostIpError> {
        let text = text.trim();
        let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
        let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        let ip: IpAddr = text.parse().ok().or_else(with_port).or_else(in_brackets).ok_or(HostIpError)?;
        Ok(Self(ip.to_canonical()))
    }
}

impl fmt::Display for HostIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::version_4(" 192.0.2.7 ", "192.0.2.7")]
    #[case::version_4_with_port("192.0.2.7:54321", "192.0.2.7")]
    #[case::version_6("2001:DB8::7", "2001:db8::7")]
    #[case::version_6_in_brackets("[2001:db8::7]", "2001:db8::7")]
    #[case::version_6_with_port("[2001:db8::7]:443", "2001:db8::7")]
    #[case::mapped("::ffff:192.0.2.7", "192.0.2.7")]
    #[case::mapped_with_port("[::ffff:192.0.2.7]:80", "192.0.2.7")]
    fn reads(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(text.parse::<HostIp>().unwrap().to_string(), expected);
    }

    #[rstest]
    #[case::empty("")]
    #[case::three_numbers("10.0.1")]
    #[case::network("10.0.0.0/8")]
    #[case::zone("fe80::1%eth0")]
    #[case::list("10.0.0.1, 10.0.0.2")]
    #[case::name("localhost")]
    #[case::open_bracket("[::1")]
    #[case::version_4_in_brackets_and_more("[10.0.0.1]x")]
    #[case::port_out_of_range("10.0.0.1:65536")]
    #[case::no_port("10.0.0.1:")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<HostIp>(), Err(HostIpError));
    }
}
