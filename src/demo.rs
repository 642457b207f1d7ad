//! Demo mode: what the documentation's examples need to run as printed (contract §3).

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::db::{self, api_key, customer, customer_identity, organisation};
use crate::domain::{ApiKey, CuRefNo, Email, IdentityId, Profile, Registration};

const ORGANISATION: &str = "Demo";
/// The owner of the relation in the documented example.
pub(crate) const MANAGER: &str = "1cGIHvFoQDGLAbcA";
/// The customer of it.
pub(crate) const CUSTOMER: &str = "5CmsaVNgAQqRqoen";
/// That customer's address.
pub(crate) const CUSTOMER_EMAIL: &str = "jan@barasek.com";
/// That customer, logged in.
pub(crate) const IDENTITY: &str = "0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA";
pub(crate) const NOTICE: &str = "Customer prefers cardio training. Contact obtained via the website.";

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
    let (identity, email) = (IdentityId::parse(IDENTITY)?, Email::parse(CUSTOMER_EMAIL)?);
    let registration = Registration::new(email, Profile::default());
    customer_identity::open(pool, organisation_id, &identity, &registration).await?;
    Ok(())
}

/// The body of the documented call.
pub fn documented_body() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "customerEmail": CUSTOMER_EMAIL, "notice": NOTICE })
}

/// The documented call at this origin, such as `http://127.0.0.1:8080`, with this key.
pub fn curl(origin: &str, key: &str) -> String {
    format!(
        r#"curl -X POST "{origin}/api/v1/customer/customer-match-customer?apiKey={key}" \
  -H "Content-Type: application/json" \
  -d '{{"managerCuRefNo":"{MANAGER}","customerCuRefNo":"{CUSTOMER}","customerEmail":"{CUSTOMER_EMAIL}",
       "notice":"{NOTICE}"}}'"#,
    )
}
