//! Which web front ends may call.

use std::str::FromStr;

use axum::http::HeaderValue;
use clap::Args;

/// See the fields.
#[derive(Args, Debug, Clone)]
pub struct Cors {
    /// Origin of a web front end that may call, such as https://app.example; repeat it for more. [default: any]
    #[arg(
        id = "cors-origin",
        long,
        value_name = "ORIGIN",
        env = "CUSTOMER_MATCH_CORS_ORIGINS",
        value_delimiter = ','
    )]
    origins: Vec<Origin>,
}

impl Cors {
    /// Those that may call, none of them twice as a browser would send it; `None` for any.
    pub fn origins(&self) -> Option<Vec<HeaderValue>> {
        // An empty variable is how many a tool unsets one.
        let given: Vec<_> = self.origins.iter().filter_map(|Origin(origin)| origin.clone()).collect();
        (!given.is_empty()).then_some(given)
    }
}

/// Scheme, host and port as browsers write them (RFC 6454, 6.2), for they are compared as text; empty for none.
#[derive(Debug, Clone)]
struct Origin(Option<HeaderValue>);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "must be an origin as browsers send it, such as https://app.example or http://localhost:3000";
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        let (scheme, host) = text.split_once("://").ok_or(FORM)?;
        let lower = |text: &str, more: &[u8]| {
            let sane =
                |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || more.contains(&octet);
            !text.is_empty() && text.bytes().all(sane)
        };
        let (default_port, sane) =
            (if scheme == "https" { ":443" } else { ":80" }, lower(scheme, b"+-.") && lower(host, b"-.:[]"));
        if !sane || (scheme.starts_with("http") && host.ends_with(default_port)) {
            return Err(FORM);
        }
        HeaderValue::from_str(text).map(|value| Self(Some(value))).map_err(|_| FORM)
    }
}
