//! The server, as a client sees it.

use std::time::Duration;

use anyhow::{Context, bail};
use customer_match::domain::ApiKey;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

pub const MATCH: &str = "/api/v1/customer/customer-match-customer";
pub const UNMATCH: &str = "/api/v1/customer/customer-unmatch-customer";
pub const LIST: &str = "/api/v1/customer/matched-customer-list";
pub const CREATE: &str = "/api/v1/customer/create";

/// Longer than the server takes at most (`--request-timeout`, 20 s): who waits that long waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// A server and a key for it. Clones share connections.
#[derive(Clone)]
pub struct Api {
    client: Client,
    url: String,
    key: String,
}

/// What came of a call.
#[derive(Debug)]
pub enum Reply {
    /// The body is null if it was not JSON.
    Answer { status: u16, body: Value },
    /// No connection was to be had, so the server never heard of the call.
    NotSent,
    /// The connection was lost before the answer.
    Lost,
    /// No answer within [`PATIENCE`].
    Late,
}

impl Api {
    /// `url` is such as `http://127.0.0.1:8080`. An unlimited key is best: whoever is told to wait proves nothing.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        ApiKey::parse(key).context("the key")?;
        let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// An error is a reason to give up: calls that are refused for their number prove nothing.
    pub async fn post(&self, path: &str, body: String, represent: bool) -> anyhow::Result<Reply> {
        let mut request =
            self.request(Method::POST, path).header("content-type", "application/json").body(body);
        if represent {
            request = request.header("prefer", "return=representation");
        }
        send(request).await
    }

    /// See [`Api::post`].
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Reply> {
        send(self.request(Method::GET, path).query(parameters)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).query(&[("apiKey", &self.key)])
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Reply> {
    let answer = async {
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.bytes().await?))
    };
    let (status, body) = match answer.await {
        Ok(answer) => answer,
        Err(error) if reqwest::Error::is_timeout(&error) => return Ok(Reply::Late),
        Err(error) if error.is_connect() => return Ok(Reply::NotSent),
        Err(error) if error.is_builder() => return Err(error.without_url().into()),
        Err(_) => return Ok(Reply::Lost),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 429 {
        bail!("the key's rate limit was reached: take one without (`customer-match key create --kind root`)");
    }
    Ok(Reply::Answer { status, body })
}
