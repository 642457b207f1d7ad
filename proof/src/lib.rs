//! What the history checker and the crash test have in common. See docs/proof.md.
//!
//! - [`model`] says what a relation is, [`search`] finds an order that explains a history, [`shrink`] what cannot be
//! - [`customers`] and [`client`] make the calls, [`api`] sends them, [`call`] is what is written down
//! - [`run`] puts them together, [`judge`] says whether all is well, [`story`] and [`report`] put it in words

pub mod api;
pub mod call;
pub mod checker;
pub mod client;
pub mod customers;
pub mod explain;
pub mod interner;
pub mod model;
pub mod report;
pub mod run;
pub mod search;
pub mod shrink;
#[cfg(test)]
mod tests;
