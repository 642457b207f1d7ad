//! Demo mode: what the documentation's example needs to run as printed (contract §3).

use std::net::SocketAddr;

use anyhow::Context;
use sqlx::PgPool;

use crate::db::customer::Profile;
use crate::db::{self, api_key, customer, organisation};
use crate::domain::{ApiKey, CuRefNo, Email};

const ORGANISATION: &str = "Demo";
/// The two customers of the documented example.
const MANAGER: &str = "1cGIHvFoQDGLAbcA";
const CUSTOMER: &str = "5CmsaVNgAQqRqoen";
const CUSTOMER_EMAIL: &str = "jan@barasek.com";

/// Makes the organisation, its key and its customers, unless it was done before. An organisation of that name that has
/// not the sample key is somebody's own: it does not get a key that everybody knows.
pub async fn set_up(pool: &PgPool) -> anyhow::Result<()> {
    let key = ApiKey::parse(ApiKey::SAMPLE)?;
    let organisation_id = match api_key::find(pool, &key.hash()).await? {
        Some(known) => known.organisation_id,
        None => {
            let organisation = organisation::create(pool, ORGANISATION).await?.with_context(|| {
                format!("an organisation named \"{ORGANISATION}\" exists already, so there is no room for the demo: start with --no-demo")
            })?;
            let new = api_key::NewKey { description: "The documentation's sample key", ..Default::default() };
            api_key::create(pool, organisation.id, &key, &new).await?;
            organisation.id
        }
    };
    for (cu_ref_no, email) in [(MANAGER, None), (CUSTOMER, Some(Email::parse(CUSTOMER_EMAIL)?))] {
        let cu_ref_no = CuRefNo::parse(cu_ref_no)?;
        match customer::create(pool, organisation_id, &cu_ref_no, email.as_ref(), &Profile::default()).await {
            // There since the first start; whatever has been done with it since is kept.
            Err(error) if db::violates(&error, customer::CU_REF_NO_KEY) => {}
            result => result?,
        }
    }
    Ok(())
}

/// The documented call, with only the host changed.
pub fn curl(address: SocketAddr) -> String {
    format!(
        r#"curl -X POST "http://{address}/api/v1/customer/customer-match-customer?apiKey={key}" \
  -H "Content-Type: application/json" \
  -d '{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","customerEmail":"{CUSTOMER_EMAIL}",
       "notice":"Customer prefers cardio training. Contact obtained via the website."}}'"#,
        key = ApiKey::SAMPLE,
    )
}
