//! Rate limits: the defaults of keys, and the limit of invalid keys and unknown identity ids.

use clap::builder::RangedI64ValueParser;
use clap::{Args, value_parser};

use crate::domain::KeyKind;

/// The documented limit.
const PROD: u32 = 500_000;
/// The documented limit.
const DEV: u32 = 1_000;

/// More than people mistype, and too few to load the database.
const INVALID_KEYS: u32 = 60;

#[derive(Args, Debug, Clone, Copy)]
#[command(next_help_heading = "Limits")]
pub struct RateLimits {
    /// Calls within any minute with a PROD key without a limit of its own
    #[arg(long = "prod-limit-per-minute", value_name = "N", default_value_t = PROD,
          env = "CUSTOMER_MATCH_PROD_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub prod: u32,
    /// Calls within any minute with a DEV_ key without a limit of its own
    #[arg(long = "dev-limit-per-minute", value_name = "N", default_value_t = DEV,
          env = "CUSTOMER_MATCH_DEV_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub dev: u32,
    /// Different invalid keys, and different unknown identity ids, within any minute from one client IP address (IPv6: from one
    /// /64)
    #[arg(long = "invalid-key-limit-per-minute", value_name = "N", default_value_t = INVALID_KEYS,
          env = "CUSTOMER_MATCH_INVALID_KEY_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub invalid_keys: u32,
}

/// At least 1: a key that may make no calls is revoked instead.
pub fn limit_per_minute() -> RangedI64ValueParser<u32> {
    // Narrows the range of the type, which an error message names.
    value_parser!(u32).range(1..)
}

impl RateLimits {
    /// The limit of a key, by its own limit if it has one; `None`: no limit.
    pub fn of(&self, kind: KeyKind, own: Option<u32>) -> Option<u32> {
        match kind {
            KeyKind::Prod => Some(own.unwrap_or(self.prod)),
            KeyKind::Dev => Some(own.unwrap_or(self.dev)),
            KeyKind::Root => None,
        }
    }
}
