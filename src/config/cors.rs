//! The origins of web front ends that may call the API.

use std::str::FromStr;

use axum::http::HeaderValue;
use clap::Args;

use crate::domain::is_origin;

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Network")]
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

/// What no browser sends is rejected.
#[derive(Debug, Clone)]
struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "must be an origin as browsers send it, such as https://app.example or http://localhost:3000";
        const PATTERN: &str =
            "must be one origin: patterns such as https://*.app.example match nothing, name each origin";
        let text = text.trim();
        if text.contains('*') {
            return Err(PATTERN);
        }
        if !is_origin(text) {
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
    #[case("http://192.0.2.1:3000")]
    #[case("http://my_host")]
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
    #[case("https://*.app.example")]
    #[case("https://*")]
    #[case("capacitor://*")]
    #[case("https://app.*")]
    #[case("https://b\u{fc}cher.example")]
    #[case("https://app%2eexample")]
    #[case("http://[0:0:0:0:0:0:0:1]")]
    #[case("http://192.0.2.001")]
    #[case("HTTPS://app.example")]
    #[case("capacitor://localhost/")]
    #[case("capacitor://user@localhost")]
    #[case("blob:https://app.example")]
    #[case("file://")]
    fn rejects(#[case] text: &str) {
        assert!(text.parse::<Origin>().is_err());
    }
}
