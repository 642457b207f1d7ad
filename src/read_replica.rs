//! Reads that a standby of the database answers.
//!
//! A call on the replica sees all that was committed when it began, whichever server acknowledged it: it asks the primary how far that has
//! flushed its log, waits until the standby has replayed so much, and reads on the connection that has said so. (Raft calls such a
//! position a read index.) So a client finds its own writes, and the pages of a list do not go back in time when the primary answers some of
//! them.
//!
//! The primary pays one short question for all calls that came before it ([`Positions`]). Whatever the replica does not answer in time
//! or without an error, the primary answers. One task measures the lag of its replay, and calls leave the replica out while that is
//! too long ([`Monitor`]).

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::db::connect::{self, Plans, Session};
use crate::db::replication::{self, Identity, Position, Standing};
use crate::db::{self, Connections, Layout, RequestPool, bounded};
use crate::server_timing::Steps;

/// All that a call may spend on the replica. Longer than the statements of a filter may take, and short enough for the primary to
/// answer within the request timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Client-side timeout of a question about the log, as a broken network may never deliver an error.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the lag is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions whether the standby has replayed so much. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);
/// The same while no call waits for the answer.
const PAUSE_WHILE_LEFT_OUT: Duration = Duration::from_millis(250);
/// Of the connection to the primary, as its host name may lead to another server by now.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Calls that one question to the primary serves.
const MAX_ASKING: usize = 4_096;

const SESSION: Session = Session {
    application_name: "customer-match replication",
    statement_timeout: QUESTION_TIMEOUT,
    lock_timeout: QUESTION_TIMEOUT,
    plans: Plans::Auto,
};

/// A standby, and the tasks that watch it, which end with the value.
pub struct ReadReplica {
    pool: RequestPool,
    positions: Positions,
    max_lag: Duration,
    state: Arc<State>,
    pub(crate) reads: Reads,
    _monitor: AbortOnDropHandle<()>,
}

/// Reads that a replica may answer, by the server that did.
#[derive(Default)]
pub(crate) struct Reads {
    pub(crate) by_replica: Counter,
    pub(crate) by_primary: Counter,
}

impl ReadReplica {
    /// The replica is left out until its lag has been measured.
    pub fn start(
        primary: PgConnectOptions,
        standby: PgConnectOptions,
        max_connections: u32,
        max_lag: Duration,
    ) -> Self {
        let positions = Positions::of(primary);
        let state = Arc::<State>::default();
        let monitor = Monitor {
            positions: positions.clone(),
            standby: Connections::new(standby.clone(), SESSION),
            max_lag,
            state: Arc::clone(&state),
        };
        Self {
            pool: RequestPool::new(standby, Layout::Single, max_connections),
            positions,
            max_lag,
            state,
            reads: Reads::default(),
            _monitor: AbortOnDropHandle::new(tokio::spawn(monitor.run())),
        }
    }

    /// Reads on the replica. `None`: the primary has to answer.
    pub async fn read<T>(
        &self,
        organisation_id: i64,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Option<T> {
        let answer =
            if self.is_in_use() { self.read_after_replay(organisation_id, work).await } else { None };
        let counter = if answer.is_some() { &self.reads.by_replica } else { &self.reads.by_primary };
        counter.inc();
        answer
    }

    /// Whether it answers reads now.
    pub fn is_in_use(&self) -> bool {
        self.state.lock().in_use == Some(true)
    }

    pub fn lag(&self) -> Duration {
        self.state.lock().lag()
    }

    async fn read_after_replay<T>(
        &self,
        organisation_id: i64,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Option<T> {
        let began = Instant::now();
        let wait_until = began + self.max_lag;
        let position = timeout_at(wait_until, self.positions.ask()).await.ok()??;
        let read = self.pool.with_connection(organisation_id, async |db| {
            let standing = wait_for_replay(db, &position, wait_until).await?;
            if let Some(steps) = Steps::of_request() {
                steps.record("replay", began.elapsed());
            }
            if standing != Standing::CaughtUp {
                return Ok(None);
            }
            work(db).await.map(Some)
        });
        match bounded(READ_TIMEOUT, read).await {
            Ok(answer) => answer,
            // Such as a conflict with the replay, a standby that stops, or too many calls.
            Err(error) if db::is_unavailable(&error) => {
                tracing::debug!(%error, "the read replica cannot answer");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the read replica rejected a statement");
                None
            }
        }
    }
}

/// Asks at least once, and again while it is behind and there is time.
async fn wait_for_replay(
    db: &mut PgConnection,
    position: &Position,
    wait_until: Instant,
) -> sqlx::Result<Standing> {
    let mut pause = FIRST_PAUSE;
    loop {
        let standing = replication::standing(db, position).await?;
        if standing != Standing::Behind || Instant::now() + pause > wait_until {
            return Ok(standing);
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// The positions of the primary. One question at a time serves all that asked before it was sent, so there are no more questions than
/// round trips, whatever the load. Clones ask together; with the last of them the task ends.
#[derive(Clone)]
struct Positions {
    asking: mpsc::UnboundedSender<oneshot::Sender<Position>>,
}

impl Positions {
    fn of(primary: PgConnectOptions) -> Self {
        let (asking, receiver) = mpsc::unbounded_channel();
        tokio::spawn(answer(receiver, primary));
        Self { asking }
    }

    /// Where the primary is after this call began. `None`: it does not answer.
    async fn ask(&self) -> Option<Position> {
        let (sender, position) = oneshot::channel();
        self.asking.send(sender).ok()?;
        position.await.ok()
    }
}

/// A connection to the primary.
struct Primary {
    connection: PgConnection,
    identity: Identity,
    opened: Instant,
}

/// Returns when nothing can ask any more.
async fn answer(mut receiver: mpsc::UnboundedReceiver<oneshot::Sender<Position>>, options: PgConnectOptions) {
    let mut asking = Vec::new();
    let mut primary = None;
    while receiver.recv_many(&mut asking, MAX_ASKING).await > 0 {
        let open = primary.take().filter(|primary: &Primary| primary.opened.elapsed() < LIFETIME);
        match bounded(QUESTION_TIMEOUT, ask(open, &options)).await {
            Ok((position, answered)) => {
                for sender in asking.drain(..) {
                    // An error means that the call has ended.
                    let _ = sender.send(position);
                }
                primary = Some(answered);
            }
            Err(error) => {
                tracing::debug!(%error, "the primary does not tell the position of its log");
                asking.clear();
            }
        }
    }
}

/// On the connection that is open, or on a new one. One that does not answer is closed.
async fn ask(open: Option<Primary>, options: &PgConnectOptions) -> sqlx::Result<(Position, Primary)> {
    let mut primary = match open {
        Some(primary) => primary,
        None => {
            let mut connection = connect::connect(options, SESSION).await?;
            let identity = replication::identity(&mut connection).await?;
            Primary { connection, identity, opened: Instant::now() }
        }
    };
    let position = replication::position(&mut primary.connection, primary.identity).await?;
    Ok((position, primary))
}

#[derive(Default)]
struct State(Mutex<Measured>);

/// What is known of the standby.
#[derive(Default)]
struct Measured {
    /// `None` at the start.
    in_use: Option<bool>,
    lag: Duration,
    /// The begin of the first measurement that has not come to its end.
    unmeasured_since: Option<Instant>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Measured> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, now: Instant) {
        self.lock().unmeasured_since.get_or_insert(now);
    }

    /// A replica that was too slow comes back when it takes half of the time that it may, so that it does not come and go.
    fn caught_up(&self, lag: Duration, max_lag: Duration) {
        let mut measured = self.lock();
        measured.lag = lag;
        measured.unmeasured_since = None;
        let longest = if measured.in_use == Some(false) { max_lag / 2 } else { max_lag };
        if lag > longest {
            measured.leave_out(&Standing::Behind);
        } else if measured.in_use.replace(true) != Some(true) {
            tracing::info!(lag_ms = milliseconds(lag), "the read replica is in use");
        }
    }

    fn leave_out(&self, reason: &dyn Display) {
        self.lock().leave_out(reason);
    }
}

impl Measured {
    /// The time that the standby took to replay what the primary had flushed, when it was last measured; while that is not known, for
    /// how long it has not been.
    fn lag(&self) -> Duration {
        self.lag.max(self.unmeasured_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn leave_out(&mut self, reason: &dyn Display) {
        if self.in_use.replace(false) != Some(false) {
            tracing::warn!(%reason, "the read replica is not in use; the primary answers");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Decides whether the standby is used.
struct Monitor {
    positions: Positions,
    standby: Connections,
    max_lag: Duration,
    state: Arc<State>,
}

impl Monitor {
    async fn run(self) {
        loop {
            self.measure().await;
            sleep(MEASURE_INTERVAL).await;
        }
    }

    /// Lasts as long as the standby is behind.
    async fn measure(&self) {
        self.state.begin(Instant::now());
        // The time to connect is no lag.
        if let Err(error) = self.standby.with_connection(QUESTION_TIMEOUT, async |db| db.ping().await).await {
            return self.state.leave_out(&error);
        }
        let Ok(Some(position)) = timeout(QUESTION_TIMEOUT, self.positions.ask()).await else {
            return self.state.leave_out(&"the database does not tell the position of its log");
        };
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let standing = async |db: &mut PgConnection| replication::standing(db, &position).await;
            match self.standby.with_connection(QUESTION_TIMEOUT, standing).await {
                Ok(Standing::CaughtUp) => return self.state.caught_up(began.elapsed(), self.max_lag),
                Ok(Standing::Behind) if began.elapsed() <= self.max_lag => {
                    sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
                Ok(Standing::Behind) => {
                    self.state.leave_out(&Standing::Behind);
                    sleep(PAUSE_WHILE_LEFT_OUT).await;
                }
                Ok(standing) => return self.state.leave_out(&standing),
                Err(error) => return self.state.leave_out(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_lagged_comes_back_at_half_of_the_lag() {
        let state = State::default();
        let mut in_use = Vec::new();
        for lag in [90, 110, 90, 60, 50, 90] {
            state.begin(Instant::now());
            state.caught_up(Duration::from_millis(lag), Duration::from_millis(100));
            in_use.push(state.lock().in_use.unwrap());
        }
        assert_eq!(in_use, [true, false, false, false, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_grows_while_it_cannot_be_measured() {
        let state = State::default();
        let second = Duration::from_secs(1);
        state.begin(Instant::now());
        state.caught_up(second / 2, second);
        assert_eq!(state.lock().lag(), second / 2);
        for seconds in 1..=3 {
            state.begin(Instant::now());
            state.leave_out(&"it does not answer");
            tokio::time::advance(second).await;
            assert_eq!(state.lock().lag(), second * seconds);
        }
        state.caught_up(second / 4, second);
        assert_eq!(state.lock().lag(), second / 4);
    }
}
