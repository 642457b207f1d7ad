//! The condition of a write on the version of its relation (RFC 9110, 13.1).

use serde::Serialize;

/// What `If-Match` and `If-None-Match` demand. The default demands nothing.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Precondition {
    /// The relation exists and has one of these versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_match: Option<Versions>,
    /// The relation does not exist, or has none of these versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_none_match: Option<Versions>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Versions {
    #[serde(rename = "*")]
    Any,
    #[serde(untagged)]
    Of(Vec<i64>),
}

impl Precondition {
    pub fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_what_the_database_reads() {
        assert_eq!(json!(Precondition::default()), json!({}));
        let precondition =
            Precondition { if_match: Some(Versions::Of(vec![3, 4])), if_none_match: Some(Versions::Any) };
        assert_eq!(json!(precondition), json!({ "if_match": [3, 4], "if_none_match": "*" }));
    }
}
