//! Whom the clients match, and in how many spellings their addresses come.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::distr::{Alphanumeric, SampleString};
use rand::prelude::*;

/// A customer of this run, known to the server or not yet.
pub type Id = u32;

/// Few, so that calls meet: these are registered,
pub const FEW_REGISTERED: std::ops::Range<Id> = 0..2;
/// and these come into being by being matched.
pub const FEW: std::ops::Range<Id> = 0..4;
/// Many: these are registered,
pub const MANY_REGISTERED: std::ops::Range<Id> = 4..84;
/// and these come into being by being matched.
pub const MANY: std::ops::Range<Id> = 4..124;
/// From here on: a new one every few calls.
pub const FIRST_NEWCOMER: Id = 1_000;
/// From here on: in refused calls only, so that nobody may ever hear of them.
pub const FIRST_OUTSIDER: Id = 1_000_000_000;

/// The domain of all addresses in the normal form, and spellings of it (contract §5).
const DOMAIN: &str = "xn--bcher-kva.example";
const DOMAINS: [&str; 7] = [
    DOMAIN,
    "XN--BCHER-KVA.Example",
    "bücher.example",
    "BÜCHER.EXAMPLE",
    "bu\u{308}cher.example",
    "bücher\u{3002}example",
    "\u{ff42}ücher.example",
];

/// Everybody, of whom only the references must be remembered.
pub struct Customers {
    /// Tells this run's customers from those of others.
    run: String,
    references: Mutex<HashMap<Id, String>>,
}

impl Customers {
    pub fn new() -> Self {
        // Not by the seed: the same run again meets new customers.
        let run = Alphanumeric.sample_string(&mut rand::rng(), 8).to_lowercase();
        Self { run, references: Mutex::default() }
    }

    /// The address in the normal form.
    pub fn email(&self, id: Id) -> String {
        format!("proof.é.{}.{id}@{DOMAIN}", self.run)
    }

    /// The address in one of its many spellings.
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

    /// The reference, as soon as somebody has been told it.
    pub fn reference(&self, id: Id) -> Option<String> {
        self.lock().get(&id).cloned()
    }

    /// The first one counts; that all others are the same is for the judge to say.
    pub fn learn(&self, id: Id, reference: &str) {
        self.lock().entry(id).or_insert_with(|| reference.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, String>> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
