//! E-mail addresses and their normal form (contract §5).

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use email_address::{EmailAddress, Options};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use regex::Regex;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What no part of an address may hold: controls, formats (zero-width, bidirectional, soft hyphen), unassigned, white
/// space, and whatever else is drawn as nothing. UTS 46 would silently drop some of these from a domain.
static INVISIBLE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]"));

/// A combining mark with no letter of its own to stand on.
static LEADING_MARK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|\.)\p{M}"));

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constants, compiled by every test")]
    Regex::new(text).expect("the pattern is valid")
}

/// An e-mail address in the normal form that an organisation's customers are unique by.
///
/// The strictest reading that never joins two people: trimmed, Unicode NFC, the domain as lower-case A-labels (UTS 46),
/// the local part in lower case, and no rule of any one provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Email(String);

/// Why a text is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// No `@`.
    #[error("must be an e-mail address with an @")]
    NoAt,
    /// See [`INVISIBLE`].
    #[error("must be an e-mail address without white space, control or invisible characters")]
    Invisible,
    /// More than 64 octets before the `@` (RFC 5321, 4.5.3.1.1).
    #[error("must be an e-mail address with at most 64 octets before the @")]
    LocalPartTooLong,
    /// More than 254 octets in all (RFC 3696, erratum 1690).
    #[error("must be an e-mail address of at most 254 octets")]
    TooLong,
    /// Not a dot-atom (RFC 5322, 3.2.3, with RFC 6531): quotes, comments, brackets, dots at the ends or in a row.
    #[error(
        "must be an e-mail address with a plain name before the @: no quotes, comments, brackets or stray dots"
    )]
    LocalPart,
    /// Not a registrable kind of domain name.
    #[error("must be an e-mail address with a valid domain name after the @")]
    Domain,
}

impl Email {
    /// The longest normal form, in octets.
    pub const MAX_OCTETS: usize = 254;
    const MAX_LOCAL_PART_OCTETS: usize = 64;
    /// More than any spelling of an address takes: each of its octets stands for a character at most, and a character that
    /// is composed of several takes a dozen octets.
    const MAX_SPELLING_OCTETS: usize = 4096;

    /// Brings an address into its normal form.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EmailError::Empty);
        }
        if INVISIBLE.is_match(text) {
            return Err(EmailError::Invisible);
        }
        // Before any costly step.
        if text.len() > Self::MAX_SPELLING_OCTETS {
            return Err(EmailError::TooLong);
        }
        let text: String = text.nfc().collect();
        let (local_part, domain) = text.rsplit_once('@').ok_or(EmailError::NoAt)?;
        let local_part = normal_local_part(local_part)?;
        let domain = normal_domain(domain)?;
        let normal = format!("{local_part}@{domain}");
        if normal.len() > Self::MAX_OCTETS {
            return Err(EmailError::TooLong);
        }
        // `email_address` knows letters and digits of every script but no marks, which Indic scripts cannot be written
        // without. Each stands on a letter here, so the structure is the same without them.
        let skeleton: String = normal.chars().filter(|&c| !is_combining_mark(c)).collect();
        let structure =
            Options::default().without_display_text().without_domain_literal().with_required_tld();
        EmailAddress::parse_with_options(&skeleton, structure).map_err(|_| EmailError::LocalPart)?;
        Ok(Self(normal))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower case letter by letter, so that the same letter always becomes the same one, then NFC once more, which lower
/// case can break.
fn normal_local_part(text: &str) -> Result<String, EmailError> {
    let normal: String = text.chars().flat_map(char::to_lowercase).nfc().collect();
    if normal.len() > Email::MAX_LOCAL_PART_OCTETS {
        return Err(EmailError::LocalPartTooLong);
    }
    // `email_address` lets quoted strings pass.
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
    if top_level.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(EmailError::Domain);
    }
    Ok(domain.into_owned())
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Email {
    type Error = EmailError;

    fn try_from(text: String) -> Result<Self, EmailError> {
        Self::parse(&text)
    }
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        Self::parse(text)
    }
}

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
    fn refuses(#[case] text: &str, #[case] reason: EmailError) {
        assert_eq!(Email::parse(text), Err(reason));
    }

    /// Texts made of what addresses are made of, and of what has tricked others: marks, case that grows or shrinks, other
    /// widths and scripts, signs that are drawn as nothing.
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

    /// A plain name and a plain domain.
    fn plain() -> impl Strategy<Value = (String, String)> {
        (
            "[a-z0-9é'+_-]{1,9}([.][a-z0-9]{1,9}){0,2}",
            "([a-z0-9]([a-z0-9é-]{0,9}[a-z0-9])?[.]){1,3}[a-z]{2,6}",
        )
            // Not what looks like an A-label and is none.
            .prop_filter("hyphens in the third and fourth place", |(_, domain)| !domain.contains("--"))
    }

    proptest! {
        /// What the normal form promises, for whatever text has one.
        #[test]
        fn the_normal_form_keeps_its_promises(name in text(), domain in text(), tail in select(vec![".com", ".例子", ""])) {
            let text = format!("{name}@{domain}{tail}");
            if let Ok(email) = Email::parse(&text) {
                let normal = email.as_str();
                prop_assert_eq!(Email::parse(normal), Ok(email.clone()), "the normal form of a normal form is itself");
                let (local_part, domain) = normal.split_once('@').unwrap();
                prop_assert!(normal.len() <= 254 && (1..=64).contains(&local_part.len()));
                prop_assert!(!local_part.contains(|c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>@[\\]".contains(c)));
                prop_assert!(domain.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')));
                prop_assert!(domain.contains('.') && domain.split('.').all(|label| (1..=63).contains(&label.len())));
                for spelling in [text.nfd().collect(), text.nfc().collect(), format!(" {text}\n"), normal.to_ascii_uppercase()] {
                    prop_assert_eq!(Email::parse(&spelling), Ok(email.clone()), "another spelling: {:?}", spelling);
                }
            }
        }

        /// Plain addresses are accepted, and nothing about them is changed but case and composition.
        #[test]
        fn plain_addresses_are_accepted((name, domain) in plain()) {
            let email = Email::parse(&format!("{name}@{domain}").to_uppercase()).unwrap();
            let (local_part, a_labels) = email.as_str().split_once('@').unwrap();
            prop_assert_eq!(local_part, name);
            prop_assert_eq!(idna::domain_to_unicode(a_labels).0, domain);
        }

        /// What is refused is refused wherever it stands (engineering notes §6): here in the middle of either part.
        #[test]
        fn what_is_refused_is_so_anywhere(
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

        /// Nor is there room for what only a domain may not have.
        #[test]
        fn broken_domains_are_refused(
            (name, domain) in plain(),
            address in any::<std::net::IpAddr>(),
            intruder in select(vec!["_", "!", "%", "+", "-.", ".-", "'"]),
        ) {
            for broken in [
                format!("a{intruder}{domain}"), format!("-{domain}"), format!("{domain}-"), format!(".{domain}"),
                format!("{domain}."), domain.replace('.', ""), format!("{domain}.1"), address.to_string(), format!("[{address}]"),
            ] {
                prop_assert_eq!(Email::parse(&format!("{name}@{broken}")), Err(EmailError::Domain), "{}", broken);
            }
        }
    }

    #[test]
    fn knows_its_limits() {
        let local_part = "a".repeat(64);
        let domain = |octets: usize| {
            let label = "b".repeat(63);
            format!("{label}.{label}.{}.co", "c".repeat(octets - 2 * 64 - 3))
        };
        let longest = format!("{local_part}@{}", domain(254 - 65));
        assert_eq!(longest.len(), 254);
        assert_eq!(Email::parse(&longest).unwrap().as_str(), longest);
        assert_eq!(Email::parse(&format!("{local_part}@{}", domain(255 - 65))), Err(EmailError::TooLong));
        assert_eq!(Email::parse(&format!("a{local_part}@c.co")), Err(EmailError::LocalPartTooLong));
        assert_eq!(Email::parse(&format!("{}@c.co", "é".repeat(33))), Err(EmailError::LocalPartTooLong));
        assert_eq!(Email::parse(&"a".repeat(1_000_000)), Err(EmailError::TooLong));
        // Few octets as A-labels, many as they are typed: three jamo a syllable, mathematical letters.
        let syllables = ["각"; 3].map(|syllable| syllable.repeat(40)).join(".");
        let composed = Email::parse(&format!("a@{syllables}.kr")).unwrap();
        assert_eq!(Email::parse(&format!("a@{}.kr", syllables.nfd())), Ok(composed));
        assert!(
            Email::parse(&format!("{local_part}@{}.co", ["𝐛"; 3].map(|b| b.repeat(61)).join("."))).is_ok()
        );
    }
}
