//! The other end of a connection.

use std::net::IpAddr;

/// An extension of each request of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// Whether the connection is HTTPS.
    pub(crate) tls: bool,
}
