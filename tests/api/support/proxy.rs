//! A way to the database that fails on command.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, watch};

/// What becomes of a connection, new or old.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// All goes through.
    Pass,
    /// It is closed.
    Refuse,
    /// Nothing goes through, and nobody is told.
    Swallow,
    /// As `Pass`, but once: when the database has committed the statement of a segment with [`HELD`] in it, its answer is lost and
    /// the connection with it. Afterwards everything passes, or is refused.
    CutAnswer { then_refuse: bool },
    /// Every connection is somebody else's: those there are closed, new ones are refused with 53300 as Postgres does.
    Full,
    /// As `Pass`, but once: the first segment with [`HELD`] in it is held back until [`Proxy::release`], and delivered then, also
    /// when the server has closed the connection. Afterwards everything else passes, or is swallowed.
    Hold { then_swallow: bool },
}

/// What a segment that is held back, or whose answer is lost, contains in any case: the reference of a customer, say.
pub const HELD: &str = "heldBackCustomer";

/// A Unix socket before that of the database.
pub struct Proxy {
    folder: TempDir,
    port: u16,
    /// Of the connections from now on.
    target: Arc<Mutex<PgConnectOptions>>,
    /// Of the connections from now on; those before have kept theirs.
    mode: Arc<Mutex<watch::Sender<Mode>>>,
    abandoned: Mutex<Vec<watch::Sender<Mode>>>,
    held: Arc<Held>,
}

/// The segment that is held back.
#[derive(Default)]
struct Held {
    released: Notify,
    delivered: Notify,
}

impl Proxy {
    pub fn before(target: PgConnectOptions) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(socket(folder.path(), target.get_port())).unwrap();
        let port = target.get_port();
        let target = Arc::new(Mutex::new(target));
        let mode = Arc::new(Mutex::new(watch::Sender::new(Mode::Pass)));
        let proxy = Self {
            folder,
            port,
            target: Arc::clone(&target),
            mode: Arc::clone(&mode),
            abandoned: Mutex::default(),
            held: Arc::default(),
        };
        let held = Arc::clone(&proxy.held);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, mode) = (target.lock().unwrap().clone(), mode.lock().unwrap().clone());
                tokio::spawn(carry(client, target, mode, Arc::clone(&held)));
            }
        });
        proxy
    }

    /// How to reach the target this way.
    pub fn options(&self, target: PgConnectOptions) -> PgConnectOptions {
        // Without TLS a connection begins with the words in `carry`, and every answer has a length.
        target.port(self.port).socket(self.folder.path()).ssl_mode(PgSslMode::Disable)
    }

    pub fn set(&self, mode: Mode) {
        self.mode.lock().unwrap().send_replace(mode);
    }

    /// Delivers the segment that is held back, and comes back when the database has closed its connection: it has done with it.
    pub async fn release(&self) {
        self.held.released.notify_one();
        self.held.delivered.notified().await;
    }

    /// The address leads to another server from now on.
    pub fn lead_to(&self, target: PgConnectOptions) {
        *self.target.lock().unwrap() = target;
    }

    /// The address leads to another machine from now on, and the old one does not even close its connections.
    pub fn fail_over(&self) {
        let old = std::mem::replace(&mut *self.mode.lock().unwrap(), watch::Sender::new(Mode::Pass));
        old.send_replace(Mode::Swallow);
        self.abandoned.lock().unwrap().push(old);
    }
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(target: &PgConnectOptions) -> io::Result<Box<dyn Stream>> {
    Ok(match target.get_socket() {
        Some(folder) => Box::new(UnixStream::connect(socket(folder, target.get_port())).await?),
        None => Box::new(TcpStream::connect((target.get_host(), target.get_port())).await?),
    })
}

async fn carry(
    mut client: UnixStream,
    target: PgConnectOptions,
    mode: watch::Sender<Mode>,
    held: Arc<Held>,
) -> io::Result<()> {
    let mut start = vec![0; 4096];
    let length = client.read(&mut start).await?;
    start.truncate(length);
    let now = *mode.borrow();
    if now == Mode::Full {
        let fields = b"SFATAL\0C53300\0Msorry, too many clients already\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        return client.write_all(&[&b"E"[..], &length, fields].concat()).await;
    }
    let mut server = connect(&target).await?;
    let cut = AtomicBool::new(false);
    let mut watched = mode.subscribe();
    let closed = watched.wait_for(|mode| matches!(mode, Mode::Refuse | Mode::Full));
    if now != Mode::Swallow {
        server.write_all(&start).await?;
    }
    let (from_client, to_client) = split(client);
    let (mut from_server, to_server) = split(server);
    // Whichever ends first closes both sides.
    let held_back = tokio::select! {
        _ = closed => return Ok(()),
        result = to_the_server(from_client, to_server, &mode, &cut) => result?,
        result = to_the_client(&mut from_server, to_client, &mode, &cut) => return result,
    };
    if let Some((segment, mut to_server)) = held_back {
        held.released.notified().await;
        to_server.write_all(&segment).await?;
        to_server.shutdown().await?;
        // The server sends what it has to say and closes.
        tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await?;
        held.delivered.notify_one();
    }
    Ok(())
}

/// Returns a segment that is to be held back, with the way to deliver it.
async fn to_the_server<W: AsyncWrite + Unpin>(
    mut from: impl AsyncRead + Unpin,
    mut to: W,
    mode: &watch::Sender<Mode>,
    cut: &AtomicBool,
) -> io::Result<Option<(Vec<u8>, W)>> {
    let mut buffer = vec![0; 65536];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(None);
        }
        let segment = &buffer[..length];
        let now = *mode.borrow();
        if let Mode::Hold { then_swallow } = now
            && is_held(segment)
        {
            mode.send_replace(if then_swallow { Mode::Swallow } else { Mode::Pass });
            return Ok(Some((segment.to_vec(), to)));
        }
        if matches!(now, Mode::CutAnswer { .. }) && is_held(segment) {
            cut.store(true, Ordering::Relaxed);
        }
        if now != Mode::Swallow {
            to.write_all(segment).await?;
        }
    }
}

fn is_held(segment: &[u8]) -> bool {
    segment.windows(HELD.len()).any(|words| words.eq_ignore_ascii_case(HELD.as_bytes()))
}

/// Message by message.
async fn to_the_client(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mode: &watch::Sender<Mode>,
    cut: &AtomicBool,
) -> io::Result<()> {
    loop {
        let mut message = message(&mut from).await?;
        let now = *mode.borrow();
        match now {
            Mode::Swallow => {}
            Mode::CutAnswer { then_refuse } if cut.load(Ordering::Relaxed) && message[0] == b'C' => {
                // A statement is complete; when the server is ready for the next one, it is committed too.
                while message[0] != b'Z' {
                    message = self::message(&mut from).await?;
                }
                mode.send_replace(if then_refuse { Mode::Refuse } else { Mode::Pass });
                return Ok(());
            }
            _ => to.write_all(&message).await?,
        }
    }
}

/// A message of Postgres: its type, its length without the type, and so on.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
    message.resize(1 + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut message[5..]).await?;
    Ok(message)
}
