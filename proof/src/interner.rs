//! Strings that recur in a history, each stored once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An interned string. The default is the empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

impl Symbol {
    /// Stands for strings that need not be told from each other.
    pub const OTHER: Self = Self(u32::MAX);
}

pub struct Interner(Mutex<Table>);

struct Table {
    texts: Vec<String>,
    symbols: HashMap<String, Symbol>,
}

impl Default for Interner {
    fn default() -> Self {
        let table = Table { texts: vec![String::new()], symbols: HashMap::from([Default::default()]) };
        Self(Mutex::new(table))
    }
}

impl Interner {
    pub fn symbol(&self, text: &str) -> Symbol {
        let mut table = self.lock();
        if let Some(symbol) = table.symbols.get(text) {
            return *symbol;
        }
        // Memory is exhausted long before four thousand million strings.
        let symbol = Symbol(u32::try_from(table.texts.len()).unwrap_or(u32::MAX - 1));
        table.texts.push(text.to_owned());
        table.symbols.insert(text.to_owned(), symbol);
        symbol
    }

    pub fn text(&self, symbol: Symbol) -> String {
        let index = usize::try_from(symbol.0).unwrap_or(usize::MAX);
        self.lock().texts.get(index).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
