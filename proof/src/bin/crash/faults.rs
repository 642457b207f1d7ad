//! Faults, the phases in which they are injected, and how soon calls are served again.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::ensure;
use customer_match_proof::client::Client;
use futures_util::future::join_all;
use rand::prelude::*;
use tokio::sync::Semaphore;

use super::cluster;
use super::locker::{LOCK_KINDS, Locker};
use super::rig::Rig;

/// Longer than any recovery takes.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two attempts to be served.
const PAUSE: Duration = Duration::from_millis(10);
/// Faults of one round begin within this.
const TOGETHER: Duration = Duration::from_millis(800);
/// The fractions of connections that a cut ends.
const FRACTIONS: [f64; 3] = [0.1, 0.5, 1.0];
/// Seconds that connecting takes after a lost answer.
const CONNECT_DELAY: RangeInclusive<f64> = 0.0..=3.0;
/// Segments that are held back at the same time.
const HOLDS: RangeInclusive<usize> = 1..=4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Of a cluster the coordinator.
    KillPostgres,
    /// Of a cluster.
    KillWorker,
    /// To another worker, with the rows of the organisation that most calls are in.
    MoveShards,
    KillServer,
    CutClients,
    CutDatabase,
    /// Segments with a write arrive late.
    HoldSegments,
    /// A write is committed, and its answer is lost with the connection.
    LoseAnswer,
    /// The network between a server and Postgres delivers nothing.
    BlackHole,
    /// Rows are locked by others.
    LockRows,
}

pub struct Phase {
    pub name: &'static str,
    /// The faults of each round, which overlap.
    pub rounds: Vec<Vec<Fault>>,
    /// Seconds before each round, and after the last.
    pub calm: RangeInclusive<f64>,
    pub durations: Durations,
}

/// Seconds that faults last.
#[derive(Clone)]
pub struct Durations {
    pub hold: RangeInclusive<f64>,
    pub black_hole: RangeInclusive<f64>,
    pub locks: RangeInclusive<f64>,
    /// Kinds of locks that are held at the same time.
    pub lock_kinds: RangeInclusive<usize>,
}

impl Phase {
    /// Whether nothing but locks can delay a call.
    pub fn has_only_locks(&self) -> bool {
        self.rounds.iter().flatten().all(|fault| *fault == Fault::LockRows)
    }
}

/// One kind after the other, then mixed.
pub fn phases(quick: bool, on_cluster: bool, random: &mut StdRng) -> Vec<Phase> {
    use Fault::{
        BlackHole, CutClients, CutDatabase, HoldSegments, KillPostgres, KillServer, KillWorker, LockRows,
        LoseAnswer, MoveShards,
    };
    let (calm, durations) = if quick {
        (
            0.3..=0.6,
            Durations { hold: 6.0..=7.5, black_hole: 3.0..=5.0, locks: 4.0..=10.5, lock_kinds: 5..=5 },
        )
    } else {
        (
            1.0..=6.0,
            Durations { hold: 1.0..=30.0, black_hole: 3.0..=30.0, locks: 1.0..=14.0, lock_kinds: 1..=5 },
        )
    };
    let rounds = |quickly, thoroughly| if quick { quickly } else { thoroughly };
    let phase = |name, rounds| Phase { name, rounds, calm: calm.clone(), durations: durations.clone() };
    let several = |fault, times| vec![vec![fault]; times];
    let quiet = if quick { 3.0 } else { 10.0 };
    let mut phases = vec![
        // The locks come first: no connection is still recovering from another fault.
        Phase { calm: quiet..=quiet, ..phase("nothing", Vec::new()) },
        phase("rows locked", several(LockRows, rounds(1, 12))),
        phase("Postgres killed", several(KillPostgres, rounds(1, 5))),
        phase("server killed", several(KillServer, rounds(1, 5))),
        phase("clients cut off", several(CutClients, rounds(1, 15))),
        phase("database cut off", several(CutDatabase, rounds(1, 15))),
        phase("answers lost", several(LoseAnswer, rounds(3, 40))),
        phase("segments held back", several(HoldSegments, rounds(1, 10))),
        phase("black holes", several(BlackHole, rounds(1, 8))),
    ];
    if on_cluster {
        phases.push(phase("worker killed", several(KillWorker, rounds(2, 8))));
        phases.push(phase("shards moved", several(MoveShards, rounds(2, 12))));
    }
    if !quick {
        // Postgres and a server at the same time is a machine that goes down.
        let mixed = (0..24).map(|round| {
            let mut faults = match round % 6 {
                0 => vec![KillPostgres],
                1 => vec![KillServer],
                2 => vec![KillPostgres, KillServer],
                3 if on_cluster => vec![KillWorker],
                _ => Vec::new(),
            };
            let mut others = vec![CutClients, CutDatabase, LoseAnswer, HoldSegments, BlackHole, LockRows];
            others.extend(on_cluster.then_some(MoveShards));
            faults.extend(others.into_iter().filter(|_| random.random_bool(0.5)));
            faults
        });
        let rounds = mixed.filter(|faults| !faults.is_empty()).collect();
        let durations =
            Durations { hold: 1.0..=15.0, black_hole: 3.0..=10.0, locks: 1.0..=12.0, lock_kinds: 1..=3 };
        phases.push(Phase { calm: 0.5..=3.0, durations, ..phase("mixed", rounds) });
    }
    phases
}

/// What a round came to.
pub struct Struck {
    /// From the last fault until both servers served a call; `None` if one did not.
    pub recovery: Option<Duration>,
    /// How many there were of each.
    pub counts: Vec<(Fault, usize)>,
}

/// Injects the faults of a round, in any order, and restarts what was killed.
pub async fn strike(
    rig: &mut Rig,
    locker: &Locker,
    faults: &[Fault],
    durations: &Durations,
    probes: &mut [Client],
    random: &mut StdRng,
) -> anyhow::Result<Struck> {
    let mut delay = || if faults.len() == 1 { Duration::ZERO } else { TOGETHER.mul_f64(random.random()) };
    let delays: Vec<_> = faults.iter().map(|fault| (*fault, delay())).collect();
    let begins = |wanted: Fault| delays.iter().find(|(fault, _)| *fault == wanted).map(|(_, delay)| *delay);
    let seconds = |range: &RangeInclusive<f64>, random: &mut StdRng| {
        Duration::from_secs_f64(random.random_range(range.clone()))
    };
    let fraction = *FRACTIONS.choose(random).unwrap_or(&1.0);
    let relay = random.random_range(0..rig.database_relays.len());
    let (victim, cut) =
        (random.random_range(0..rig.servers.len()), random.random_range(0..rig.servers.len()));
    let holds: Vec<_> = (0..random.random_range(HOLDS)).map(|_| seconds(&durations.hold, random)).collect();
    let black_hole = seconds(&durations.black_hole, random);
    let connect_delay = seconds(&CONNECT_DELAY, random);
    let lock_count = random.random_range(durations.lock_kinds.clone());
    let locks: Vec<_> = LOCK_KINDS
        .sample(random, lock_count)
        .map(|kind| (*kind, seconds(&durations.locks, random), StdRng::seed_from_u64(random.random())))
        .collect();

    let worker = rig.workers.choose(random);
    let moved = rig.organisations[0].0;
    let options = rig.postgres.connect_options()?;
    let Rig { postgres, servers, socket, client_relays, database_relays, .. } = rig;
    // A permit for each fault that has ended.
    let ended = Semaphore::new(0);
    let counts = std::sync::Mutex::new(Vec::new());
    let end = |fault, count| {
        counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((fault, count));
        ended.add_permits(1);
    };
    let kill_postgres = async {
        if let Some(delay) = begins(Fault::KillPostgres) {
            tokio::time::sleep(delay).await;
            postgres.kill().await?;
            end(Fault::KillPostgres, 1);
            socket.send_replace(postgres.restart().await?);
        }
        anyhow::Ok(())
    };
    let kill_worker = async {
        if let (Some(delay), Some(worker)) = (begins(Fault::KillWorker), worker) {
            tokio::time::sleep(delay).await;
            worker.kill().await?;
            end(Fault::KillWorker, 1);
            worker.restart().await?;
        }
        anyhow::Ok(())
    };
    let move_shards = async {
        if let Some(delay) = begins(Fault::MoveShards) {
            tokio::time::sleep(delay).await;
            // It fails beside other faults.
            end(Fault::MoveShards, usize::from(cluster::move_shards(&options, moved).await.is_ok()));
        }
        anyhow::Ok(())
    };
    let kill_server = async {
        if let Some(delay) = begins(Fault::KillServer) {
            tokio::time::sleep(delay).await;
            servers[victim].kill().await?;
            client_relays[victim].server_down();
            end(Fault::KillServer, 1);
            client_relays[victim].server_up(servers[victim].restart().await?).await;
        }
        anyhow::Ok(())
    };
    let cut_clients = async {
        if let Some(delay) = begins(Fault::CutClients) {
            tokio::time::sleep(delay).await;
            client_relays[cut].cut(fraction);
            end(Fault::CutClients, 1);
        }
        anyhow::Ok(())
    };
    let database = &database_relays[relay];
    let cut_database = async {
        if let Some(delay) = begins(Fault::CutDatabase) {
            tokio::time::sleep(delay).await;
            database.cut(fraction);
            end(Fault::CutDatabase, 1);
        }
        anyhow::Ok(())
    };
    let hold_segments = async {
        if let Some(delay) = begins(Fault::HoldSegments) {
            tokio::time::sleep(delay).await;
            end(Fault::HoldSegments, database.hold(holds).await);
        }
        anyhow::Ok(())
    };
    let lose_answer = async {
        if let Some(delay) = begins(Fault::LoseAnswer) {
            tokio::time::sleep(delay).await;
            end(Fault::LoseAnswer, usize::from(database.lose_answer(connect_delay).await));
        }
        anyhow::Ok(())
    };
    let make_black_hole = async {
        if let Some(delay) = begins(Fault::BlackHole) {
            tokio::time::sleep(delay).await;
            database.black_hole(black_hole).await;
            end(Fault::BlackHole, 1);
        }
        anyhow::Ok(())
    };
    let lock_rows = async {
        if let Some(delay) = begins(Fault::LockRows) {
            tokio::time::sleep(delay).await;
            let mut held = 0;
            let mut sessions = Vec::new();
            for (kind, duration, mut random) in locks {
                let options = &options;
                sessions.push(async move { locker.hold(options, kind, duration, &mut random).await });
            }
            for session in join_all(sessions).await {
                held += usize::from(session.is_some());
            }
            end(Fault::LockRows, held);
        }
        anyhow::Ok(())
    };
    let recover = async {
        let _all = ended.acquire_many(u32::try_from(faults.len())?).await?;
        let since = Instant::now();
        for probe in probes {
            while !probe.match_newcomer().await? {
                if since.elapsed() > RECOVERY_TIMEOUT {
                    return Ok(None);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(Some(since.elapsed()))
    };
    let (.., recovery) = tokio::try_join!(
        kill_postgres,
        kill_worker,
        move_shards,
        kill_server,
        cut_clients,
        cut_database,
        hold_segments,
        lose_answer,
        make_black_hole,
        lock_rows,
        recover,
    )?;
    for server in servers {
        ensure!(!server.has_ended(), "a server ended by itself: see its log");
    }
    Ok(Struck { recovery, counts: counts.into_inner().unwrap_or_default() })
}
