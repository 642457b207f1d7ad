//! One line of a stream: a write, with the checks and the errors of its single call.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::{CuRefNo, Email, Match, Notice, Unmatch};
use crate::error::{ApiError, InvalidField};
use crate::http::extract::{RequestBody, object, parse};
use crate::http::routes::customer_match::MatchRequest;
use crate::http::routes::customer_unmatch::{UnmatchRequest, check_unmatch};

const OPERATION_RULE: &str = "must be \"match\" or \"unmatch\"";

/// The body of a match or, with `"operation":"unmatch"`, that of an unmatch.
// `Write::parse` reads most lines at once by this.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchLine {
    /// `match` if absent.
    #[schema(nullable = false)]
    operation: Option<Operation>,
    /// Customer reference number of the owner of relation.
    #[schema(value_type = CuRefNo)]
    manager_cu_ref_no: Option<CuRefNo>,
    /// Customer reference number of the customer of relation.
    customer_cu_ref_no: Option<CuRefNo>,
    /// Of a match: the customer's e-mail address. If no customer of the organisation has it, a guest customer is created.
    customer_email: Option<Email>,
    /// Of a match: public note of this connection, visible to both customers. `""` clears the one that is there, absent or null
    /// keeps it.
    notice: Option<Notice>,
}

// By its name alone: of an enum serde takes `{"unmatch":null}` for `"unmatch"` too.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(as = BatchOperation, rename_all = "lowercase")]
enum Operation {
    #[default]
    Match,
    Unmatch,
}

impl TryFrom<String> for Operation {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.as_str() {
            "match" => Ok(Self::Match),
            "unmatch" => Ok(Self::Unmatch),
            _ => Err(OPERATION_RULE),
        }
    }
}

/// What a line asks for.
#[derive(Debug)]
pub(super) enum Write {
    Match(Match),
    Unmatch(Unmatch),
}

impl Write {
    pub(super) fn parse(line: &[u8], strict: bool) -> Result<Self, ApiError> {
        if !strict
            && let Ok(text) = object(line)
            && let Ok(line) = serde_json::from_str::<BatchLine>(text)
            && let Some(write) = line.check()
        {
            return Ok(write);
        }
        Self::parse_each_field(line, strict)
    }

    /// By the types of the single calls, which know what is wrong.
    fn parse_each_field(line: &[u8], strict: bool) -> Result<Self, ApiError> {
        const OPERATION: &str = "operation";
        #[derive(Deserialize)]
        struct Named {
            operation: Option<Operation>,
        }
        let mut invalid = Vec::new();
        let named = serde_json::from_str::<Named>(object(line)?);
        let operation = named.map(|named| named.operation.unwrap_or_default()).unwrap_or_else(|error| {
            let is_double = error.to_string().starts_with("duplicate field");
            let rule = if is_double { "is given twice" } else { OPERATION_RULE };
            invalid.push(InvalidField::in_body(OPERATION, rule));
            Operation::default()
        });
        match operation {
            Operation::Match => parse::<MatchRequest>(line, strict, OPERATION, invalid).map(Self::Match),
            Operation::Unmatch => {
                let unwanted = parse::<UnmatchRequest>(line, strict, OPERATION, invalid)?;
                check_unmatch(&unwanted)?;
                Ok(Self::Unmatch(unwanted))
            }
        }
    }
}

impl BatchLine {
    fn check(self) -> Option<Write> {
        let Self { operation, manager_cu_ref_no, customer_cu_ref_no, customer_email, notice } = self;
        match operation.unwrap_or_default() {
            Operation::Match => {
                MatchRequest { manager_cu_ref_no, customer_cu_ref_no, customer_email, notice }
                    .check(&mut Vec::new())
                    .map(Write::Match)
            }
            Operation::Unmatch => {
                let unwanted =
                    UnmatchRequest { manager_cu_ref_no, customer_cu_ref_no }.check(&mut Vec::new())?;
                check_unmatch(&unwanted).ok()?;
                Some(Write::Unmatch(unwanted))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const M: &str = r#""managerCuRefNo":"1cGIHvFoQDGLAbcA""#;
    const C: &str = r#""customerCuRefNo":"5CmsaVNgAQqRqoen""#;

    fn fields(line: &str, strict: bool) -> String {
        match Write::parse(line.as_bytes(), strict) {
            Ok(Write::Match(_)) => "match".into(),
            Ok(Write::Unmatch(_)) => "unmatch".into(),
            Err(error) => {
                let error = serde_json::to_value(error.envelope()).unwrap();
                let errors = error["error"]["errors"].as_array().cloned().unwrap_or_default();
                errors
                    .iter()
                    .map(|error| error["description"].as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" ")
            }
        }
    }

    #[rstest]
    #[case::default(format!("{{{M},{C}}}"), "match")]
    #[case::named(format!(r#"{{"operation":"match",{M},{C}}}"#), "match")]
    #[case::null(format!(r#"{{"operation":null,{M},{C}}}"#), "match")]
    #[case::unmatch(format!(r#"{{"operation":"unmatch",{M},{C}}}"#), "unmatch")]
    #[case::an_escaped_name(format!(r#"{{{M},{C},"\u006fperation":"unmatch"}}"#), "unmatch")]
    #[case::a_byte_order_mark(format!("\u{feff}{{{M},{C}}}"), "match")]
    #[case::unknown(format!(r#"{{"operation":"delete",{M},{C}}}"#), r#"Field "operation" must be "match" or "unmatch"."#)]
    #[case::no_text(format!(r#"{{"operation":7,{M},{C}}}"#), r#"Field "operation" must be "match" or "unmatch"."#)]
    #[case::an_object(format!(r#"{{"operation":{{"unmatch":null}},{M},{C}}}"#), r#"Field "operation" must be "match" or "unmatch"."#)]
    #[case::twice(format!(r#"{{"operation":"match","operation":"unmatch",{M},{C}}}"#), r#"Field "operation" is given twice."#)]
    #[case::with_others(format!(r#"{{"operation":"delete",{C}}}"#), r#"Field "operation" must be "match" or "unmatch". Field "managerCuRefNo" is required."#)]
    // What the single call does not know, it does not check.
    #[case::unmatch_with_a_notice(format!(r#"{{"operation":"unmatch",{M},{C},"notice":7,"customerEmail":"?"}}"#), "unmatch")]
    #[case::unmatch_of_one(format!(r#"{{"operation":"unmatch",{M},"customerCuRefNo":"1cGIHvFoQDGLAbcA"}}"#), "A customer is not matched with itself.")]
    #[case::no_object("[]".into(), "The body must be a JSON object.")]
    #[case::not_json("{".into(), "")]
    fn is_parsed(#[case] line: String, #[case] expected: &str) {
        assert_eq!(fields(&line, false), expected);
    }

    #[rstest]
    #[case::all_known(format!(r#"{{"operation":"unmatch",{M},{C}}}"#), "unmatch")]
    #[case::a_field_of_the_other(format!(r#"{{"operation":"unmatch",{M},{C},"notice":"n"}}"#), r#"Field "notice" is unknown; there are managerCuRefNo, customerCuRefNo."#)]
    #[case::a_key(format!(r#"{{{M},{C},"apiKey":"x"}}"#), r#"Field "apiKey" is unknown; there are managerCuRefNo, customerCuRefNo, customerEmail, notice."#)]
    fn is_parsed_strictly(#[case] line: String, #[case] expected: &str) {
        assert_eq!(fields(&line, true), expected);
    }
}
