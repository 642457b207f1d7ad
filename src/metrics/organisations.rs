//! Counts by organisation. The busiest have series of their own and the rest share one, so that the number of series is bounded.
//!
//! A request counts in the series that its organisation has at that moment, so no series ever falls. While there is room, an
//! organisation gets a series with its first request. After that they change hands when the metrics are read, and only if another
//! organisation has been more than twice as busy: of many that are equally busy each keeps what it has.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::ErrorCode;
use crate::group_commit::TenantWrites;

/// Organisations with series of their own.
const CAPACITY: usize = 100;
/// In the place of an id: the organisations without series of their own.
const OTHER: &str = "other";

#[derive(Default)]
pub(super) struct Organisations(Mutex<State>);

#[derive(Default)]
struct State {
    /// At most [`CAPACITY`].
    own: HashMap<i64, Organisation>,
    other: Counts,
    /// How busy each of the others is. Those that are idle are removed, so the requests of a while bound its size.
    rest: HashMap<i64, u64>,
}

#[derive(Default)]
struct Organisation {
    /// Requests, of which each reading of the metrics forgets half.
    busy: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    matches: u64,
    /// By code.
    errors: HashMap<&'static str, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    organisation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    organisation: String,
    code: &'static str,
}

impl Organisations {
    pub(super) fn request_finished(&self, id: i64, error: Option<ErrorCode>) {
        let mut state = self.lock();
        let counts = state.busy(id, 1);
        counts.requests += 1;
        if let Some(error) = error {
            *counts.errors.entry(error.entry().code).or_default() += 1;
        }
    }

    pub(super) fn match_committed(&self, id: i64) {
        self.lock().busy(id, 0).matches += 1;
    }

    /// Registers the counters, and the writes of each organisation that are pending at this moment.
    pub(super) fn register(&self, registry: &mut Registry, pending: &[TenantWrites]) {
        let mut state = self.lock();
        for tenant in pending {
            // Blocked writes may be all that an organisation does.
            state.busy(tenant.organisation_id, (tenant.pending + tenant.blocked) as u64);
        }
        state.reassign();
        let requests = Family::<Labels, Counter>::default();
        let matches = Family::<Labels, Counter>::default();
        let errors = Family::<ErrorLabels, Counter>::default();
        let (queued, blocked) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
        let of_own = state.own.iter().map(|(id, organisation)| (id.to_string(), &organisation.counts));
        for (organisation, counts) in of_own.chain([(OTHER.to_owned(), &state.other)]) {
            let labels = Labels { organisation: organisation.clone() };
            requests.get_or_create(&labels).inc_by(counts.requests);
            matches.get_or_create(&labels).inc_by(counts.matches);
            queued.get_or_create(&labels).set(0);
            blocked.get_or_create(&labels).set(0);
            for (code, count) in &counts.errors {
                let organisation = organisation.clone();
                errors.get_or_create(&ErrorLabels { organisation, code }).inc_by(*count);
            }
        }
        for tenant in pending {
            let id = tenant.organisation_id;
            let organisation = if state.own.contains_key(&id) { id.to_string() } else { OTHER.to_owned() };
            let labels = Labels { organisation };
            queued.get_or_create(&labels).inc_by(tenant.pending as i64);
            blocked.get_or_create(&labels).inc_by(tenant.blocked as i64);
        }
        registry.register("organisation_requests", "Finished requests by organisation", requests);
        registry.register("organisation_errors", "Error responses by organisation and error code", errors);
        registry.register("organisation_matches", "Committed matches by organisation", matches);
        let help = "Writes that are queued or in flight, by organisation";
        registry.register("organisation_writes_pending", help, queued);
        let help = "Writes blocked by a lock of another transaction, by organisation";
        registry.register("organisation_writes_blocked", help, blocked);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two counts that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds to how busy the organisation is, and returns where it counts.
    fn busy(&mut self, id: i64, by: u64) -> &mut Counts {
        if self.own.contains_key(&id) || self.own.len() < CAPACITY {
            let organisation = self.own.entry(id).or_default();
            organisation.busy += by;
            &mut organisation.counts
        } else {
            *self.rest.entry(id).or_default() += by;
            &mut self.other
        }
    }

    /// Gives the series of idle organisations to busy ones.
    fn reassign(&mut self) {
        let mut own: Vec<_> = self.own.iter().map(|(id, organisation)| (organisation.busy, *id)).collect();
        let mut rest: Vec<_> = self.rest.iter().map(|(id, busy)| (*busy, *id)).collect();
        own.sort_unstable();
        rest.sort_unstable_by_key(|busy| Reverse(*busy));
        for ((idle, from), (busy, to)) in own.into_iter().zip(rest) {
            if busy <= 2 * idle {
                break;
            }
            self.own.remove(&from);
            self.own.insert(to, Organisation { busy, ..Organisation::default() });
            self.rest.remove(&to);
            self.rest.insert(from, idle);
        }
        self.own.values_mut().for_each(|organisation| organisation.busy /= 2);
        self.rest.retain(|_, busy| {
            *busy /= 2;
            *busy > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(organisations: &Organisations, id: i64, count: usize) {
        (0..count).for_each(|_| organisations.request_finished(id, None));
    }

    fn samples(organisations: &Organisations) -> Vec<String> {
        let mut registry = Registry::default();
        organisations.register(&mut registry, &[]);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines()
            .filter(|line| line.starts_with("organisation_requests_total"))
            .map(str::to_owned)
            .collect()
    }

    fn has(samples: &[String], organisation: &str, value: u64) -> bool {
        samples.contains(&format!("organisation_requests_total{{organisation=\"{organisation}\"}} {value}"))
    }

    #[test]
    fn the_busiest_have_series_of_their_own_and_no_series_falls() {
        let organisations = Organisations::default();
        let full = CAPACITY as i64;
        (1..=full).for_each(|id| requests(&organisations, id, 8));
        requests(&organisations, full + 1, 16);
        let before = samples(&organisations);
        assert_eq!(before.len(), CAPACITY + 1);
        assert!(has(&before, "1", 8) && has(&before, "other", 16), "as busy as the others: {before:?}");

        requests(&organisations, full + 2, 100);
        let busy = samples(&organisations);
        assert!(has(&busy, "other", 116) && has(&busy, "102", 0), "{busy:?}");
        requests(&organisations, full + 2, 1);
        let (after, without) = (samples(&organisations), 8 * CAPACITY as u64);
        assert_eq!(after.len(), CAPACITY + 1);
        assert!(has(&after, "other", 116) && has(&after, "102", 1), "{after:?}");
        let with_eight = after.iter().filter(|sample| sample.ends_with(" 8")).count() as u64;
        assert_eq!(with_eight * 8, without - 8, "one has lost its series");
    }

    #[test]
    fn an_idle_organisation_is_forgotten() {
        let organisations = Organisations::default();
        (0..=CAPACITY as i64).for_each(|id| requests(&organisations, id, 4));
        (0..3).for_each(|_| drop(samples(&organisations)));
        assert!(organisations.lock().rest.is_empty());
    }
}
