//! E-mail addresses and their normal form (contract §5).

use std::fmt;
use std::sync::LazyLock;

use email_address::{EmailAddress, Options};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use regex::Regex;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters that no part of an e-mail address may contain: control, format (zero-width, bidirectional, soft hyphen),
/// unassigned, white space, and others without a glyph. UTS 46 would silently drop some of them from a domain.
static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| super::pattern(r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]"));

/// A combining mark without a base character.
static LEADING_MARK: LazyLock<Regex> = LazyLock::new(|| super::pattern(r"(?:^|\.)\p{M}"));

/// An e-mail address in its normal form, which is unique within an organisation.
///
/// The normal form is trimmed, in Unicode NFC, with the domain as lower-case A-labels (UTS 46) and the local part in lower
/// case. It applies no rules of providers, such as dots or `+tag`, because a wrong merge of two people cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Email(String);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("must not be empty")]
    Empty,
    #[error("must be an e-mail address with an @")]
    NoAt,
    /// See [`INVISIBLE`].
    #[error("must be an e-mail address without white space, control or invisible characters")]
    Invisible,
    /// RFC 5321, 4.5.3.1.1.
    #[error("must be an e-mail address with at most 64 bytes before the @")]
    LocalPartTooLong,
    /// RFC 3696, erratum 1690.
    #[error("must be an e-mail address of at most 254 bytes")]
    TooLong,
    /// Not a dot-atom (RFC 5322, 3.2.3, with RFC 6531): quotes, comments, brackets, dots at the ends or in a row.
    #[error(
        "must be an e-mail address with a plain name before the @: no quotes, comments, brackets or stray dots"
    )]
    LocalPart,
    /// Not a domain name of several labels by UTS 46, or one with a numeric top level.
    #[error("must be an e-mail address with a valid domain name after the @")]
    Domain,
}

impl Email {
    /// Length of the normal form.
    pub const MAX_BYTES: usize = 254;
    const MAX_LOCAL_PART_BYTES: usize = 64;
    /// Longer than any input with a valid normal form: each byte of that comes from at most one character, and a decomposed
    /// character takes a dozen bytes.
    const MAX_INPUT_BYTES: usize = 4096;

    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailError::Empty);
        }
        if INVISIBLE.is_match(text) {
            return Err(EmailError::Invisible);
        }
        // Before the steps whose cost grows with the input.
        if text.len() > Self::MAX_INPUT_BYTES {
            return Err(EmailError::TooLong);
        }
        let text: String = text.nfc().collect();
        let (local_part, domain) = text.rsplit_once('@').ok_or(EmailError::NoAt)?;
        let local_part = normal_local_part(local_part)?;
        let domain = normal_domain(domain)?;
        let normal = format!("{local_part}@{domain}");
        if normal.len() > Self::MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        // `email_address` accepts letters and digits of every script but no combining marks, which Indic scripts need. Each
        // mark here follows a base character, so the structure is the same without them.
        let skeleton: String = normal.chars().filter(|&c| !is_combining_mark(c)).collect();
        let structure =
            Options::default().without_display_text().without_domain_literal().with_required_tld();
        EmailAddress::parse_with_options(&skeleton, structure).map_err(|_| EmailError::LocalPart)?;
        Ok(Self(normal))
    }
}

/// Lower-cases character by character, as `str::to_lowercase` depends on the context (final sigma), then applies NFC again,
/// which lower-casing can undo.
fn normal_local_part(text: &str) -> Result<String, EmailError> {
    let normal: String = text.chars().flat_map(char::to_lowercase).nfc().collect();
    if normal.len() > Email::MAX_LOCAL_PART_BYTES {
        return Err(EmailError::LocalPartTooLong);
    }
    // `email_address` accepts quoted strings.
    if normal.contains('"') || LEADING_MARK.is_match(&normal) {
        return Err(EmailError::LocalPart);
    }
    Ok(normal)
}

fn normal_domain(text: &str) -> Result<String, EmailError> {
    let domain = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| EmailError::Domain)?;
    let (_, top_level) = domain.rsplit_once('.').ok_or(EmailError::Domain)?;
    if top_level.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EmailError::Domain);
    }
    Ok(domain.into_owned())
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::text_value!(Email, EmailError);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::documented("jan@barasek.com", "jan@barasek.com")]
    #[case::trimmed_and_lower_case(" Jan@Barasek.COM ", "jan@barasek.com")]
    #[case::apostrophe("O'Brien@c.co", "o'brien@c.co")]
    #[case::plus("a+b@c.co", "a+b@c.co")]
    #[case::no_provider_rules("J.Doe+x@GoogleMail.com", "j.doe+x@googlemail.com")]
    #[case::decomposed_accent("E\u{301} @C.co".replace(' ', ""), "é@c.co")]
    #[case::domain_to_a_labels("a@BÜCHER.de", "a@xn--bcher-kva.de")]
    #[case::decomposed_domain("a@BU\u{308}CHER.de", "a@xn--bcher-kva.de")]
    #[case::a_labels_stay("a@xn--bcher-kva.de", "a@xn--bcher-kva.de")]
    #[case::upper_case_a_labels("a@XN--BCHER-KVA.de", "a@xn--bcher-kva.de")]
    #[case::full_width_domain("a@ｂ.com", "a@b.com")]
    #[case::ideographic_full_stop("a@b。com", "a@b.com")]
    #[case::chinese("用户@例子.中国", "用户@xn--fsqu00a.xn--fiqs8s")]
    #[case::hindi("संपर्क@डाटामेल.भारत", "संपर्क@xn--c2bd4bq1db8d.xn--h2brj9c")]
    #[case::hyphens_in_third_and_fourth_place("a@r3---sn.example.com", "a@r3---sn.example.com")]
    #[case::digits_in_the_domain("a@163.com", "a@163.com")]
    #[case::sigma_does_not_depend_on_its_place("ΟΔΟΣ@c.co", "οδοσ@c.co")]
    fn accepts(#[case] text: impl AsRef<str>, #[case] normal: &str) {
        let email = Email::parse(text.as_ref()).unwrap();
        assert_eq!(email.as_str(), normal);
        assert_eq!(Email::parse(normal).unwrap(), email, "the normal form of a normal form is itself");
    }

    #[rstest]
    #[case::empty("", EmailError::Empty)]
    #[case::blank(" \r\n", EmailError::Empty)]
    #[case::no_at("jan.barasek.com", EmailError::NoAt)]
    #[case::full_width_at("jan＠barasek.com", EmailError::NoAt)]
    #[case::only_at("@", EmailError::Domain)]
    #[case::no_local_part("@c.co", EmailError::LocalPart)]
    #[case::no_domain("a@", EmailError::Domain)]
    #[case::angle_brackets("<a@b.co>", EmailError::Domain)]
    #[case::display_name("Jan <a@b.co>", EmailError::Invisible)]
    #[case::display_name_without_space("Jan<a@b.co>", EmailError::Domain)]
    #[case::mailto("mailto:a@b.co", EmailError::LocalPart)]
    #[case::two_addresses("a@b.co,c@d.co", EmailError::LocalPart)]
    #[case::two_addresses_with_space("a@b.co, c@d.co", EmailError::Invisible)]
    #[case::two_ats("a@b@c.co", EmailError::LocalPart)]
    #[case::trailing_dot("a@b.co.", EmailError::Domain)]
    #[case::one_label("a@localhost", EmailError::Domain)]
    #[case::ip("a@127.0.0.1", EmailError::Domain)]
    #[case::ip_in_brackets("a@[127.0.0.1]", EmailError::Domain)]
    #[case::ipv6_in_brackets("a@[IPv6:::1]", EmailError::Domain)]
    #[case::numeric_top_level("a@b.123", EmailError::Domain)]
    #[case::underscore_in_domain("a@b_c.co", EmailError::Domain)]
    #[case::exclamation_mark_in_domain("a@b!c.co", EmailError::Domain)]
    #[case::label_begins_with_hyphen("a@-b.com", EmailError::Domain)]
    #[case::label_ends_with_hyphen("a@b-.com", EmailError::Domain)]
    #[case::double_dot_in_domain("a@b..co", EmailError::Domain)]
    #[case::leading_dot_in_domain("a@.b.co", EmailError::Domain)]
    #[case::double_dot("a..b@c.co", EmailError::LocalPart)]
    #[case::leading_dot(".a@c.co", EmailError::LocalPart)]
    #[case::final_dot("a.@c.co", EmailError::LocalPart)]
    #[case::quoted(r#""a"@c.co"#, EmailError::LocalPart)]
    #[case::quoted_at(r#""a@b"@c.co"#, EmailError::LocalPart)]
    #[case::comment("a(x)@c.co", EmailError::LocalPart)]
    #[case::comment_in_domain("a@c.co(x)", EmailError::Domain)]
    #[case::nul("a\0@c.co", EmailError::Invisible)]
    #[case::header_injection("a@c.co\r\nBcc: x@y.co", EmailError::Invisible)]
    #[case::zero_width_space("a\u{200b}@c.co", EmailError::Invisible)]
    #[case::zero_width_joiner_in_domain("a@c\u{200d}.co", EmailError::Invisible)]
    #[case::byte_order_mark("\u{feff}a@c.co", EmailError::Invisible)]
    #[case::soft_hyphen("a\u{ad}b@c.co", EmailError::Invisible)]
    #[case::soft_hyphen_in_domain("a@b\u{ad}c.co", EmailError::Invisible)]
    #[case::right_to_left_override("a\u{202e}b@c.co", EmailError::Invisible)]
    #[case::hangul_filler("a\u{3164}@c.co", EmailError::Invisible)]
    #[case::variation_selector("a\u{fe0f}@c.co", EmailError::Invisible)]
    #[case::leading_combining_mark("\u{301}a@c.co", EmailError::LocalPart)]
    #[case::leading_combining_mark_after_dot("a.\u{301}b@c.co", EmailError::LocalPart)]
    #[case::leading_combining_mark_in_domain("a@\u{301}b.co", EmailError::Domain)]
    #[case::broken_punycode("a@xn--zzzzzz---.co", EmailError::Domain)]
    #[case::empty_punycode("a@xn--.co", EmailError::Domain)]
    fn rejects(#[case] text: &str, #[case] reason: EmailError) {
        assert_eq!(Email::parse(text), Err(reason));
    }

    /// Texts of usual parts of e-mail addresses and of known troublemakers: marks, case mappings that change the length, other
    /// widths and scripts, invisible characters.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            6 => "[a-zA-Z0-9.@+_'-]",
            3 => select(vec![
                "é", "E\u{301}", "ß", "ẞ", "İ", "ı", "Σ", "ς", "ﬁ", "K", "Å", "ǅ", "ΐ", "ᾳ", "가", "\u{1112}\u{1161}\u{11ab}",
                "用", "क्ष", "ｂ", "。", "𝐚", "\u{301}", "\u{323}", "xn--", "xn--bcher-kva", "a@b.co", ".com",
            ]).prop_map(String::from),
            1 => select(vec![" ", "\0", "\r\n", "\u{200b}", "\u{ad}", "\u{202e}", "\u{feff}", "\"", "<", ">", "(", ",", "＠"]).prop_map(String::from),
            1 => any::<char>().prop_map(String::from),
        ];
        vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    /// A plain local part and a plain domain.
    fn plain() -> impl Strategy<Value = (String, String)> {
        (
            "[a-z0-9é'+_-]{1,9}([.][a-z0-9]{1,9}){0,2}",
            "([a-z0-9]([a-z0-9é-]{0,9}[a-z0-9])?[.]){1,3}[a-z]{2,6}",
        )
            // Such a label may look like an A-label without being one.
            .prop_filter("hyphens in the third and fourth place", |(_, domain)| !domain.contains("--"))
    }

    proptest! {
        /// The properties of the normal form.
        #[test]
        fn the_normal_form_has_its_properties(name in text(), domain in text(), tail in select(vec![".com", ".例子", ""])) {
            let text = format!("{name}@{domain}{tail}");
            if let Ok(email) = Email::parse(&text) {
                let normal = email.as_str();
                prop_assert_eq!(Email::parse(normal), Ok(email.clone()), "the normal form of a normal form is itself");
                let (local_part, domain) = normal.split_once('@').unwrap();
                prop_assert!(normal.len() <= 254 && (1..=64).contains(&local_part.len()));
                prop_assert!(!local_part.contains(|c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>@[\\]".contains(c)));
                prop_assert!(domain.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')));
                prop_assert!(domain.contains('.') && domain.split('.').all(|label| (1..=63).contains(&label.len())));
                for spelling in [text.nfd().collect(), text.nfc().collect(), format!(" {text}\n"), normal.to_ascii_uppercase()] {
                    prop_assert_eq!(Email::parse(&spelling), Ok(email.clone()), "another spelling: {:?}", spelling);
                }
            }
        }

        /// Plain e-mail addresses are accepted, and only case and composition change.
        #[test]
        fn accepts_plain_addresses((name, domain) in plain()) {
            let email = Email::parse(&format!("{name}@{domain}").to_uppercase()).unwrap();
            let (local_part, a_labels) = email.as_str().split_once('@').unwrap();
            prop_assert_eq!(local_part, name);
            prop_assert_eq!(idna::domain_to_unicode(a_labels).0, domain);
        }

        /// Invalid characters and sequences are rejected at any position: here within either part.
        #[test]
        fn rejects_invalid_sequences_anywhere(
            (name, domain) in plain(),
            intruder in select(vec![
                "\0", "\r\nBcc:", "\t", " ", "\u{a0}", "\u{200b}", "\u{200d}", "\u{feff}", "\u{ad}", "\u{202e}", "\u{fe0f}",
                "\u{3164}", "..", "@", "\"", "(x)", "<", ">", ",", ";", ":", "[", "]", "\\", "a@b.co,", "mailto:", ".\u{301}",
            ]),
            in_domain in any::<bool>(),
        ) {
            let text =
                if in_domain { format!("{name}@a{intruder}{domain}") } else { format!("a{intruder}{name}@{domain}") };
            prop_assert!(Email::parse(&text).is_err(), "{text:?}");
        }

        /// Characters that are valid in the local part only.
        #[test]
        fn rejects_invalid_domains(
            (name, domain) in plain(),
            ip in any::<std::net::IpAddr>(),
            intruder in select(vec!["_", "!", "%", "+", "-.", ".-", "'"]),
        ) {
            for broken in [
                format!("a{intruder}{domain}"), format!("-{domain}"), format!("{domain}-"), format!(".{domain}"),
                format!("{domain}."), domain.replace('.', ""), format!("{domain}.1"), ip.to_string(), format!("[{ip}]"),
            ] {
                prop_assert_eq!(Email::parse(&format!("{name}@{broken}")), Err(EmailError::Domain), "{}", broken);
            }
        }
    }

    #[test]
    fn enforces_length_limits() {
        let local_part = "a".repeat(64);
        let domain = |bytes: usize| {
            let label = "b".repeat(63);
            format!("{label}.{label}.{}.co", "c".repeat(bytes - 2 * 64 - 3))
        };
        let longest = format!("{local_part}@{}", domain(254 - 65));
        assert_eq!(longest.len(), 254);
        assert_eq!(Email::parse(&longest).unwrap().as_str(), longest);
        assert_eq!(Email::parse(&format!("{local_part}@{}", domain(255 - 65))), Err(EmailError::TooLong));
        assert_eq!(Email::parse(&format!("a{local_part}@c.co")), Err(EmailError::LocalPartTooLong));
        assert_eq!(Email::parse(&format!("{}@c.co", "é".repeat(33))), Err(EmailError::LocalPartTooLong));
        assert_eq!(Email::parse(&"a".repeat(1_000_000)), Err(EmailError::TooLong));
        // Short as A-labels, long as input: three jamo a syllable, mathematical letters.
        let syllables = ["각"; 3].map(|syllable| syllable.repeat(40)).join(".");
        let composed = Email::parse(&format!("a@{syllables}.kr")).unwrap();
        assert_eq!(Email::parse(&format!("a@{}.kr", syllables.nfd())), Ok(composed));
        assert!(
            Email::parse(&format!("{local_part}@{}.co", ["𝐛"; 3].map(|b| b.repeat(61)).join("."))).is_ok()
        );
    }
}
