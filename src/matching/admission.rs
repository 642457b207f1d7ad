//! Who may wait for the writer: bounded in all, so that memory is, and for each organisation, so that one that floods the
//! server leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Matches that wait at the same time. With the longest notices in all of them this is 80 MB.
const PLACES: usize = 2048;
/// Those of one organisation.
const PLACES_OF_ONE: usize = PLACES / 2;

/// The waiting room.
#[derive(Clone, Default)]
pub(super) struct Admission(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    by_organisation: HashMap<i64, usize>,
}

/// A place in the waiting room, given up when dropped.
pub(super) struct Place {
    admission: Admission,
    organisation_id: i64,
}

impl Admission {
    /// `None`: full, come back later.
    pub(super) fn enter(&self, organisation_id: i64) -> Option<Place> {
        let mut taken = self.lock();
        if taken.all >= PLACES {
            return None;
        }
        let of_one = taken.by_organisation.entry(organisation_id).or_default();
        if *of_one >= PLACES_OF_ONE {
            return None;
        }
        *of_one += 1;
        taken.all += 1;
        drop(taken);
        Some(Place { admission: self.clone(), organisation_id })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // The counts are right whatever panicked: nothing in here does between two of them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.admission.lock();
        taken.all -= 1;
        if let Some(of_one) = taken.by_organisation.get_mut(&self.organisation_id) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.by_organisation.remove(&self.organisation_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organisation_leaves_room_for_the_others() {
        let admission = Admission::default();
        let mut places: Vec<_> = std::iter::from_fn(|| admission.enter(1)).collect();
        assert_eq!(places.len(), PLACES_OF_ONE);
        assert!(admission.enter(2).is_some());
        places.pop();
        assert!(admission.enter(1).is_some());
    }

    #[test]
    fn the_whole_is_bounded() {
        let admission = Admission::default();
        let places: Vec<_> = (0..).map_while(|organisation| admission.enter(organisation)).collect();
        assert_eq!(places.len(), PLACES);
        drop(places);
        assert!(admission.lock().by_organisation.is_empty(), "nothing is kept for those who left");
    }
}
