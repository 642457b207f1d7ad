//! The metrics of one server and their text form, by the naming conventions of Prometheus and OpenTelemetry.
//! docs/operations.md lists each with what to alert on; a change here changes that table.
//!
//! No label value comes from a client, so that clients cannot grow the number of time series: routes are templates, methods
//! and statuses come from short lists, error codes from their registry.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::Utc;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::db::RequestPool;
use crate::db::api_key::ExpiringKey;
use crate::domain::Change;
use crate::error::ErrorCode;
use crate::group_commit::{Counters, GroupCommit};
use crate::telemetry;

/// In seconds, from a response that needs no database to the longest that a request may take.
const DURATION_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    errors: Family<ErrorLabels, Counter>,
    matches: Family<MatchLabels, Counter>,
    connections: ConnectionMetrics,
}

/// The metrics of one listener. Clones share their counters.
#[derive(Clone, Default)]
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

impl ConnectionMetrics {
    pub fn rejected(&self, limit: ConnectionLimit) {
        let limit = match limit {
            ConnectionLimit::Total => "total",
            ConnectionLimit::PerClientIp => "client_ip",
        };
        self.rejected.get_or_create(&LimitLabels { limit }).inc();
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

/// All of them are the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    organisation: i64,
    id: i64,
    key: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Gauge::default(),
            errors: Family::default(),
            matches: Family::default(),
            connections: ConnectionMetrics::default(),
        }
    }
}

impl Metrics {
    pub fn request_started(&self) {
        self.in_flight.inc();
    }

    /// Counts a request that was answered with `status`, or whose client disconnected before (`None`). `route` is a
    /// template and `method` one of a short list.
    pub fn request_finished(
        &self,
        route: &str,
        method: &'static str,
        status: Option<StatusCode>,
        error: Option<ErrorCode>,
        duration: Duration,
    ) {
        self.in_flight.dec();
        let route = route.to_owned();
        self.durations.get_or_create(&RouteLabels { route: route.clone() }).observe(duration.as_secs_f64());
        let status = status.map_or("disconnected", status_class);
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        if let Some(code) = error {
            self.errors.get_or_create(&ErrorLabels { code: code.entry().code }).inc();
        }
    }

    pub fn match_committed(&self, change: Change) {
        let outcome = match change {
            Change::Created => "created",
            Change::Updated => "updated",
            Change::Unchanged => "unchanged",
            Change::Reactivated => "reactivated",
        };
        self.matches.get_or_create(&MatchLabels { outcome }).inc();
    }

    /// The metrics of the listener for clients.
    pub fn connections(&self) -> ConnectionMetrics {
        self.connections.clone()
    }

    /// Renders all metrics in the format of OpenMetrics 1.0, which Prometheus reads. Gauges of the pool and of the queue are
    /// read now.
    pub fn text(
        &self,
        pool: &RequestPool,
        group_commit: &GroupCommit,
        expiring: &[ExpiringKey],
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("customer_match");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the server", build);
        registry.register("http_requests", "Finished requests", self.requests.clone());
        let durations = self.durations.clone();
        let help = "Time from the headers of a request to its response";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations);
        registry.register("http_requests_in_flight", "Requests in flight", self.in_flight.clone());
        registry.register("http_errors", "Error responses by error code", self.errors.clone());
        registry.register("matches", "Committed matches by outcome", self.matches.clone());
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
        let Counters { batch_sizes, retries, isolated, lost_answers } = group_commit.counters().clone();
        registry.register("match_batch_size", "Writes in one commit", batch_sizes);
        registry.register("match_batch_retries", "Retried batches", retries);
        let help = "Batches written one write at a time, because of a lock or an error of one of them";
        registry.register("match_batches_isolated", help, isolated);
        let help = "Attempts at a batch whose answer was lost";
        registry.register("match_batch_answers_lost", help, lost_answers);
        let count = |count| gauge(u32::try_from(count).unwrap_or(u32::MAX));
        let depth = count(group_commit.depth());
        registry.register("match_queue_depth", "Writes that are queued or in flight", depth);
        let blocked = count(group_commit.blocked());
        registry.register("match_writes_blocked", "Writes blocked by a lock of another transaction", blocked);
        let idle = pool.idle_connections();
        let open = usize::try_from(pool.connections_in_use()).unwrap_or(usize::MAX).saturating_add(idle);
        registry.register("db_pool_connections", "Open connections of the pool", count(open));
        registry.register("db_pool_idle_connections", "Idle connections of the pool", count(idle));
        let max = count(usize::try_from(pool.max_connections()).unwrap_or(usize::MAX));
        registry.register("db_pool_max_connections", "Capacity of the pool", max);
        let acquire = pool.acquire_duration.clone();
        let help = "Time that requests waited for a connection of the pool";
        registry.register_with_unit("db_pool_acquire_duration", help, Unit::Seconds, acquire);
        registry.register("api_key_days_left", "Days until an active API key expires", days_left(expiring));
        let dropped: Counter = Counter::default();
        dropped.inc_by(telemetry::dropped_lines());
        registry.register(
            "log_dropped_lines",
            "Log lines dropped because stderr was not read in time",
            dropped,
        );
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
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

fn gauge(value: u32) -> impl Metric {
    let gauge: Gauge = Gauge::default();
    gauge.set(value.into());
    gauge
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
