//! Entity tags (RFC 9110, 8.8.3): the header `ETag`, and the headers of a request that name versions by it.

use std::fmt::Display;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::{Precondition, Versions};
use crate::error::ApiError;

/// White space around the elements of a list, and the comma between them. Elements may be empty (RFC 9110, 5.6.1.2).
const SEPARATORS: [char; 3] = [' ', '\t', ','];

/// The strong entity tag of a version. Its name has no quotation mark.
#[expect(clippy::expect_used, reason = "versions are named by digits and base64")]
pub(crate) fn entity_tag(version: impl Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("a header value")
}

/// The condition that a call puts on the version of its relation.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    // A weak tag never matches strongly (RFC 9110, 8.8.3.2).
    let if_match = EntityTags::of(headers, &IF_MATCH)?.map(|tags| tags.versions(|tag| !tag.weak));
    let if_none_match = EntityTags::of(headers, &IF_NONE_MATCH)?.map(|tags| tags.versions(|_| true));
    Ok(Precondition { if_match, if_none_match })
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntityTags {
    /// `*`: whatever the version is.
    Any,
    List(Vec<EntityTag>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EntityTag {
    weak: bool,
    /// With its quotation marks.
    quoted: String,
}

impl EntityTags {
    /// `None` without the header.
    ///
    /// # Errors
    ///
    /// The header is malformed. An empty one is too: the client meant a version, and does not have it.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, ApiError> {
        let mut lines =
            headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let list = lines.collect::<Vec<_>>().join(",");
        let tags = if list.trim() == "*" { Some(Self::Any) } else { parse(&list).map(Self::List) };
        tags.map(Some).ok_or_else(|| {
            ApiError::bad_request(format!(
                "The header {name} must be * or a list of entity tags, each between quotation marks, such as \"3\"."
            ))
        })
    }

    /// Those that the tags which may match name. A tag that is not a version's names none.
    fn versions(&self, may_match: impl Fn(&EntityTag) -> bool) -> Versions {
        match self {
            Self::Any => Versions::Any,
            Self::List(tags) => Versions::Of(
                tags.iter().filter(|tag| may_match(tag)).filter_map(EntityTag::version).collect(),
            ),
        }
    }

    /// The comparison for `If-None-Match` (RFC 9110, 13.1.2).
    pub(crate) fn match_weakly(&self, tag: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|known| known.quoted == *tag),
        }
    }
}

impl EntityTag {
    fn version(&self) -> Option<i64> {
        let version = self.quoted.trim_matches('"').parse().ok()?;
        (entity_tag(version) == self.quoted).then_some(version)
    }
}

/// The entity tags of a list. `None`: it is malformed or has none.
fn parse(list: &str) -> Option<Vec<EntityTag>> {
    let mut tags = Vec::new();
    let mut rest = list.trim_matches(SEPARATORS);
    while !rest.is_empty() {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if opaque.chars().any(|c| c <= ' ' || c == '\u{7f}') {
            return None;
        }
        tags.push(EntityTag { weak, quoted: format!("\"{opaque}\"") });
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches(SEPARATORS);
    }
    Some(tags).filter(|tags| !tags.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn read(lines: &[&'static str]) -> Result<Option<EntityTags>, ApiError> {
        let headers = lines.iter().map(|line| (IF_MATCH, HeaderValue::from_static(line))).collect();
        EntityTags::of(&headers, &IF_MATCH)
    }

    #[rstest]
    #[case::one(&["\"3\""], &[(false, "\"3\"")])]
    #[case::weak(&["W/\"3\""], &[(true, "\"3\"")])]
    #[case::empty(&["\"\""], &[(false, "\"\"")])]
    #[case::comma_inside(&["\"a,b\" , \"c\""], &[(false, "\"a,b\""), (false, "\"c\"")])]
    #[case::no_escapes(&[r#""a\","b""#], &[(false, r#""a\""#), (false, "\"b\"")])]
    #[case::asterisk_inside(&["\"*\""], &[(false, "\"*\"")])]
    #[case::empty_elements(&[" ,, \"1\",\t,W/\"2\" ,"], &[(false, "\"1\""), (true, "\"2\"")])]
    #[case::several_lines(&["\"1\"", "\"2\""], &[(false, "\"1\""), (false, "\"2\"")])]
    fn reads_a_list(#[case] lines: &[&'static str], #[case] expected: &[(bool, &str)]) {
        let tag = |(weak, quoted): &(bool, &str)| EntityTag { weak: *weak, quoted: (*quoted).to_owned() };
        let expected = EntityTags::List(expected.iter().map(tag).collect());
        assert_eq!(read(lines).unwrap(), Some(expected));
    }

    #[test]
    fn reads_an_asterisk_and_nothing() {
        assert_eq!(read(&[" * "]).unwrap(), Some(EntityTags::Any));
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[rstest]
    #[case::empty(&[""])]
    #[case::commas(&[" , ,"])]
    #[case::no_quotation_marks(&["3"])]
    #[case::single_ones(&["'3'"])]
    #[case::open(&["\"3"])]
    #[case::space_inside(&["\"3 4\""])]
    #[case::no_comma(&["\"3\" \"4\""])]
    #[case::text_behind(&["\"3\"-gzip"])]
    #[case::lower_case_w(&["w/\"3\""])]
    #[case::space_behind_w(&["W/ \"3\""])]
    #[case::asterisk_in_a_list(&["*, \"3\""])]
    #[case::two_asterisks(&["*", "*"])]
    fn rejects(#[case] lines: &[&'static str]) {
        assert!(read(lines).is_err());
    }

    #[rstest]
    #[case::strong(r#""3", W/"4""#, &[3], &[3, 4])]
    #[case::of_something_else(r#""abc", "5""#, &[5], &[5])]
    #[case::in_another_form(r#""03", "+3", "3.0", """#, &[], &[])]
    #[case::out_of_range(r#""9223372036854775808""#, &[], &[])]
    fn names_versions(#[case] list: &'static str, #[case] strong: &[i64], #[case] weak: &[i64]) {
        let both = [IF_MATCH, IF_NONE_MATCH].map(|name| (name, HeaderValue::from_static(list)));
        let Precondition { if_match, if_none_match } = precondition(&HeaderMap::from_iter(both)).unwrap();
        assert_eq!(if_match, Some(Versions::Of(strong.into())));
        assert_eq!(if_none_match, Some(Versions::Of(weak.into())));
    }

    #[rstest]
    #[case(&["\"3\""], true)]
    #[case(&["\"2\", W/\"3\""], true)]
    #[case(&["*"], true)]
    #[case(&["\"03\""], false)]
    #[case(&["\"2\""], false)]
    fn matches_weakly(#[case] lines: &[&'static str], #[case] expected: bool) {
        assert_eq!(read(lines).unwrap().unwrap().match_weakly(&entity_tag(3)), expected);
    }
}
