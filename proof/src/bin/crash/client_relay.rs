//! A way to the server, or from it to Postgres, on which connections are cut.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Between two looks whether a server is there again.
const PAUSE: Duration = Duration::from_millis(5);

/// Where a connection leads.
#[derive(Clone)]
pub enum Target {
    /// To a server; while it is away, the connection waits for it.
    Server(watch::Receiver<SocketAddr>),
    /// To a Postgres; while it is away, the connection is closed at once.
    Postgres(watch::Receiver<PathBuf>),
}

/// Dropped, it takes no more connections.
pub struct Proxy {
    pub address: SocketAddr,
    /// Counts the cuts, with the share of connections that each ends.
    cuts: watch::Sender<f64>,
    accepting: AbortHandle,
}

impl Proxy {
    pub async fn before(target: Target) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(0.0);
        let watched = cuts.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // What becomes of a connection is seen at its ends.
                tokio::spawn(carry(client, target.clone(), watched.subscribe()));
            }
        });
        Ok(Self { address, cuts, accepting: accepting.abort_handle() })
    }

    /// Closes each connection with this probability, whatever is on its way.
    pub fn cut(&self, share: f64) {
        self.cuts.send_replace(share);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, target: Target, mut cuts: watch::Receiver<f64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let cut = async {
        while cuts.changed().await.is_ok() {
            let share = *cuts.borrow_and_update();
            if rand::rng().random_bool(share) {
                return;
            }
        }
    };
    let through = async {
        match target {
            Target::Postgres(socket) => {
                let socket = socket.borrow().clone();
                pass(client, UnixStream::connect(socket).await?).await
            }
            Target::Server(address) => {
                let server = loop {
                    let address = *address.borrow();
                    match TcpStream::connect(address).await {
                        Ok(server) => break server,
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                };
                server.set_nodelay(true)?;
                pass(client, server).await
            }
        }
    };
    tokio::select! {
        () = cut => Ok(()),
        result = through => result,
    }
}

/// Both ways, until one of the two ends.
async fn pass(mut client: TcpStream, mut server: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
