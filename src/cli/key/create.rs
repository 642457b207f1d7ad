//! `customer-match key create`

use anyhow::Context;
use chrono::{Days, Utc};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use super::print_new_key;
use crate::cli::database::{DatabaseArgs, with_pool};
use crate::cli::error::usage_error;
use crate::cli::organisation_selector::OrganisationSelector;
use crate::cli::output::Output;
use crate::config::limit_per_minute;
use crate::db::api_key::{self, NewKey};
use crate::domain::{ApiKey, KeyKind, OriginPattern, Scope};

/// The documented default.
const DEFAULT_DAYS: u64 = 90;
/// More than a person who fills in forms needs.
const CLIENT_LIMIT: u32 = 60;

/// Create a key and print it, alone on stdout. It cannot be printed again
#[derive(Args)]
pub(in crate::cli) struct Create {
    /// Organisation whose data the key gives access to
    #[arg(long, value_name = "ID|NAME", env = "CUSTOMER_MATCH_ORGANISATION")]
    organisation: OrganisationSelector,
    /// Kind of the key, which its first four characters show
    #[arg(long, value_parser = kind_parser())]
    kind: KeyKind,
    /// What the key is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Days until the key expires [default: 90]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    expires_in_days: Option<u64>,
    /// Create a key that does not expire
    #[arg(long)]
    never_expires: bool,
    /// Scope of the key; repeat for more [default: every scope]
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)))]
    scopes: Vec<String>,
    /// Calls within any minute; not for the kind root, which has no limit [default: the limit of its kind, a setting of the
    /// server]
    #[arg(long, value_name = "N", value_parser = limit_per_minute())]
    limit_per_minute: Option<u32>,
    /// Create a key that may stand in a web page: it can only match, from the allowed origins, and reads nothing
    #[arg(long, requires = "allowed_origins")]
    publishable: bool,
    /// Origin of the web pages that may use a publishable key, such as https://app.example or https://*.example.com; repeat for
    /// more
    #[arg(long = "allowed-origin", value_name = "ORIGIN", value_delimiter = ',', requires = "publishable")]
    allowed_origins: Vec<OriginPattern>,
    /// Calls within any minute with a publishable key from one client IP address (IPv6: from one /64) [default: 60]
    #[arg(long, value_name = "N", requires = "publishable", value_parser = limit_per_minute())]
    client_limit_per_minute: Option<u32>,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: Output,
}

fn kind_parser() -> impl TypedValueParser<Value = KeyKind> {
    PossibleValuesParser::new(KeyKind::ALL.map(KeyKind::as_str)).try_map(|text| text.parse::<KeyKind>())
}

impl Create {
    fn scopes(&self) -> anyhow::Result<Vec<String>> {
        if !self.publishable {
            return Ok(self.scopes.clone());
        }
        if self.kind == KeyKind::Root {
            return Err(usage_error("a publishable key has a limit: choose another kind than root"));
        }
        if self.scopes.iter().any(|scope| scope != Scope::Match.as_str()) {
            return Err(usage_error(
                "a publishable key has at most the scope customer.match: what stands in a page is public",
            ));
        }
        Ok(vec![Scope::Match.to_string()])
    }

    pub(super) async fn run(self) -> anyhow::Result<()> {
        let key = ApiKey::generate(self.kind);
        let expires_at = match (self.never_expires, self.expires_in_days) {
            (true, Some(_)) => {
                return Err(usage_error(
                    "--never-expires and --expires-in-days contradict each other: give one of them",
                ));
            }
            (true, None) => None,
            (false, days) => Some(Utc::now() + Days::new(days.unwrap_or(DEFAULT_DAYS))),
        };
        if self.kind == KeyKind::Root && self.limit_per_minute.is_some() {
            return Err(usage_error(
                "a key of the kind root has no limit: leave out --limit-per-minute, or choose another kind",
            ));
        }
        let allowed_origins: Vec<_> =
            self.allowed_origins.iter().map(|origin| origin.as_str().into()).collect();
        let scopes = self.scopes()?;
        let new = NewKey {
            description: &self.description,
            scopes: &scopes,
            expires_at,
            limit_per_minute: self.limit_per_minute,
            allowed_origins: &allowed_origins,
            client_limit_per_minute: self
                .publishable
                .then(|| self.client_limit_per_minute.unwrap_or(CLIENT_LIMIT)),
        };
        let id = with_pool(&self.database, async |pool| {
            let organisation = self.organisation.find(pool).await?;
            let created = api_key::create(pool, organisation, &key, &new).await?;
            created.context("the generated key exists already: try again")
        })
        .await?;
        print_new_key(&self.output, id, &key, expires_at, json!({}), "")
    }
}
