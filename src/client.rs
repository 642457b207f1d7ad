//! The client of a connection, what counts as one client in limits, and what it holds until its answer has been sent.

use std::any::Any;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

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

/// Permits and such, released when the last byte of the response has been written to the socket; an extension of responses.
#[derive(Clone)]
pub(crate) struct HeldUntilSent(
    #[expect(dead_code, reason = "only dropped")] pub(crate) Arc<dyn Any + Send + Sync>,
);
