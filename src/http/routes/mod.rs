//! The endpoints, one a file: its input, its output, its OpenAPI description, its handler.

pub(crate) mod customer_create;
pub(crate) mod customer_detail;
pub(crate) mod customer_list;
pub(crate) mod customer_match;
pub(crate) mod customer_match_batch;
mod customer_profile;
pub(crate) mod customer_relation;
pub(crate) mod customer_unmatch;
pub(crate) mod customer_update;
pub(crate) mod fallback;
pub(crate) mod health;
pub(crate) mod logout;
pub(crate) mod magic_auth;
pub(crate) mod match_changes;
pub(crate) mod matched_customer_list;
pub(crate) mod metrics;
pub(crate) mod ping;
mod success;
