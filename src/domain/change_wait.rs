//! How long a call waits for a change.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Whole seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeWait(u8);

#[derive(Debug, thiserror::Error)]
#[error("must be a whole number of seconds from 0 to 60")]
pub struct ChangeWaitError;

impl ChangeWait {
    /// Not longer than a proxy waits for a response (nginx: 60 s).
    pub const RANGE: RangeInclusive<u8> = 0..=60;

    pub fn get(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for ChangeWait {
    type Err = ChangeWaitError;

    fn from_str(text: &str) -> Result<Self, ChangeWaitError> {
        let seconds = text.parse().ok().filter(|seconds| Self::RANGE.contains(seconds));
        seconds.map(Self).ok_or(ChangeWaitError)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(0))]
    #[case("60", Some(60))]
    #[case("61", None)]
    #[case("-1", None)]
    #[case("0.5", None)]
    #[case("30s", None)]
    fn seconds(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(text.parse().ok().map(|wait: ChangeWait| wait.get().as_secs()), expected);
    }
}
