//! The JSON forms of the domain's types. Their rules (patterns, lengths) are the domain's own constants.

use serde_json::Value;
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::demo;
use crate::domain::{
    ChangeCursor, ChangeWait, CuRefNo, Cursor, Email, HostIp, IdentityId, Notice, PageLimit, ProfileText,
    SearchTerm, Timestamp,
};

/// Postgres cannot hold the character NUL in a text.
const WITHOUT_NUL: &str = r"^[^\u0000]*$";
const WITHOUT_CONTROL_CHARACTERS: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";

fn text(example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).examples([Value::from(example)])
}

macro_rules! schemas {
    ($($name:ident: $schema:expr;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }
        impl ToSchema for $name {}
    )*};
}

schemas! {
    CuRefNo: text(demo::CUSTOMER)
        .description(Some("A customer's reference number, case-sensitive."))
        .pattern(Some(CuRefNo::PATTERN))
        .min_length(Some(CuRefNo::LENGTH))
        .max_length(Some(CuRefNo::LENGTH));
    Email: text(demo::CUSTOMER_EMAIL)
        .description(Some("An e-mail address. Answers show its normal form: lower case, Unicode NFC, the domain as A-labels."))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
        .max_length(Some(Email::MAX_BYTES));
    Notice: text(demo::NOTICE)
        .description(Some("Public note of this connection, visible to both customers."))
        .pattern(Some(WITHOUT_NUL))
        .max_length(Some(Notice::MAX_CHARACTERS));
    ProfileText: text("Nováková")
        .description(Some("A text of a profile, without line breaks."))
        .pattern(Some(WITHOUT_CONTROL_CHARACTERS))
        .max_length(Some(ProfileText::MAX_CHARACTERS));
    HostIp: text("192.0.2.7")
        .description(Some("An IP address, of version 4 or 6; with a port or in brackets too, as proxies write it."));
    IdentityId: text(demo::IDENTITY)
        .description(Some("Identifies a customer that is logged in; a secret, from `magic-auth`."))
        .pattern(Some(IdentityId::PATTERN))
        .min_length(Some(IdentityId::LENGTH))
        .max_length(Some(IdentityId::LENGTH));
    SearchTerm: text("novak")
        .description(Some("A part of a name, a company or an e-mail address; case and diacritics are ignored."))
        .pattern(Some(WITHOUT_CONTROL_CHARACTERS))
        .max_length(Some(SearchTerm::MAX_CHARACTERS));
    PageLimit: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(*PageLimit::RANGE.start()))
        .maximum(Some(*PageLimit::RANGE.end()))
        .default(Some(PageLimit::default().get().into()));
    ChangeWait: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(*ChangeWait::RANGE.start()))
        .maximum(Some(*ChangeWait::RANGE.end()))
        .default(Some(0.into()));
    Cursor: ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The `nextCursor` of the page before; opaque, and signed by the server."));
    ChangeCursor: ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("How far a reader of the changes has come: the `nextCursor` of an answer; opaque, and signed by the server. It is never too old."));
    Timestamp: text("2025-01-10T16:19:41.675Z")
        .description(Some("ISO 8601, UTC, with milliseconds."))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
}
