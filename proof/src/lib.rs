//! The history checker and the crash test: docs/proof.md.
//!
//! - [`model`] is the sequential specification of a relation; [`search`] decides whether a history is linearizable; [`shrink`]
//!   minimises one that is not
//! - [`customers`] and [`client`] generate calls, [`api`] sends them, [`call`] is the record of one, [`locks`] the record of row locks
//!   that are held meanwhile
//! - [`feed`] follows the changes beside them
//! - [`run`] collects a history, [`checker`] compares it with the guarantees, [`explain`] and [`report`] print what was found

pub mod api;
pub mod call;
pub mod checker;
pub mod client;
pub mod customers;
pub mod explain;
pub mod feed;
pub mod interner;
pub mod locks;
pub mod model;
pub mod report;
pub mod run;
pub mod search;
pub mod shrink;
#[cfg(test)]
mod tests;
pub mod world;
