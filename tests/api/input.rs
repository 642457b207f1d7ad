//! Input that is refused: with its field, and without a trace.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use futures_util::stream;
use http_body_util::StreamBody;
use http_body_util::channel::Channel;
use hyper::body::Frame;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH,
    json_request, uri,
};

/// As long as an identity id.
const SECRET: &str = "0123456789abcdefghijABCDEFGHIJKL";

async fn post_raw(service: &Service, body: impl Into<Body>) -> Answer {
    service.call(json_request(&format!("{MATCH}?apiKey={}", service.key)).body(body.into()).unwrap()).await
}

/// The documented call with one field changed.
fn call_with(field: &str, value: Value) -> Value {
    let mut body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    body[field] = value;
    body
}

#[rstest]
#[case::manager_missing(json!({ "customerCuRefNo": CUSTOMER }), "/managerCuRefNo")]
#[case::manager_null(call_with("managerCuRefNo", Value::Null), "/managerCuRefNo")]
#[case::manager_of_15(call_with("managerCuRefNo", json!("1cGIHvFoQDGLAbc")), "/managerCuRefNo")]
#[case::manager_of_17(call_with("managerCuRefNo", json!("1cGIHvFoQDGLAbcAA")), "/managerCuRefNo")]
#[case::manager_with_nul(call_with("managerCuRefNo", json!("1cGIHvFoQDGLAbc\0")), "/managerCuRefNo")]
#[case::manager_a_number(call_with("managerCuRefNo", json!(1234567890123456_u64)), "/managerCuRefNo")]
#[case::manager_an_array(call_with("managerCuRefNo", json!([MANAGER])), "/managerCuRefNo")]
#[case::manager_an_object(call_with("managerCuRefNo", json!({ "a": MANAGER })), "/managerCuRefNo")]
#[case::neither_customer(json!({ "managerCuRefNo": MANAGER }), "/customerCuRefNo")]
#[case::both_customers_null(json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": null, "customerEmail": null }), "/customerCuRefNo")]
#[case::customer_empty(call_with("customerCuRefNo", json!("")), "/customerCuRefNo")]
#[case::customer_true(call_with("customerCuRefNo", json!(true)), "/customerCuRefNo")]
#[case::address_not_valid_beside_a_reference(call_with("customerEmail", json!("nobody")), "/customerEmail")]
#[case::address_empty(call_with("customerEmail", json!("")), "/customerEmail")]
#[case::address_with_nul(call_with("customerEmail", json!("a\0@b.co")), "/customerEmail")]
#[case::address_a_number(call_with("customerEmail", json!(1)), "/customerEmail")]
#[case::notice_with_nul(call_with("notice", json!("a\0b")), "/notice")]
#[case::notice_too_long(call_with("notice", json!("x".repeat(10_001))), "/notice")]
#[case::notice_a_number(call_with("notice", json!(5)), "/notice")]
#[case::an_array(json!([MANAGER, CUSTOMER]), "")]
#[case::a_text(json!("text"), "")]
#[case::null(Value::Null, "")]
#[tokio::test]
async fn breaks_a_rule(#[case] body: Value, #[case] field: &str) {
    let service = Service::start().await;
    service.post_match(body).await.assert_invalid(field);
    assert_eq!((service.count("customer").await, service.count("customer_match").await), (2, 0));
}

#[tokio::test]
async fn says_which_field_and_which_rule() {
    let service = Service::start().await;
    let answer = service.post_match(call_with("customerEmail", json!("a@localhost"))).await;
    insta::assert_json_snapshot!(answer.snapshot(), @r#"
    {
      "body": {
        "error": {
          "code": "INTERNAL_VALIDATION_FAILED",
          "description": "Field \"customerEmail\" must be an e-mail address with a valid domain name after the @.",
          "errors": [
            {
              "description": "Field \"customerEmail\" must be an e-mail address with a valid domain name after the @.",
              "field": "/customerEmail"
            }
          ],
          "field": "/customerEmail",
          "message": "Request payload failed validation."
        }
      },
      "status": 422
    }
    "#);
    let descriptions = [
        service.post_match(json!({ "customerCuRefNo": CUSTOMER })).await,
        service.post_match(call_with("managerCuRefNo", json!(5))).await,
        service.post_match(call_with("managerCuRefNo", json!("x"))).await,
        service.post_match(json!({ "managerCuRefNo": MANAGER })).await,
        service.post_match(call_with("notice", json!("x".repeat(10_001)))).await,
        service.post_match(json!([])).await,
        service.post_match(call_with("customerCuRefNo", json!(MANAGER))).await,
        post_raw(&service, r#"{"notice":"a","notice":"b"}"#).await,
        post_raw(&service, r#"{"notice":"\ud800"}"#).await,
        post_raw(&service, "{").await,
        post_raw(&service, "").await,
        post_raw(&service, &b"{\"notice\":\"\xff\"}"[..]).await,
    ]
    .map(|answer| format!("{} {}", answer.status, answer.body["error"]["description"].as_str().unwrap()));
    insta::assert_json_snapshot!(descriptions, @r#"
    [
      "422 Field \"managerCuRefNo\" is required.",
      "422 Field \"managerCuRefNo\" must be a string.",
      "422 Field \"managerCuRefNo\" must be exactly 16 letters or digits (A-Z, a-z, 0-9).",
      "422 One of the fields \"customerCuRefNo\" and \"customerEmail\" is required.",
      "422 Field \"notice\" must have at most 10,000 characters.",
      "422 The body must be a JSON object.",
      "422 A customer cannot be matched with itself.",
      "422 Field \"notice\" is given twice.",
      "422 Field \"notice\" is not valid: unexpected end of hex escape.",
      "400 The body is not valid JSON: EOF while parsing an object at line 1 column 1.",
      "400 The body is not valid JSON: EOF while parsing a value at line 1 column 0.",
      "400 The body is not UTF-8."
    ]
    "#);
}

/// What an answer says is invalid: field and description, in their order.
fn invalid_fields(answer: &Answer) -> Vec<String> {
    let errors = answer.body["error"]["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| format!("{} {}", error["field"].as_str().unwrap(), error["description"]))
        .collect()
}

#[tokio::test]
async fn all_invalid_fields_are_named() {
    let service = Service::start().await;
    let body = json!({ "customerEmail": "nobody", "managerCuRefNo": "x", "notice": "a\0", "note": 1 });
    let answer = service.post_match(body).await;
    answer.assert_invalid("/customerEmail");
    insta::assert_json_snapshot!(invalid_fields(&answer), @r#"
    [
      "/customerEmail \"Field \\\"customerEmail\\\" must be an e-mail address with an @.\"",
      "/managerCuRefNo \"Field \\\"managerCuRefNo\\\" must be exactly 16 letters or digits (A-Z, a-z, 0-9).\"",
      "/notice \"Field \\\"notice\\\" must not contain a NUL character.\""
    ]
    "#);
    let fields = async |path: &str, body: &str| {
        let request = json_request(&format!("{path}?apiKey={}", service.key));
        let answer = service.call(request.body(Body::from(body.to_owned())).unwrap()).await;
        assert_eq!(answer.status, 422);
        let errors = answer.body["error"]["errors"].as_array().unwrap();
        let fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        fields.join(" ")
    };
    assert_eq!(fields(MATCH, "{}").await, "/managerCuRefNo /customerCuRefNo");
    assert_eq!(fields(UNMATCH, "{}").await, "/managerCuRefNo /customerCuRefNo");
    // What is invalid is not missing, and of two names one is enough.
    assert_eq!(fields(UNMATCH, r#"{"customerCuRefNo":5}"#).await, "/customerCuRefNo /managerCuRefNo");
    assert_eq!(fields(MATCH, r#"{"customerEmail":"a"}"#).await, "/customerEmail /managerCuRefNo");
    assert_eq!(
        fields(MATCH, r#"{"notice":"a","notice":"b","notice":"c"}"#).await,
        "/notice /notice /managerCuRefNo /customerCuRefNo"
    );
    assert_eq!(
        fields(CREATE, r#"{"phone":5,"firstName":["a"],"customerRealIp":"x","email":null}"#).await,
        "/phone /firstName /customerRealIp /email"
    );
}

#[rstest]
#[case::lenient_by_default("", 200)]
#[case::lenient("handling=lenient", 200)]
#[case::strict("handling=strict", 422)]
#[case::strict_beside_another("return=representation, Handling=Strict", 422)]
#[tokio::test]
async fn an_unknown_field_is_invalid_if_handling_is_strict(#[case] prefer: &str, #[case] status: u16) {
    let service = Service::start().await;
    let post = async |path: &str, body: Value| {
        let request = json_request(path).header("prefer", prefer);
        service.call(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let known = json!({ "apiKey": service.key, "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    assert_eq!(post(MATCH, known.clone()).await.status, 200, "the key is known");
    let mut misspelt = known.clone();
    misspelt["note"] = json!("lost");
    let answer = post(MATCH, misspelt).await;
    assert_eq!(answer.status, status);
    if status == 422 {
        answer.assert_invalid("/note");
        assert_eq!(
            answer.body["error"]["description"],
            "Field \"note\" is unknown; there are managerCuRefNo, customerCuRefNo, customerEmail, notice."
        );
    }
    for path in [UNMATCH, CREATE, MAGIC_AUTH, LOGOUT] {
        let answer = post(path, json!({ "apiKey": service.key, "a/b": 1, "a/b": 2, "c": 3 })).await;
        answer.assert_error(422, "INTERNAL_VALIDATION_FAILED");
        let all = invalid_fields(&answer).join(" ");
        assert_eq!(all.contains("/a~1b ") && all.contains("/c "), status == 422, "{all}");
        assert!(all.contains("is required"), "{all}");
    }
    let misplaced = format!("{MATCH}?apiKey={}&notice=lost", service.key);
    let answer = post(&misplaced, json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER })).await;
    assert_eq!(answer.status, status);
    if status == 422 {
        answer.assert_invalid("notice");
    }
    for path in [LIST, DETAIL] {
        let uri = uri(path, &service.key, &[("curefno", MANAGER), ("identityId", &"a".repeat(32))]);
        let request = Request::get(uri).header("prefer", prefer).body(Body::empty()).unwrap();
        let answer = service.call(request).await;
        if status == 422 {
            answer.assert_invalid("curefno");
        } else {
            answer.assert_error(401, "INTERNAL_USER_MUST_BE_AUTHORIZED");
        }
    }
}

/// A list of thousands would be an answer of megabytes.
#[tokio::test]
async fn a_bounded_number_of_unknown_fields_is_named() {
    let service = Service::start().await;
    let body: Value = (0..1000).map(|number| (format!("f{number}"), json!(1))).collect();
    let request =
        json_request(&format!("{MATCH}?apiKey={}", service.key)).header("prefer", "handling=strict");
    let answer = service.call(request.body(Body::from(body.to_string())).unwrap()).await;
    assert!((64..=66).contains(&invalid_fields(&answer).len()), "those that are missing are named too");
}

#[rstest]
#[case::empty("")]
#[case::cut_off(r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA""#)]
#[case::trailing_comma(r#"{"managerCuRefNo":"1cGIHvFoQDGLAbcA",}"#)]
#[case::two_documents("{}{}")]
#[case::a_form("managerCuRefNo=1cGIHvFoQDGLAbcA")]
#[case::wrong_value_then_nonsense(r#"{"managerCuRefNo":5,nonsense"#)]
#[tokio::test]
async fn is_not_json_at_all(#[case] body: &'static str) {
    let service = Service::start().await;
    post_raw(&service, body).await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
}

#[rstest]
#[case::in_a_known_field(b"{\"notice\":\"\xff\"}")]
#[case::in_an_unknown_field(b"{\"x\":\"\xc3\x28\"}")]
#[case::everywhere(b"\xff\xfe\x00")]
#[tokio::test]
async fn is_not_utf_8(#[case] body: &'static [u8]) {
    let service = Service::start().await;
    post_raw(&service, body).await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
}

#[tokio::test]
async fn a_byte_order_mark_is_ignored() {
    let service = Service::start().await;
    let body = |mark: &str, key: &str| {
        format!(r#"{mark}{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","apiKey":"{key}"}}"#)
    };
    post_raw(&service, body("\u{feff}", "")).await.assert_success();
    let keyed = json_request(MATCH).body(Body::from(body("\u{feff}", &service.key))).unwrap();
    service.call(keyed).await.assert_success();
    post_raw(&service, body("\u{feff}\u{feff}", "")).await.assert_error(400, "INTERNAL_VALIDATION_FAILED");
}

#[tokio::test]
async fn a_lone_surrogate_is_json_but_no_text() {
    let service = Service::start().await;
    let body =
        format!(r#"{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","notice":"\ud800"}}"#);
    post_raw(&service, body).await.assert_invalid("/notice");
}

#[tokio::test]
async fn deep_nesting_is_no_danger() {
    let service = Service::start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let known = format!(r#"{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","notice":{deep}}}"#);
    post_raw(&service, known).await.assert_invalid("/notice");
    post_raw(&service, deep).await.assert_invalid("");
}

#[tokio::test]
async fn the_longest_notice_fits_however_it_is_escaped() {
    let service = Service::start().await;
    let notice = r"\ud83d\ude00".repeat(10_000);
    let body =
        format!(r#"{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","notice":"{notice}"}}"#);
    post_raw(&service, body).await.assert_success();
    let length: i32 = sqlx::query_scalar("select char_length(notice) from customer_match")
        .fetch_one(&service.pool)
        .await
        .unwrap();
    assert_eq!(length, 10_000);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let service = Service::start().await;
    let blank = |octets: usize| format!("{}{}", " ".repeat(octets - 2), "{}");
    post_raw(&service, blank(256 * 1024)).await.assert_invalid("/managerCuRefNo");
    post_raw(&service, blank(256 * 1024 + 1)).await.assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
    post_raw(&service, vec![b' '; 1024 * 1024]).await.assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
    // The rest is not waited for when there is too much of it.
    let blanks =
        stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b' '; 64 * 1024]))));
    let endless = Body::new(StreamBody::new(blanks));
    post_raw(&service, endless).await.assert_error(413, "INTERNAL_PAYLOAD_TOO_LARGE");
}

#[rstest]
#[case::none(None, 415)]
#[case::text(Some("text/plain"), 415)]
#[case::form(Some("application/x-www-form-urlencoded"), 415)]
#[case::something_like_json(Some("application/jsonp"), 415)]
#[case::json(Some("application/json"), 200)]
#[case::with_charset(Some("Application/JSON; charset=utf-8"), 200)]
#[tokio::test]
async fn the_media_type_must_be_json(#[case] media_type: Option<&str>, #[case] status: u16) {
    let service = Service::start().await;
    let mut request = Request::post(format!("{MATCH}?apiKey={}", service.key));
    if let Some(media_type) = media_type {
        request = request.header(header::CONTENT_TYPE, media_type);
    }
    let body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER }).to_string();
    let answer = service.call(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, status);
    if status == 415 {
        answer.assert_error(415, "INTERNAL_UNSUPPORTED_MEDIA_TYPE");
    }
}

#[rstest]
#[case::gzip("gzip", "The Content-Encoding \"gzip\" is not supported: please send the body without one.")]
#[case::in_a_list(
    "identity, br",
    "The Content-Encoding \"br\" is not supported: please send the body without one."
)]
#[case::a_secret(SECRET, "The Content-Encoding is not supported: please send the body without one.")]
#[case::identity("Identity", "")]
#[case::empty("", "")]
#[tokio::test]
async fn a_body_with_a_coding_is_415(#[case] coding: &str, #[case] description: &str) {
    let service = Service::start().await;
    let mut body = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    let keyed = format!("{MATCH}?apiKey={}", service.key);
    // A key in the body cannot be seen, so it is not missed either.
    for (uri, key) in [(keyed.as_str(), None), (MATCH, Some(service.key.as_str()))] {
        body["apiKey"] = json!(key);
        let request = json_request(uri).header(header::CONTENT_ENCODING, coding);
        let answer = service.call(request.body(Body::from(body.to_string())).unwrap()).await;
        if description.is_empty() {
            answer.assert_success();
        } else {
            answer.assert_error(415, "INTERNAL_UNSUPPORTED_MEDIA_TYPE");
            assert_eq!(answer.body["error"]["description"], description);
            assert_eq!(answer.headers[header::ACCEPT_ENCODING], "identity");
        }
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_408() {
    let service = Service::start().await;
    // Once before, so that the key is known and nothing real is waited for.
    service.post_match(json!({})).await.assert_invalid("/managerCuRefNo");
    let (_sender, endless) = Channel::<Bytes>::new(1);
    tokio::time::pause();
    post_raw(&service, Body::new(endless)).await.assert_error(408, "INTERNAL_REQUEST_TIMEOUT");
}
