//! What the server counts, in the words of Prometheus (docs/operations.md says what each means).
//!
//! No label has a value that a client can make up: routes are templates, methods and statuses come from short lists and
//! codes from the registry of errors.

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use sqlx::PgPool;

use crate::db;
use crate::domain::Change;
use crate::error::ErrorCode;
use crate::group_commit::{Counters, GroupCommit};
use crate::log;

/// From an answer out of memory to the longest that a request may take, in seconds.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

/// The counters of one server.
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    under_way: Gauge,
    refusals: Family<RefusalLabels, Counter>,
    matches: Family<MatchLabels, Counter>,
    connections: Connections,
}

/// What is counted of a listener's connections.
#[derive(Clone, Default)]
#[expect(missing_docs, reason = "docs/operations.md says what each means")]
pub struct Connections {
    pub open: Gauge,
    refused: Family<LimitLabels, Counter>,
    pub failed: Counter,
    pub malformed_requests: Counter,
}

/// Why a connection is one too many.
#[derive(Debug, Clone, Copy)]
pub enum ConnectionLimit {
    /// There are as many as there may be.
    All,
    /// Its address has as many as it may.
    Address,
}

impl ConnectionLimit {
    /// What sets it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::All => "--max-connections",
            Self::Address => "--max-connections-per-address",
        }
    }
}

impl Connections {
    /// One was closed because of this limit.
    pub fn refuse(&self, limit: ConnectionLimit) {
        let limit = match limit {
            ConnectionLimit::All => "all",
            ConnectionLimit::Address => "address",
        };
        self.refused.get_or_create(&LimitLabels { limit }).inc();
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
struct RefusalLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MatchLabels {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            under_way: Gauge::default(),
            refusals: Family::default(),
            matches: Family::default(),
            connections: Connections::default(),
        }
    }
}

impl Metrics {
    /// A request has come.
    pub fn request_begins(&self) {
        self.under_way.inc();
    }

    /// It has ended: with an answer of this status, or because its client left. `route` is a template and `method` one of
    /// a short list.
    pub fn request_ends(
        &self,
        route: &str,
        method: &'static str,
        status: Option<StatusCode>,
        refusal: Option<ErrorCode>,
        took: Duration,
    ) {
        self.under_way.dec();
        let route = route.to_owned();
        self.durations.get_or_create(&RouteLabels { route: route.clone() }).observe(took.as_secs_f64());
        let status = status.map_or("left", class);
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        if let Some(code) = refusal {
            self.refusals.get_or_create(&RefusalLabels { code: code.entry().code }).inc();
        }
    }

    /// A match was made.
    pub fn matched(&self, change: Change) {
        let outcome = match change {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
            Change::Reactivated => "reactivated",
        };
        self.matches.get_or_create(&MatchLabels { outcome }).inc();
    }

    /// Those of the clients' listener.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// All of it now, in the format of OpenMetrics 1.0, which Prometheus reads.
    ///
    /// # Errors
    ///
    /// None; a `String` takes everything.
    pub fn text(&self, pool: &PgPool, group_commit: &GroupCommit) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("customer_match");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which server this is", build);
        registry.register("requests", "Requests that ended", self.requests.clone());
        let durations = self.durations.clone();
        registry.register_with_unit("request_duration", "From headers to answer", Unit::Seconds, durations);
        registry.register("requests_under_way", "Requests that have not ended", self.under_way.clone());
        registry.register("refusals", "Answers that are errors, by their code", self.refusals.clone());
        registry.register("matches", "Matches that were made, by what came of them", self.matches.clone());
        let Connections { open, refused, failed, malformed_requests } = self.connections();
        registry.register("connections", "Of clients, that are open", open);
        registry.register("connections_refused", "Those too many, by the limit", refused);
        registry.register("connections_failed", "Those that could not be accepted", failed);
        let malformed = "Malformed requests, which the HTTP library rejected by itself";
        registry.register("http_malformed_requests", malformed, malformed_requests);
        let Counters { batch_sizes, retries, isolated, lost_answers } = group_commit.counters().clone();
        registry.register("match_batch_size", "Writes in one commit", batch_sizes);
        registry.register("match_batch_retries", "Batches that were attempted again", retries);
        let text = "Batches written one write at a time, for a lock or an error of one of them";
        registry.register("match_batches_isolated", text, isolated);
        let text = "Attempts at a batch whose answer was lost and looked up";
        registry.register("match_batch_answers_lost", text, lost_answers);
        let count = |writes| gauge(u32::try_from(writes).unwrap_or(u32::MAX));
        let depth = count(group_commit.depth());
        registry.register("match_queue_depth", "Writes that are queued or in flight", depth);
        let blocked = count(group_commit.blocked());
        registry.register("match_writes_blocked", "Writes that wait for the end of a lock", blocked);
        registry.register("pool_connections", "Connections to the database", gauge(pool.size()));
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        registry.register("pool_idle_connections", "Those that nobody uses", gauge(idle));
        let most = gauge(pool.options().get_max_connections());
        registry.register("pool_max_connections", "As many as there may be", most);
        let waits = db::POOL_WAITS.clone();
        registry.register_with_unit("pool_wait", "For a connection to the database", Unit::Seconds, waits);
        let lost: Counter = Counter::default();
        lost.inc_by(log::lost_lines());
        registry.register("log_lost_lines", "Lines of the log that nobody read in time", lost);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn gauge(value: u32) -> impl Metric {
    let gauge: Gauge = Gauge::default();
    gauge.set(value.into());
    gauge
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
