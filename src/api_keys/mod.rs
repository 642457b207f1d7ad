//! API key lookups without a database round trip: a cache of the keys in use, which a background task refreshes.
//!
//! ```text
//! request ─→ find ─→ cached and fresh ──────→ proceed
//!              ├───→ cached, but not fresh ─→ wait for the next refresh, which starts at once
//!              └───→ not cached ────────────→ a lookup in the database, then wait for the first refresh
//!
//! refresher: every 250 ms one query for the states of all keys in use, then the exchange of quota leases
//! ```
//!
//! - [`cache`] is what requests call. A cached state is served while it is fresh, so that a revocation takes effect on every
//!   server within a second (contract §3), and up to ten seconds while no connection can refresh it.
//! - [`lookup`] looks up the keys that are not cached, all pending ones with one query.
//! - [`refresher`] polls the database. Polling alone keeps the promised second; [`change_listener`] only shortens it to
//!   milliseconds where notifications arrive.
//! - [`quota_exchange`] divides each key's rate limit among the servers on one database; [`cached_key`] enforces this
//!   server's part of it. A server that is the only one holds the whole limit, exactly.
//! - [`invalid_key_limiter`] rejects clients that try many keys that do not exist.
//! - [`connection`]: each background task has a connection of its own, and uses the pool only while that cannot be had.
//!
//! The times may be tuned while `max_staleness` stays below the promised second, and the interval plus the time of a usual
//! refresh below `max_staleness`, as requests would wait otherwise. Two rules must stay: a request never waits for the pool
//! because of its key, and a server lowers its own quota before another one can raise its own.

mod cache;
mod cached_key;
mod change_listener;
mod connection;
mod invalid_key_limiter;
mod lookup;
mod quota_exchange;
mod refresher;

pub use cache::{ApiKeyCache, LookupError, RefreshPolicy};
pub use cached_key::CachedKey;
