//! Texts that come up again and again, each kept once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stands for a text; the default for the empty one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

/// All texts of a run.
pub struct Symbols(Mutex<Table>);

struct Table {
    texts: Vec<String>,
    symbols: HashMap<String, Symbol>,
}

impl Default for Symbols {
    fn default() -> Self {
        let table = Table { texts: vec![String::new()], symbols: HashMap::from([Default::default()]) };
        Self(Mutex::new(table))
    }
}

impl Symbols {
    pub fn symbol(&self, text: &str) -> Symbol {
        let mut table = self.lock();
        if let Some(symbol) = table.symbols.get(text) {
            return *symbol;
        }
        // Four thousand million texts do not fit into memory.
        let symbol = Symbol(u32::try_from(table.texts.len()).unwrap_or(u32::MAX));
        table.texts.push(text.to_owned());
        table.symbols.insert(text.to_owned(), symbol);
        symbol
    }

    pub fn text(&self, symbol: Symbol) -> String {
        let place = usize::try_from(symbol.0).unwrap_or(usize::MAX);
        self.lock().texts.get(place).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
