//! The whole router for a fuzz target to call, and what must hold of every answer.
//!
//! Behind it is a throw-away Postgres with the demo's key and customers and not a stub: a key is checked before anything
//! else is looked at, so whatever gets past it reaches the statements too, and a value that they cannot take is found.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use customer_match::app::App;
use customer_match::config::Config;
use customer_match::error::ErrorCode;
use customer_match::http::openapi_document;
use private_postgres::PrivatePostgres;
use customer_match::{db, demo};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Nobody is refused for guessing or for calling often, or soon nothing else would be tried.
const FLAGS: [&str; 2] = ["--invalid-key-limit-per-minute=4294967295", "--prod-limit-per-minute=4294967295"];

/// A server in demo mode, without connections.
pub struct Server {
    runtime: Runtime,
    router: Router,
    document: Value,
}

/// What came back.
pub struct Answer {
    pub head: Parts,
    pub body: Bytes,
}

impl Server {
    /// With an empty database, which is gone with this process.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let router = runtime.block_on(async {
            let postgres = PrivatePostgres::start_throw_away().await.unwrap();
            let options = postgres.connect_options();
            // Lives as long as this process; its supervisor sees the end of that.
            std::mem::forget(postgres);
            db::migration::run(&options).await.unwrap();
            let config = Config::from_flags(&FLAGS).unwrap();
            demo::set_up(&db::pool(options.clone(), 1)).await.unwrap();
            App::start(options, &config, true, CancellationToken::new()).router()
        });
        Self { runtime, router, document: serde_json::from_str(openapi_document()).unwrap() }
    }

    /// Calls the router and holds the answer against the contract.
    pub fn call(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.runtime.block_on(async {
            let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            Answer { head, body: body.collect().await.unwrap().to_bytes() }
        });
        self.assert_documented(&method, &path, &answer);
        answer
    }

    /// Never a defect, always an id, refusals in their one shape with a code of the registry, and of an operation nothing
    /// but what the OpenAPI document says.
    fn assert_documented(&self, method: &Method, path: &str, Answer { head, body }: &Answer) {
        let status = head.status;
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(head.headers.contains_key("x-request-id"));
        if (status.is_client_error() || status.is_server_error()) && method != Method::HEAD {
            assert_refusal(status, head, body);
        }
        // `POSt` is another method.
        let upper_case = *method == method.as_str().to_uppercase().as_str();
        let operation = &self.document["paths"][path][method.as_str().to_lowercase()];
        if upper_case && operation.is_object() {
            let documented = &operation["responses"][status.as_str()]["content"];
            let content_type = head.headers[header::CONTENT_TYPE].to_str().unwrap();
            assert!(documented[content_type].is_object(), "{method} {path} answers {status} {content_type}");
        }
    }
}

fn assert_refusal(status: StatusCode, head: &Parts, body: &[u8]) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let error = &body["error"];
    for member in ["code", "message", "description"] {
        assert!(error[member].is_string(), "{body}");
    }
    let code = ErrorCode::ALL.iter().find(|code| error["code"] == code.entry().code).unwrap().entry();
    // The one code with two: 400 for what is not JSON.
    assert!(status == code.status || status == StatusCode::BAD_REQUEST && code.status == 422, "{body}");
    assert_eq!(error["message"], code.message);
    assert_eq!(status == StatusCode::METHOD_NOT_ALLOWED, head.headers.contains_key(header::ALLOW));
    assert_eq!(
        matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS),
        head.headers.contains_key(header::RETRY_AFTER)
    );
}
