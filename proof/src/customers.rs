//! The customers of a run, and the spellings of their e-mail addresses.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::distr::{Alphanumeric, SampleString};
use rand::prelude::*;

/// A customer of this run, whether the server has it yet or not.
pub type Id = u32;

/// The few about which most calls are. Two are registered at the start, matches create the others.
pub const FEW: Range<Id> = 0..4;
pub const FEW_REGISTERED: Range<Id> = 0..2;
/// The many, in the same way.
pub const MANY: Range<Id> = 4..124;
pub const MANY_REGISTERED: Range<Id> = 4..84;
/// From here on: newcomers, each the subject of a few calls.
pub const FIRST_NEWCOMER: Id = 1_000;
/// From here on: two customers of each other organisation.
pub const FIRST_NEIGHBOUR: Id = 500_000_000;
/// From here on: customers of rejected calls, which must never exist.
pub const FIRST_OUTSIDER: Id = 1_000_000_000;

/// The two of an organisation; that of the index 0 is not a neighbour but the one that most calls are in.
pub fn neighbours(organisation: usize) -> [Id; 2] {
    let first = FIRST_NEIGHBOUR + 2 * Id::try_from(organisation).unwrap_or_default();
    [first, first + 1]
}

/// The index of the customer's organisation.
pub fn organisation(id: Id) -> usize {
    if (FIRST_NEIGHBOUR..FIRST_OUTSIDER).contains(&id) {
        usize::try_from((id - FIRST_NEIGHBOUR) / 2).unwrap_or_default()
    } else {
        0
    }
}

/// The domain of all e-mail addresses in the normal form, and spellings of it (contract §5).
pub const DOMAIN: &str = "xn--bcher-kva.example";
const DOMAINS: [&str; 7] = [
    DOMAIN,
    "XN--BCHER-KVA.Example",
    "bücher.example",
    "BÜCHER.EXAMPLE",
    "bu\u{308}cher.example",
    "bücher\u{3002}example",
    "\u{ff42}ücher.example",
];

pub struct Customers {
    /// Distinguishes this run's customers from those of earlier runs.
    run: String,
    references: Mutex<HashMap<Id, String>>,
}

impl Default for Customers {
    fn default() -> Self {
        // Not from the seed: a repeated run must not meet its own customers.
        let run = Alphanumeric.sample_string(&mut rand::rng(), 8).to_lowercase();
        Self { run, references: Mutex::default() }
    }
}

impl Customers {
    /// The e-mail address in the normal form.
    pub fn email(&self, id: Id) -> String {
        format!("proof.é.{}.{id}@{DOMAIN}", self.run)
    }

    /// The inverse of [`Customers::email`].
    pub fn with_email(&self, email: &str) -> Option<Id> {
        let local = email.strip_suffix(DOMAIN)?.strip_suffix('@')?;
        local.strip_prefix("proof.é.")?.strip_prefix(&self.run)?.strip_prefix('.')?.parse().ok()
    }

    /// The e-mail address in one of its many spellings.
    pub fn spelling(&self, id: Id, random: &mut StdRng) -> String {
        let blank =
            |random: &mut StdRng| *["", "", " ", "\t", "\r\n", "\u{3000}"].choose(random).unwrap_or(&"");
        let mut text = blank(random).to_owned();
        for letter in format!("proof.é.{}.{id}", self.run).chars() {
            let _ = match letter {
                'é' => write!(text, "{}", ["é", "É", "e\u{301}", "E\u{301}"].choose(random).unwrap_or(&"é")),
                _ if random.random() => write!(text, "{}", letter.to_ascii_uppercase()),
                _ => write!(text, "{letter}"),
            };
        }
        text + "@" + DOMAINS.choose(random).unwrap_or(&DOMAIN) + blank(random)
    }

    /// The reference number, once an answer has shown it.
    pub fn reference(&self, id: Id) -> Option<String> {
        self.lock().get(&id).cloned()
    }

    /// Keeps the first one; the checker reports any other.
    pub fn learn(&self, id: Id, reference: &str) {
        self.lock().entry(id).or_insert_with(|| reference.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, String>> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
