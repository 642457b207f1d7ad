//! Addresses: what the normal form promises (contract §5), whatever was given.
#![no_main]

use customer_match::domain::Email;
use libfuzzer_sys::fuzz_target;
use unicode_normalization::UnicodeNormalization;

fuzz_target!(|text: &str| {
    let Ok(email) = Email::parse(text) else { return };
    let normal = email.as_str();
    assert_eq!(Email::parse(normal).as_ref(), Ok(&email), "the normal form of a normal form is itself");
    assert!(normal.len() <= 254);
    let (local_part, domain) = normal.split_once('@').unwrap();
    assert!((1..=64).contains(&local_part.len()));
    assert!(
        !local_part.contains(|c: char| c.is_control() || c.is_whitespace() || "\"(),:;<>@[\\]".contains(c))
    );
    assert_eq!(local_part.nfc().collect::<String>(), local_part);
    assert!(domain.contains('.') && !domain.contains('@'));
    assert!(domain.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')));
    for label in domain.split('.') {
        assert!((1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-'));
    }
    // Other spellings of the same address.
    for spelling in
        [text.nfd().collect(), text.nfc().collect(), format!("\t{text} "), normal.to_ascii_uppercase()]
    {
        assert_eq!(Email::parse(&spelling).as_ref(), Ok(&email), "{spelling:?}");
    }
});
