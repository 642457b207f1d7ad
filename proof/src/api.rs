//! The HTTP client.

use std::time::Duration;

use anyhow::bail;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

pub const MATCH: &str = "/api/v1/customer/customer-match-customer";
pub const UNMATCH: &str = "/api/v1/customer/customer-unmatch-customer";
pub const LIST: &str = "/api/v1/customer/matched-customer-list";
pub const CHANGES: &str = "/api/v1/customer/match-changes";
pub const CREATE: &str = "/api/v1/customer/create";
pub const MAGIC_AUTH: &str = "/api/v1/customer/magic-auth";
pub const LOGOUT: &str = "/api/v1/customer/logout";
pub const DETAIL: &str = "/api/v1/customer/detail";

/// Long past every deadline of the server, so that it is known how late a late answer is.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A server and a key. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    client: Client,
    url: String,
    key: String,
}

/// The outcome of one exchange.
#[derive(Debug)]
pub enum Reply {
    /// The body is null if it was not JSON.
    Answer {
        status: u16,
        body: Value,
    },
    NotSent,
    Lost,
    TimedOut,
}

impl Api {
    /// `url` is such as `http://127.0.0.1:8080`. The key needs to be without a rate limit.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// The same server with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Fails when the rate limit is reached: rejected calls prove nothing.
    pub async fn post(&self, path: &str, body: String, headers: &[(&str, String)]) -> anyhow::Result<Reply> {
        let request = self.request(Method::POST, path).header("content-type", "application/json").body(body);
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, value))).await
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
        Err(error) if reqwest::Error::is_timeout(&error) => return Ok(Reply::TimedOut),
        Err(error) if error.is_connect() => return Ok(Reply::NotSent),
        Err(error) if error.is_builder() => return Err(error.without_url().into()),
        Err(_) => return Ok(Reply::Lost),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 429 {
        bail!(
            "the rate limit of the key was reached: use one without (`customer-match key create --kind root`)"
        );
    }
    Ok(Reply::Answer { status, body })
}
