//! A TCP relay between a server and Postgres that does what networks do: it delays segments, loses answers and swallows
//! everything for a while.
//!
//! What it has received it delivers, in order, also when the sender has closed the connection meanwhile, as a kernel does. Each
//! direction of a connection is a queue: one half reads at once, the other delivers when it may.

mod frames;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::frames::{Frames, carries_write};

const SEGMENT: usize = 64 * 1024;
/// A write comes by then, if any does.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Dropped, it accepts no more connections.
pub struct DatabaseRelay {
    pub address: SocketAddr,
    control: Arc<Control>,
    accepting: AbortHandle,
}

/// What is to happen to connections.
struct Control {
    /// Of connections from now on.
    postgres: watch::Receiver<PathBuf>,
    /// Counts the cuts, with the fraction of connections that each ends.
    cuts: watch::Sender<f64>,
    /// False in a black hole.
    passes: watch::Sender<bool>,
    /// Segments to be held back: for how long, and how many have been.
    holds: Mutex<Vec<Duration>>,
    held: watch::Sender<usize>,
    /// Answers to be lost, and how many have been.
    losses: Mutex<usize>,
    lost: watch::Sender<usize>,
    /// Of connections from now on.
    connect_delay: Mutex<Duration>,
}

impl DatabaseRelay {
    pub async fn start(postgres: watch::Receiver<PathBuf>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            postgres,
            cuts: watch::Sender::new(0.0),
            passes: watch::Sender::new(true),
            holds: Mutex::default(),
            held: watch::Sender::new(0),
            losses: Mutex::default(),
            lost: watch::Sender::new(0),
            connect_delay: Mutex::default(),
        });
        let shared = Arc::clone(&control);
        let accepting = tokio::spawn(async move {
            while let Ok((server, _)) = listener.accept().await {
                // The ends see what becomes of it.
                tokio::spawn(carry(server, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, control, accepting: accepting.abort_handle() })
    }

    /// Closes each connection with this probability.
    pub fn cut(&self, fraction: f64) {
        self.control.cuts.send_replace(fraction);
    }

    /// Delivers nothing in either direction for so long, and closes nothing.
    pub async fn black_hole(&self, duration: Duration) {
        self.control.passes.send_replace(false);
        tokio::time::sleep(duration).await;
        self.control.passes.send_replace(true);
    }

    /// Holds back the next segments with a write, each for one of the durations, and what follows them on their connections.
    /// Returns when they were delivered, and how many there were.
    pub async fn hold(&self, durations: Vec<Duration>) -> usize {
        let (count, longest) = (durations.len(), durations.iter().max().copied().unwrap_or_default());
        let mut held = self.control.held.subscribe();
        let before = *held.borrow_and_update();
        lock(&self.control.holds).extend(durations);
        let all = held.wait_for(|held| *held >= before + count);
        // The timeout is for writes that do not come.
        let _ = tokio::time::timeout(longest + WRITE_TIMEOUT, all).await;
        lock(&self.control.holds).clear();
        *self.control.held.borrow() - before
    }

    /// Loses the answer to the next write after its commit, and closes the connection. New connections take `connect_delay` for as
    /// long as that. Returns false if no write came in this time.
    pub async fn lose_answer(&self, connect_delay: Duration) -> bool {
        let mut lost = self.control.lost.subscribe();
        *lock(&self.control.losses) = 1;
        *lock(&self.control.connect_delay) = connect_delay;
        let happened = tokio::time::timeout(WRITE_TIMEOUT, lost.changed()).await.is_ok();
        *lock(&self.control.losses) = 0;
        if happened {
            tokio::time::sleep(connect_delay).await;
        }
        *lock(&self.control.connect_delay) = Duration::ZERO;
        happened
    }
}

impl Drop for DatabaseRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    async fn passable(&self) {
        // The sender lives as long as this.
        let _ = self.passes.subscribe().wait_for(|passes| *passes).await;
    }
}

/// The answer was lost, and the connection is to be closed.
struct AnswerLost;

/// What was read at one moment, and when it is to be delivered.
struct Segment {
    bytes: Vec<u8>,
    deliver_at: Instant,
    is_held: bool,
}

async fn carry(server: TcpStream, control: Arc<Control>) -> io::Result<()> {
    server.set_nodelay(true)?;
    let mut cuts = control.cuts.subscribe();
    let cut = async {
        while cuts.changed().await.is_ok() {
            let fraction = *cuts.borrow_and_update();
            if rand::rng().random_bool(fraction) {
                return;
            }
        }
    };
    let relay = async {
        let delay = *lock(&control.connect_delay);
        tokio::time::sleep(delay).await;
        control.passable().await;
        let postgres = control.postgres.borrow().clone();
        let (from_postgres, to_postgres) = UnixStream::connect(postgres).await?.into_split();
        let (from_server, to_server) = server.into_split();
        let loses = AtomicBool::new(false);
        let (sent, to_be_sent) = mpsc::unbounded_channel();
        let (answered, to_be_answered) = mpsc::unbounded_channel();
        // Either direction may end before the other; the loss of an answer ends both.
        let result = tokio::try_join!(
            receive_statements(from_server, sent, &control, &loses),
            receive_answers(from_postgres, answered, &loses),
            deliver(to_be_sent, to_postgres, &control),
            deliver(to_be_answered, to_server, &control),
        );
        if result.is_err() {
            control.lost.send_modify(|lost| *lost += 1);
        }
        Ok(())
    };
    tokio::select! {
        () = cut => Ok(()),
        result = relay => result,
    }
}

/// Reads until the server closes the connection.
async fn receive_statements(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::UnboundedSender<Segment>,
    control: &Control,
    loses: &AtomicBool,
) -> Result<(), AnswerLost> {
    let mut deliver_at = Instant::now();
    while let Some(bytes) = read(&mut from).await {
        let mut is_held = false;
        if carries_write(&bytes) {
            if let Some(duration) = lock(&control.holds).pop() {
                deliver_at = Instant::now() + duration;
                is_held = true;
            } else {
                let mut losses = lock(&control.losses);
                if *losses > 0 {
                    *losses -= 1;
                    loses.store(true, Ordering::Relaxed);
                }
            }
        }
        let _ = to.send(Segment { bytes, deliver_at, is_held });
    }
    Ok(())
}

/// Reads until Postgres closes the connection.
async fn receive_answers(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::UnboundedSender<Segment>,
    loses: &AtomicBool,
) -> Result<(), AnswerLost> {
    let mut frames = Frames::default();
    while let Some(bytes) = read(&mut from).await {
        let is_committed = frames.end_transaction(&bytes);
        match (loses.load(Ordering::Relaxed), is_committed) {
            (true, true) => return Err(AnswerLost),
            (true, false) => {}
            _ => {
                let _ = to.send(Segment { bytes, deliver_at: Instant::now(), is_held: false });
            }
        }
    }
    Ok(())
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut bytes = vec![0; SEGMENT];
    let length = from.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
    bytes.truncate(length);
    Some(bytes)
}

/// Writes what is received in time and order; at the end closes this direction.
async fn deliver(
    mut from: mpsc::UnboundedReceiver<Segment>,
    mut to: impl AsyncWrite + Unpin,
    control: &Control,
) -> Result<(), AnswerLost> {
    while let Some(segment) = from.recv().await {
        tokio::time::sleep_until(segment.deliver_at).await;
        control.passable().await;
        // The rest is discarded once the receiver has closed the connection.
        let _ = to.write_all(&segment.bytes).await;
        if segment.is_held {
            control.held.send_modify(|held| *held += 1);
        }
    }
    let _ = to.shutdown().await;
    Ok(())
}
