//! The server as its users see it: the real router and the real binary, on a real Postgres.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod api_key;
mod command_line;
mod input;
mod matching;
mod races;
mod schema;
mod support;
