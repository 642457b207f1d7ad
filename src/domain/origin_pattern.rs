//! Origins of web pages that a publishable key may stand in (contract §3).

use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use url::{Origin, Url};

static FORMAT: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?";
    let host = format!(r"{label}(\.{label})*|\*(\.{label}){{2,}}|\[[0-9a-f:.]+\]");
    super::pattern(&format!("^[a-z][a-z0-9+.-]*://({host})(:[0-9]+)?$"))
});

/// Whether browsers serialise an origin like this (RFC 6454, 6.2). It is compared with their header as text.
pub fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    match url.origin() {
        origin @ Origin::Tuple(..) => origin.ascii_serialization() == text,
        // As of the web view of an app: `capacitor://localhost`.
        Origin::Opaque(_) => {
            url.has_host()
                && url.username().is_empty()
                && format!("{}://{}", url.scheme(), url.authority()) == text
        }
    }
}

/// An origin as browsers send it. `*` for the first label of the host stands for one label or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(String);

#[derive(Debug, thiserror::Error)]
#[error(
    "must be an origin as browsers send it, such as https://app.example, http://localhost:3000 or https://*.example.com"
)]
pub struct OriginPatternError;

impl OriginPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern, which is a valid one, matches an origin that is compared as it was sent.
    pub fn matches(pattern: &str, origin: &str) -> bool {
        let Some((scheme, parent)) = pattern.split_once("*.") else { return pattern == origin };
        let labels = origin
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_suffix(parent))
            .and_then(|rest| rest.strip_suffix('.'));
        labels.is_some_and(|labels| {
            let is_label = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            labels.split('.').all(is_label)
        })
    }
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, OriginPatternError> {
        let text = text.trim();
        let is_valid = FORMAT.is_match(text) && is_origin(&text.replacen("*.", "any.", 1));
        if is_valid { Ok(Self(text.into())) } else { Err(OriginPatternError) }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://app.example")]
    #[case(" http://localhost:3000 ")]
    #[case("http://127.0.0.1:8000")]
    #[case("http://[::1]:3000")]
    #[case("https://xn--bcher-kva.example")]
    #[case("https://*.example.com")]
    #[case("https://*.example.com:8443")]
    #[case("https://*.a.b.example.com")]
    #[case("capacitor://localhost")]
    fn accepts(#[case] text: &str) {
        assert_eq!(text.parse::<OriginPattern>().unwrap().as_str(), text.trim());
    }

    #[rstest]
    #[case("")]
    #[case("*")]
    #[case("null")]
    #[case("app.example")]
    #[case("://app.example")]
    #[case("https://")]
    #[case("https://*")]
    #[case("https://*.")]
    #[case("https://*.com")]
    #[case("https://*example.com")]
    #[case("https://app.*.example.com")]
    #[case("https://*.*.example.com")]
    #[case("*://app.example")]
    #[case("https://app.example:*")]
    #[case("https://:8443")]
    #[case("https://app.example/")]
    #[case("https://app.example/path")]
    #[case("https://app.example?query")]
    #[case("https://user@app.example")]
    #[case("https://App.example")]
    #[case("https://bücher.example")]
    #[case("https://app..example")]
    #[case("https://app.example.")]
    #[case("https://app.example:443")]
    #[case("http://app.example:80")]
    #[case("https://app.example:")]
    #[case("http://[0:0:0:0:0:0:0:1]")]
    #[case("http://192.0.2.001")]
    #[case("https://*.0.2.1")]
    #[case("https://app.example:99999")]
    #[case("https://app.example:08443")]
    #[case("https://a.example https://b.example")]
    #[case("https://app.example\r\nx: y")]
    fn rejects(#[case] text: &str) {
        assert!(text.parse::<OriginPattern>().is_err());
    }

    #[rstest]
    #[case("https://app.example", "https://app.example", true)]
    #[case("https://app.example", "http://app.example", false)]
    #[case("https://app.example", "https://app.example:8443", false)]
    #[case("https://app.example", "https://app.example.evil.example", false)]
    #[case("https://app.example", "https://www.app.example", false)]
    #[case("https://app.example", "https://APP.example", false)]
    #[case("https://app.example", "null", false)]
    #[case("https://app.example", "", false)]
    #[case("https://*.example.com", "https://app.example.com", true)]
    #[case("https://*.example.com", "https://a.b.example.com", true)]
    #[case("https://*.example.com", "https://example.com", false)]
    #[case("https://*.example.com", "https://.example.com", false)]
    #[case("https://*.example.com", "https://evilexample.com", false)]
    #[case("https://*.example.com", "https://a..example.com", false)]
    #[case("https://*.example.com", "http://app.example.com", false)]
    #[case("https://*.example.com", "https://app.example.com:8443", false)]
    #[case("https://*.example.com", "https://app.example.com.evil.example", false)]
    #[case("https://*.example.com", "https://evil.example/.example.com", false)]
    #[case("https://*.example.com", "https://evil.example?.example.com", false)]
    #[case("https://*.example.com", "https://user@app.example.com", false)]
    #[case("https://*.example.com", "https://*.example.com", false)]
    #[case("https://*.example.com:8443", "https://app.example.com:8443", true)]
    #[case("https://*.example.com:8443", "https://app.example.com", false)]
    fn matches(#[case] pattern: &str, #[case] origin: &str, #[case] expected: bool) {
        assert_eq!(OriginPattern::matches(pattern, origin), expected);
    }
}
