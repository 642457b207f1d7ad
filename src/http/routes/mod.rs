//! One endpoint a file.

pub(super) mod customer_create;
pub(super) mod customer_detail;
pub(super) mod customer_match;
pub(super) mod customer_unmatch;
pub(super) mod fallback;
pub(super) mod health;
pub(super) mod logout;
pub(super) mod magic_auth;
pub(super) mod matched_customer_list;
pub mod metrics;
pub(super) mod ping;
mod success;
