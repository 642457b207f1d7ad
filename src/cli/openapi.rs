//! `customer-match openapi`

use std::io::{Write, stdout};

use clap::Args;

use crate::http;

/// Print the OpenAPI document of the API
#[derive(Args)]
pub(super) struct OpenApi;

impl OpenApi {
    pub(super) fn run(self) -> anyhow::Result<()> {
        Ok(stdout().write_all(http::openapi_document().as_bytes())?)
    }
}
