//! A TCP relay between clients and a server, so that the server has one address, and connections can be cut.

use std::io;
use std::net::SocketAddr;

use rand::RngExt;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, yield_now};

/// Connections that the kernel accepts before the relay does.
const BACKLOG: u32 = 128;

/// Dropped, it accepts no more connections.
pub struct ClientRelay {
    pub address: SocketAddr,
    /// `None` while the server does not run.
    server: watch::Sender<Option<SocketAddr>>,
    /// Counts the cuts, with the fraction of connections that each ends.
    cuts: watch::Sender<f64>,
    accepting: AbortHandle,
}

impl ClientRelay {
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let (server, cuts) = (watch::Sender::new(Some(server)), watch::Sender::new(0.0));
        let accepting = tokio::spawn(accept(listener, address, server.subscribe(), cuts.clone()));
        Ok(Self { address, server, cuts, accepting: accepting.abort_handle() })
    }

    /// Closes the listener, as a process that ends does.
    pub fn server_down(&self) {
        self.server.send_replace(None);
    }

    /// Returns when the listener is open again.
    pub async fn server_up(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
        while TcpStream::connect(self.address).await.is_err() {
            yield_now().await;
        }
    }

    /// Closes each connection with this probability.
    pub fn cut(&self, fraction: f64) {
        self.cuts.send_replace(fraction);
    }
}

impl Drop for ClientRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port is taken again while connections of before are still closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    mut server: watch::Receiver<Option<SocketAddr>>,
    cuts: watch::Sender<f64>,
) -> anyhow::Result<()> {
    let mut listener = Some(listener);
    loop {
        let Some(target) = *server.borrow_and_update() else {
            listener = None;
            server.changed().await?;
            continue;
        };
        let accepting = match listener.take() {
            Some(listener) => listener,
            None => listen(address)?,
        };
        tokio::select! {
            accepted = accepting.accept() => {
                // The ends see what becomes of it.
                tokio::spawn(carry(accepted?.0, target, cuts.subscribe()));
            }
            changed = server.changed() => changed?,
        }
        listener = Some(accepting);
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut cuts: watch::Receiver<f64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let cut = async {
        while cuts.changed().await.is_ok() {
            let fraction = *cuts.borrow_and_update();
            if rand::rng().random_bool(fraction) {
                return;
            }
        }
    };
    let relay = async {
        let mut server = TcpStream::connect(server).await?;
        server.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut server).await.map(|_| ())
    };
    tokio::select! {
        () = cut => Ok(()),
        result = relay => result,
    }
}
