//! How many calls a minute are let in.

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::domain::KeyKind;

/// As documented for keys of the kind `PROD`.
const PROD: u32 = 500_000;
/// As documented for keys of the kind `DEV_`.
const DEV: u32 = 1_000;

/// More mistakes than people make, fewer than are worth a database's time.
const INVALID_KEYS: u32 = 60;

/// See the fields. Keys of the kind `ROOT` are not limited.
#[derive(Args, Debug, Clone, Copy)]
pub struct RateLimits {
    /// Calls within any minute with a PROD key that has no limit of its own.
    #[arg(long = "prod-limit-per-minute", value_name = "N", default_value_t = PROD,
          env = "CUSTOMER_MATCH_PROD_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub prod: u32,
    /// Calls within any minute with a DEV_ key that has no limit of its own.
    #[arg(long = "dev-limit-per-minute", value_name = "N", default_value_t = DEV,
          env = "CUSTOMER_MATCH_DEV_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub dev: u32,
    /// Calls within any minute with keys that do not exist, from one client address (IPv6: from one /64).
    #[arg(long = "invalid-key-limit-per-minute", value_name = "N", default_value_t = INVALID_KEYS,
          env = "CUSTOMER_MATCH_INVALID_KEY_LIMIT_PER_MINUTE", value_parser = limit_per_minute())]
    pub invalid_keys: u32,
}

/// What a limit may be: more than nothing. Whoever may do nothing has no key.
pub fn limit_per_minute() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..)
}

impl RateLimits {
    /// The limit of a key with or without one of its own; `None`: unlimited.
    pub fn of(&self, kind: KeyKind, own: Option<u32>) -> Option<u32> {
        match kind {
            KeyKind::Prod => Some(own.unwrap_or(self.prod)),
            KeyKind::Dev => Some(own.unwrap_or(self.dev)),
            KeyKind::Root => None,
        }
    }
}
