//! The origins of web front ends that may call the API.

use std::str::FromStr;

use axum::http::HeaderValue;
use axum::http::uri::Authority;
use clap::Args;

#[derive(Args, Debug, Clone)]
pub struct Cors {
    /// Origin of a web front end that may call, such as https://app.example; repeat for more [default: any]
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
    /// The allowed origins; `None` for any.
    pub fn origins(&self) -> Option<Vec<HeaderValue>> {
        let given = || self.origins.iter().map(|Origin(origin)| origin.clone()).collect();
        (!self.origins.is_empty()).then(given)
    }
}

/// An origin as browsers serialise it (RFC 6454, 6.2), because it is compared with their header as text.
#[derive(Debug, Clone)]
struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "must be an origin as browsers send it, such as https://app.example or http://localhost:3000";
        let text = text.trim();
        let (scheme, host) = text.split_once("://").ok_or(FORM)?;
        let authority: Authority = host.parse().map_err(|_| FORM)?;
        let bare = match authority.port_u16() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().into(),
        };
        let implied_port =
            matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let as_written = !scheme.is_empty() && !authority.host().is_empty() && bare == host;
        if !as_written || implied_port || text.contains(char::is_uppercase) {
            return Err(FORM);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| FORM)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example")]
    #[case(" http://localhost:3000 ")]
    #[case("http://[::1]:3000")]
    #[case("https://xn--bcher-kva.example")]
    #[case("capacitor://localhost")]
    fn accepts(#[case] text: &str) {
        assert_eq!(text.parse::<Origin>().unwrap().0, text.trim());
    }

    #[rstest]
    #[case("*")]
    #[case("")]
    #[case("null")]
    #[case("app.example")]
    #[case("://app.example")]
    #[case("https://")]
    #[case("https://:8443")]
    #[case("https://app.example/")]
    #[case("https://app.example/path")]
    #[case("https://app.example?query")]
    #[case("https://user@app.example")]
    #[case("https://App.example")]
    #[case("https://app.example:443")]
    #[case("http://app.example:80")]
    #[case("https://app.example:")]
    #[case("https://app.example:99999")]
    #[case("https://app.example:08443")]
    #[case("https://*.example, https://a b")]
    fn rejects(#[case] text: &str) {
        assert!(text.parse::<Origin>().is_err());
    }
}
