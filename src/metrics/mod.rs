//! The metrics of one server and their text form, by the naming conventions of Prometheus and OpenTelemetry.
//! docs/operations.md lists each with what to alert on; a change here changes that table.
//!
//! No label value comes from a client, so that clients cannot grow the number of time series: routes are templates, methods
//! and statuses come from short lists, error codes from their registry, organisations are the busiest hundred.
//!
//! Series are there from the start, at zero, where their labels are known: a rate of a series that begins with its first event
//! misses that event.

mod organisations;
mod process;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::sync::watch;

use self::organisations::Organisations;
use crate::change_watcher::ChangeWatcher;
use crate::config::LoadedCertificate;
use crate::db::api_key::ExpiringKey;
use crate::db::{DatabaseState, ReplicationRole, RequestPool};
use crate::domain::Change;
use crate::error::ErrorCode;
use crate::group_commit::{Counters, GroupCommit};
use crate::read_replica::ReadReplica;
use crate::telemetry;

/// In seconds, from a response that needs no database to the longest that a request may take.
const DURATION_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

/// Of an endpoint. 1xx and 3xx are no answers of it.
const STATUSES: [&str; 4] = ["2xx", "4xx", "5xx", DISCONNECTED];
const DISCONNECTED: &str = "disconnected";

pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    errors: Family<ErrorLabels, Counter>,
    matches: Family<MatchLabels, Counter>,
    organisations: Organisations,
    connections: ConnectionMetrics,
    /// That of the listener for clients, if it speaks TLS.
    pub certificate: OnceLock<watch::Receiver<LoadedCertificate>>,
    /// The directory of the private Postgres, if there is one.
    pub data_dir: OnceLock<PathBuf>,
}

/// A request that was answered, or whose client disconnected before.
pub struct FinishedRequest<'a> {
    /// A template.
    pub route: &'a str,
    /// One of a short list.
    pub method: &'static str,
    /// `None`: the client disconnected.
    pub status: Option<StatusCode>,
    pub error: Option<ErrorCode>,
    /// That of the key, once it is known.
    pub organisation_id: Option<i64>,
    pub duration: Duration,
}

/// What is read for the metrics at the moment at which they are asked for.
pub struct Readings<'a> {
    pub pool: &'a RequestPool,
    pub replica: Option<&'a ReadReplica>,
    /// Of a distributed database.
    pub list_batch_sizes: Option<Histogram>,
    pub group_commit: &'a GroupCommit,
    pub changes: &'a ChangeWatcher,
    pub expiring_keys: &'a [ExpiringKey],
    /// `None`: the database does not answer.
    pub database: Option<DatabaseState>,
}

/// The metrics of one listener. Clones share their counters.
#[derive(Clone)]
pub struct ConnectionMetrics {
    pub open: Gauge,
    rejected: Family<LimitLabels, Counter>,
    pub accept_errors: Counter,
    pub malformed_requests: Counter,
}

/// A limit that a rejected connection exceeded.
#[derive(Debug, Clone, Copy)]
pub enum ConnectionLimit {
    Total,
    PerClientIp,
}

impl ConnectionLimit {
    /// The setting of this limit.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Total => "--max-connections",
            Self::PerClientIp => "--max-connections-per-client-ip",
        }
    }
}

impl Default for ConnectionMetrics {
    fn default() -> Self {
        let metrics = Self {
            open: Gauge::default(),
            rejected: Family::default(),
            accept_errors: Counter::default(),
            malformed_requests: Counter::default(),
        };
        for limit in [ConnectionLimit::Total, ConnectionLimit::PerClientIp] {
            drop(metrics.rejected.get_or_create(&LimitLabels::of(limit)));
        }
        metrics
    }
}

impl ConnectionMetrics {
    pub fn rejected(&self, limit: ConnectionLimit) {
        self.rejected.get_or_create(&LimitLabels::of(limit)).inc();
    }
}

impl LimitLabels {
    fn of(limit: ConnectionLimit) -> Self {
        let limit = match limit {
            ConnectionLimit::Total => "total",
            ConnectionLimit::PerClientIp => "client_ip",
        };
        Self { limit }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MatchLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answered_by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    role: &'static str,
}

/// All of them are the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    organisation: i64,
    id: i64,
    key: String,
}

impl MatchLabels {
    fn of(change: Change) -> Self {
        let outcome = match change {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
            Change::Reactivated => "reactivated",
        };
        Self { outcome }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Gauge::default(),
            errors: Family::default(),
            matches: Family::default(),
            organisations: Organisations::default(),
            connections: ConnectionMetrics::default(),
            certificate: OnceLock::new(),
            data_dir: OnceLock::new(),
        };
        for code in ErrorCode::ALL {
            drop(metrics.errors.get_or_create(&ErrorLabels { code: code.entry().code }));
        }
        for change in [Change::Created, Change::Updated, Change::Unchanged, Change::Reactivated] {
            drop(metrics.matches.get_or_create(&MatchLabels::of(change)));
        }
        metrics
    }
}

impl Metrics {
    /// Begins the series of an endpoint.
    pub fn expect_endpoint(&self, route: &str, method: &'static str) {
        let route = route.to_owned();
        for status in STATUSES {
            drop(self.requests.get_or_create(&RequestLabels { route: route.clone(), method, status }));
        }
        drop(self.durations.get_or_create(&RouteLabels { route }));
    }

    pub fn request_started(&self) {
        self.in_flight.inc();
    }

    pub fn request_finished(&self, request: &FinishedRequest<'_>) {
        self.in_flight.dec();
        let route = request.route.to_owned();
        let duration = request.duration.as_secs_f64();
        self.durations.get_or_create(&RouteLabels { route: route.clone() }).observe(duration);
        let status = request.status.map_or(DISCONNECTED, status_class);
        self.requests.get_or_create(&RequestLabels { route, method: request.method, status }).inc();
        if let Some(code) = request.error {
            self.errors.get_or_create(&ErrorLabels { code: code.entry().code }).inc();
        }
        if let Some(id) = request.organisation_id {
            self.organisations.request_finished(id, request.error);
        }
    }

    pub fn match_committed(&self, organisation_id: i64, change: Change) {
        self.matches.get_or_create(&MatchLabels::of(change)).inc();
        self.organisations.match_committed(organisation_id);
    }

    /// The metrics of the listener for clients.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// Renders all metrics in the format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self, readings: &Readings<'_>) -> Result<String, fmt::Error> {
        let mut root = Registry::default();
        process::register(&mut root);
        let registry = root.sub_registry_with_prefix("customer_match");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", env!("SOURCE_COMMIT"))]);
        registry.register("build", "Version of the server and commit of its sources", build);
        self.register_requests(registry);
        self.register_connections(registry);
        self.organisations.register(registry, &readings.group_commit.tenants());
        register_group_commit(registry, readings.group_commit);
        register_changes(registry, readings.changes);
        register_pool(registry, readings.pool);
        register_database(registry, readings.database);
        if let Some(sizes) = &readings.list_batch_sizes {
            registry.register("list_batch_size", "Lists that were read in one call", sizes.clone());
        }
        if let Some(replica) = readings.replica {
            register_replica(registry, replica);
        }
        if let Some(data_dir) = self.data_dir.get() {
            register_disk(registry, data_dir);
        }
        if let Some(certificate) = self.certificate.get() {
            let help = "End of the TLS certificate in use since the Unix epoch";
            let not_after = timestamp(certificate.borrow().not_after);
            registry.register_with_unit(
                "tls_certificate_not_after_timestamp",
                help,
                Unit::Seconds,
                not_after,
            );
        }
        register_keys(registry, readings.expiring_keys);
        let dropped: Counter = Counter::default();
        dropped.inc_by(telemetry::dropped_lines());
        registry.register(
            "log_dropped_lines",
            "Log lines dropped because stderr was not read in time",
            dropped,
        );
        let mut text = String::new();
        encode(&mut text, &root)?;
        Ok(text)
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register("http_requests", "Finished requests", self.requests.clone());
        let durations = self.durations.clone();
        let help = "Time from the headers of a request to its response";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations);
        registry.register("http_requests_in_flight", "Requests in flight", self.in_flight.clone());
        registry.register("http_errors", "Error responses by error code", self.errors.clone());
        registry.register("matches", "Committed matches by outcome", self.matches.clone());
    }

    fn register_connections(&self, registry: &mut Registry) {
        let ConnectionMetrics { open, rejected, accept_errors, malformed_requests } = self.connections();
        registry.register("connections_open", "Open client connections", open);
        registry.register("connections_rejected", "Client connections closed because of a limit", rejected);
        registry.register(
            "connection_accept_errors",
            "Client connections that accept failed for",
            accept_errors,
        );
        let help = "Malformed requests, which the HTTP library rejected by itself";
        registry.register("http_malformed_requests", help, malformed_requests);
    }
}

fn register_group_commit(registry: &mut Registry, group_commit: &GroupCommit) {
    let Counters { batch_sizes, retries, isolated, lost_answers, queue_wait, statement, commit } =
        group_commit.counters().clone();
    registry.register("match_batch_size", "Writes in one commit", batch_sizes);
    registry.register("match_batch_retries", "Retried batches", retries);
    let help = "Batches written one write at a time, because of a lock or an error of one of them";
    registry.register("match_batches_isolated", help, isolated);
    let help = "Attempts at a batch whose answer was lost";
    registry.register("match_batch_answers_lost", help, lost_answers);
    let help = "Time that a write waited in its queue for its first batch";
    registry.register_with_unit("match_queue_wait", help, Unit::Seconds, queue_wait);
    let help = "Time that the database executed the statement of a batch, by its clock";
    registry.register_with_unit("match_batch_statement", help, Unit::Seconds, statement);
    let help = "Time from the end of a batch's statement to its answer: commit, flush and network";
    registry.register_with_unit("match_batch_commit", help, Unit::Seconds, commit);
    registry.register(
        "match_queue_depth",
        "Writes that are queued or in flight",
        count(group_commit.depth()),
    );
    let help = "Writes blocked by a lock of another transaction";
    registry.register("match_writes_blocked", help, count(group_commit.blocked()));
}

fn register_changes(registry: &mut Registry, changes: &ChangeWatcher) {
    let help = "Calls of match-changes that wait for a change";
    let waiting = usize::try_from(changes.waiting()).unwrap_or(usize::MAX);
    registry.register("match_changes_waiting", help, count(waiting));
    let help = "For how long the oldest running transaction has held changes back";
    let held_back = float(changes.held_back_for().as_secs_f64());
    registry.register_with_unit("match_changes_held_back", help, Unit::Seconds, held_back);
}

fn register_pool(registry: &mut Registry, pool: &RequestPool) {
    let idle = pool.idle_connections();
    let open = usize::try_from(pool.connections_in_use()).unwrap_or(usize::MAX).saturating_add(idle);
    registry.register("db_pool_connections", "Open connections of the pool", count(open));
    registry.register("db_pool_idle_connections", "Idle connections of the pool", count(idle));
    let max = count(usize::try_from(pool.max_connections()).unwrap_or(usize::MAX));
    registry.register("db_pool_max_connections", "Capacity of the pool", max);
    let help = "Time that requests waited for a connection of the pool";
    registry.register_with_unit(
        "db_pool_acquire_duration",
        help,
        Unit::Seconds,
        pool.acquire_duration.clone(),
    );
    let help = "Time that requests used a connection of the pool, until the database's answer";
    registry.register_with_unit("db_pool_use_duration", help, Unit::Seconds, pool.use_duration.clone());
}

fn register_database(registry: &mut Registry, database: Option<DatabaseState>) {
    registry.register("database_up", "Whether the database answers", count(database.is_some().into()));
    let roles = Family::<RoleLabels, Gauge>::default();
    for (role, name) in [(ReplicationRole::Primary, "primary"), (ReplicationRole::Standby, "standby")] {
        roles
            .get_or_create(&RoleLabels { role: name })
            .set(database.is_some_and(|state| state.role == role).into());
    }
    registry.register("database_replication_role", "1 for the role of the database", roles);
    let read_only = database.is_some_and(|state| state.is_read_only);
    registry.register("database_read_only", "Whether the database rejects writes", count(read_only.into()));
}

fn register_replica(registry: &mut Registry, replica: &ReadReplica) {
    registry.register(
        "replica_in_use",
        "Whether the read replica is used",
        count(replica.is_in_use().into()),
    );
    let help =
        "Time that the read replica took to replay what the primary had, or for how long that is not known";
    registry.register_with_unit("replica_lag", help, Unit::Seconds, float(replica.lag().as_secs_f64()));
    let reads = Family::<AnswerLabels, Counter>::default();
    for (answered_by, counter) in
        [("replica", &replica.reads.by_replica), ("primary", &replica.reads.by_primary)]
    {
        reads.get_or_create(&AnswerLabels { answered_by }).inc_by(counter.get());
    }
    let help = "Reads that the read replica may answer, by the server that did";
    registry.register("replica_reads", help, reads);
}

fn register_disk(registry: &mut Registry, data_dir: &Path) {
    let Ok(disk) = rustix::fs::statvfs(data_dir) else { return };
    let bytes = |blocks: u64| float(blocks as f64 * disk.f_frsize as f64);
    let help = "Free bytes of the disk with the private Postgres";
    registry.register_with_unit("database_disk_free", help, Unit::Bytes, bytes(disk.f_bavail));
    let help = "Size of the disk with the private Postgres";
    registry.register_with_unit("database_disk_size", help, Unit::Bytes, bytes(disk.f_blocks));
}

fn register_keys(registry: &mut Registry, expiring: &[ExpiringKey]) {
    registry.register("api_key_days_left", "Days until an active API key expires", days_left(expiring));
    if let Some(soonest) = expiring.iter().map(|key| key.expires_at).filter(|at| *at > Utc::now()).min() {
        let help = "End of the active API key that expires first since the Unix epoch";
        registry.register_with_unit(
            "api_key_soonest_expiry_timestamp",
            help,
            Unit::Seconds,
            timestamp(soonest),
        );
    }
}

fn days_left(expiring: &[ExpiringKey]) -> Family<KeyLabels, Gauge<f64, AtomicU64>> {
    let days_left = Family::<KeyLabels, Gauge<f64, AtomicU64>>::default();
    let now = Utc::now();
    for key in expiring.iter().filter(|key| key.expires_at > now) {
        let labels = KeyLabels { organisation: key.organisation_id, id: key.id, key: key.mask.clone() };
        days_left.get_or_create(&labels).set(key.days_left(now));
    }
    days_left
}

fn count(value: usize) -> impl Metric {
    let gauge: Gauge = Gauge::default();
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    gauge
}

fn float(value: f64) -> impl Metric {
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(value);
    gauge
}

fn timestamp(at: DateTime<Utc>) -> impl Metric {
    float(at.timestamp() as f64)
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
