//! The value of `--organisation`.

use std::convert::Infallible;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use sqlx::PgPool;

use super::error::no_organisation;
use crate::db::organisation;

/// An organisation by its id or, unless that is a number, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrganisationSelector {
    Id(i64),
    Name(String),
}

impl OrganisationSelector {
    /// The id of the organisation, which exists.
    pub(super) async fn find(&self, pool: &PgPool) -> anyhow::Result<i64> {
        let found = match self {
            Self::Id(id) => organisation::exists(pool, *id).await?.then_some(*id),
            Self::Name(name) => organisation::find_by_name(pool, name).await?,
        };
        found.ok_or_else(|| no_organisation(self))
    }
}

impl FromStr for OrganisationSelector {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl Display for OrganisationSelector {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(formatter, "{id}"),
            Self::Name(name) => write!(formatter, "\"{name}\""),
        }
    }
}
