//! Matches two customers: `cargo run --example rust [managerCuRefNo customerCuRefNo]`
//!
//! Needs reqwest (with `json`, and a TLS feature for https), tokio and serde.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Refusal {
    error: ApiError,
}

#[derive(Deserialize)]
struct ApiError {
    code: String,
    message: String,
    description: String,
    field: Option<String>,
}

enum CallError {
    Refused(ApiError),
    NoAnswer(reqwest::Error),
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        Self::NoAnswer(error)
    }
}

/// Posts to an endpoint; a server that is busy is asked again when it says so. Any call may be sent again.
async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, CallError> {
    let url = env::var("CUSTOMER_MATCH_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".into());
    let key = env::var("CUSTOMER_MATCH_KEY").unwrap_or_else(|_| "PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE".into());
    let mut attempts = 5;
    loop {
        // The key goes as a header: an address ends up in logs.
        let response = client.post(format!("{url}{path}")).bearer_auth(&key).json(body).send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.json().await?);
        }
        attempts -= 1;
        let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        if !busy || attempts == 0 {
            return Err(CallError::Refused(response.json::<Refusal>().await?.error));
        }
        tokio::time::sleep(retry_after(response.headers())).await;
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let relation = json!({
        "managerCuRefNo": arguments.next().unwrap_or_else(|| "1cGIHvFoQDGLAbcA".into()),
        "customerCuRefNo": arguments.next().unwrap_or_else(|| "5CmsaVNgAQqRqoen".into()),
        "notice": "Customer prefers cardio training. Contact obtained via the website.",
    });
    let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap_or_default();
    let error = match post(&client, "/api/v1/customer/customer-match-customer", &relation).await {
        Ok(answer) => {
            println!("matched: {answer}");
            return ExitCode::SUCCESS;
        }
        Err(CallError::NoAnswer(error)) => {
            eprintln!("no answer: {error}");
            return ExitCode::FAILURE;
        }
        Err(CallError::Refused(error)) => error,
    };
    let advice = match error.code.as_str() {
        "INTERNAL_RESOURCE_NOT_FOUND" => "one of the two customers does not exist".into(),
        "INTERNAL_VALIDATION_FAILED" => format!("correct {}", error.field.unwrap_or_default()),
        "PUBLIC_API_KEY_TOO_MANY_REQUEST" | "INTERNAL_SERVICE_UNAVAILABLE" => {
            "still busy, try again later".into()
        }
        code if code.starts_with("PUBLIC_API_KEY_") => "tell whoever looks after the API key".into(),
        code => format!("see /errors/{code}"),
    };
    eprintln!("{}: {} {}: {advice}", error.code, error.message, error.description);
    ExitCode::FAILURE
}
