use std::net::IpAddr;

/// The other end of the connection, an extension of every request that came over one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether it is one of HTTPS.
    pub(crate) tls: bool,
}
