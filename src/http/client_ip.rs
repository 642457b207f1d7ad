//! The client IP of a request: the peer of its connection, or the one that a trusted proxy names.

use std::net::IpAddr;

use axum::http::request::Parts;

use crate::client::Peer;
use crate::config::TrustedProxies;
use crate::domain::HostIp;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The nearest IP that is no trusted proxy; `None` for a request without a connection.
///
/// Each proxy appends the IP that called it, so the list is read from its end. What stands left of the first IP that is
/// not trusted may be invented by the client and is not read.
pub(crate) fn client_ip(parts: &Parts, proxies: &TrustedProxies) -> Option<IpAddr> {
    let peer: &Peer = parts.extensions.get()?;
    let mut ip = peer.ip.to_canonical();
    let lists = parts.headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut hops =
        lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(',')).map(str::parse::<HostIp>);
    while proxies.contain(ip) {
        match hops.next() {
            Some(Ok(hop)) => ip = hop.get(),
            // This proxy did not say what called it, or not with an IP.
            _ => break,
        }
    }
    Some(ip)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use clap::{Command, FromArgMatches};
    use rstest::rstest;

    use super::*;

    fn proxies(networks: &str) -> TrustedProxies {
        let command = <TrustedProxies as clap::Args>::augment_args(Command::new("test"));
        let matches = command.get_matches_from(["test", "--trusted-proxy", networks]);
        TrustedProxies::from_arg_matches(&matches).unwrap()
    }

    #[rstest]
    #[case::direct("203.0.113.9", &[], "203.0.113.9")]
    #[case::no_proxy("203.0.113.9", &["198.51.100.1"], "203.0.113.9")]
    #[case::proxied("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case::invented("10.0.0.1", &["192.0.2.66, 198.51.100.1"], "198.51.100.1")]
    #[case::two_proxies("10.0.0.1", &["192.0.2.66, 198.51.100.1, 10.0.0.2"], "198.51.100.1")]
    #[case::two_headers("10.0.0.1", &["192.0.2.66, 198.51.100.1", "10.0.0.2"], "198.51.100.1")]
    #[case::two_headers_reversed("10.0.0.1", &["10.0.0.2", "198.51.100.1"], "198.51.100.1")]
    #[case::our_own("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3")]
    #[case::says_nothing("10.0.0.1", &[], "10.0.0.1")]
    #[case::says_nonsense("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1")]
    #[case::empty("10.0.0.1", &[""], "10.0.0.1")]
    #[case::with_port("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1")]
    #[case::version_6("2001:db8::1", &["2001:db8:1::2"], "2001:db8:1::2")]
    #[case::version_6_in_brackets("2001:db8::1", &["[2001:db8:1::2]"], "2001:db8:1::2")]
    #[case::version_6_with_port("2001:db8::1", &["[2001:db8:1::2]:80"], "2001:db8:1::2")]
    #[case::mapped_proxy("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1")]
    fn names(#[case] peer: &str, #[case] headers: &[&str], #[case] expected: &str) {
        let mut request = Request::get("/").extension(Peer { ip: peer.parse().unwrap(), tls: false });
        for header in headers {
            request = request.header(X_FORWARDED_FOR, *header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let ip = client_ip(&parts, &proxies("10.0.0.0/8, 2001:db8::1"));
        assert_eq!(ip, Some(expected.parse().unwrap()));
    }

    #[test]
    fn is_unknown_without_a_connection() {
        let (parts, ()) =
            Request::get("/").header(X_FORWARDED_FOR, "10.0.0.1").body(()).unwrap().into_parts();
        assert_eq!(client_ip(&parts, &proxies("10.0.0.0/8")), None);
        assert!(!proxies("").contain("10.0.0.1".parse().unwrap()));
    }
}
