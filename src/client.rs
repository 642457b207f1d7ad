//! The client of a connection, and what counts as one client in limits.

use std::net::{IpAddr, Ipv6Addr};

/// The other end of a connection; an extension of each of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// Whether the connection is HTTPS.
    pub(crate) tls: bool,
}

/// Reduces an IPv6 address to its /64, because an ISP assigns at least that much to one subscriber.
pub(crate) fn client_network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}
