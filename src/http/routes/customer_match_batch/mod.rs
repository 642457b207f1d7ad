//! `POST /api/v1/customer/customer-match-customer-batch` (contract §2).

mod answers;
mod line;
mod pairs;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream as streams};
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::Instrument;
use utoipa::ToSchema;

use self::answers::Answers;
use self::line::BatchLine;
use self::stream::{Stream, Written};
use crate::demo;
use crate::domain::Scope;
use crate::error::{ApiError, Envelope, ErrorCode};
use crate::http::entity_tag::precondition;
use crate::http::extract::{ApiLines, NDJSON, Prefer};
use crate::http::headers::PREFERENCE_APPLIED;
use crate::http::openapi::{self, ErrorExamples, ErrorResponses};
use crate::http::request_context::{RequestContext, StreamCounts};
use crate::http::required_scope::{RequiredScope, RequiresScope};
use crate::http::routes::customer_match::MatchResponse;
use crate::http::state::AppState;

/// A condition is about one relation.
const CONDITION_NOT_ALLOWED: &str =
    "A batch takes no If-Match and no If-None-Match: please make each of these calls by itself.";

impl RequiresScope for BatchLine {
    const SCOPES: &'static [RequiredScope] = &[RequiredScope::always(Scope::Match)];
}

/// What a line may be answered with stands on a line of the answer.
impl ErrorExamples for BatchLine {
    fn error_examples() -> Vec<ApiError> {
        Vec::new()
    }
}

/// A line of the answer.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchAnswer<'a> {
    Rejected(RejectedLine<'a>),
    Written(WrittenLine),
    Summary(Summary),
}

/// Nothing was written for the line, unless the error says otherwise. If it is the last line of the answer, the stream ended here: go on
/// from this line.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RejectedLine<'a> {
    /// The number of the line in the request, from 1; of an array, that of the element.
    #[schema(minimum = 1)]
    line: u64,
    #[serde(flatten)]
    error: Envelope<'a>,
    /// After how many seconds the same may succeed, as the header `Retry-After` says it of a single call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u64>,
}

impl<'a> RejectedLine<'a> {
    fn new(line: u64, error: &'a ApiError) -> Self {
        Self { line, error: error.envelope(), retry_after: error.retry_after_seconds() }
    }
}

/// With `Prefer: return=representation`: what the single call would be answered.
#[derive(Serialize, ToSchema)]
struct WrittenLine {
    /// The number of the line in the request, from 1; of an array, that of the element.
    #[schema(minimum = 1)]
    line: u64,
    #[serde(flatten)]
    response: MatchResponse,
}

impl WrittenLine {
    fn new(line: u64, written: Written) -> Self {
        let response = match written {
            Written::Matched(matched, sent) => MatchResponse::represent(matched, sent.as_ref()),
            Written::Ended(relation) => MatchResponse::ended(relation),
        };
        Self { line, response }
    }
}

/// The last line of the answer, once each line of the request has finished.
#[derive(Debug, Default, Clone, Copy, Serialize, ToSchema)]
#[schema(as = BatchSummary)]
struct Summary {
    /// Lines of the request, empty ones included.
    lines: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    reactivated: u64,
    /// Of unmatches: the relation has ended, by this line or before.
    ended: u64,
    rejected: u64,
}

/// Match and unmatch many customers in one call.
///
/// Each line is the body of a match or, with `"operation":"unmatch"`, of an unmatch, with the same checks and the same errors. Lines are
/// written while others arrive. Lines about one pair take effect in their order. The answer has a line for each line that was
/// rejected, with `Prefer: return=representation` a line for each, in the order of the lines; the last one is the summary. An answer without
/// a summary was cut: send the lines from the last one that it names on again. Each line counts as a request of the key.
#[utoipa::path(
    post,
    path = "/api/v1/customer/customer-match-customer-batch",
    tag = openapi::CUSTOMER,
    params(("Prefer" = inline(Option<Prefer>), Header, nullable = false,
        description = "`return=representation`: the answer has a line for each line, with the relation and what happened to it. `handling=strict`: unknown fields and parameters are invalid. Both: separated by a comma (RFC 7240).")),
    request_body(content(
        (BatchLine = "application/x-ndjson",
            example = json!({"managerCuRefNo": demo::MANAGER, "customerCuRefNo": demo::CUSTOMER, "notice": demo::NOTICE})),
        (Vec<BatchLine> = "application/json", example = json!([
            {"managerCuRefNo": demo::MANAGER, "customerCuRefNo": demo::CUSTOMER, "notice": demo::NOTICE},
            {"operation": "unmatch", "managerCuRefNo": demo::TRAINER, "customerCuRefNo": demo::CLIENT},
        ])),
    ), description = "A JSON object on each line, any number of lines; or an array of at most 1,000 of them, of at most 1 MiB."),
    responses(
        (status = OK, body = BatchAnswer, content_type = "application/x-ndjson",
         description = "A JSON object on each line, the last one the summary.",
         headers(("Preference-Applied" = String, description = "`return=representation`, if it was asked for.")),
         example = json!({"lines": 2, "created": 1, "updated": 0, "unchanged": 0, "reactivated": 0, "ended": 1, "rejected": 0})),
        ErrorResponses<ApiLines<BatchLine>>,
    ),
)]
pub(crate) async fn match_customers_batch(
    State(app): State<Arc<AppState>>,
    Extension(context): Extension<Arc<RequestContext>>,
    prefer: Prefer,
    headers: HeaderMap,
    call: ApiLines<BatchLine>,
) -> Result<Response, ApiError> {
    if !precondition(&headers)?.is_none() {
        return Err(ApiError::bad_request(CONDITION_NOT_ALLOWED));
    }
    let share = app.answer_budget.try_take(call.client, answers::RESERVED);
    let answers = Answers::new(share.ok_or(ErrorCode::ServiceUnavailable)?);
    let counts = Arc::<StreamCounts>::default();
    let _ = context.stream.set(Arc::clone(&counts));
    let applied = prefer.representation.then_some([(PREFERENCE_APPLIED, Prefer::REPRESENTATION)]);
    let (output, mut sent) = mpsc::channel(1);
    let (stream, lines) = Stream::new(app, call, prefer, counts, answers);
    tokio::spawn(stream.run(lines, output).in_current_span());
    let body = streams::poll_fn(move |cx| sent.poll_recv(cx)).map(Ok::<_, Infallible>);
    let content_type = [(CONTENT_TYPE, NDJSON)];
    Ok((applied, content_type, Body::from_stream(body)).into_response())
}
