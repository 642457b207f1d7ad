//! Demo mode: the data that the examples of the documentation need to run as printed (contract §3).

mod calls;
mod sample_data;

pub use calls::{curl, fetch, python};
pub(crate) use sample_data::{CLIENT, TRAINER};

use anyhow::Context;
use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::db::{self, api_key, customer, customer_identity, organisation};
use crate::domain::{ApiKey, CuRefNo, Email, IdentityId, Profile, Registration, Relation, Role, Timestamp};

const ORGANISATION: &str = "Demo";
/// The manager of the documented example.
pub(crate) const MANAGER: &str = "1cGIHvFoQDGLAbcA";
/// The customer of the documented example.
pub(crate) const CUSTOMER: &str = "5CmsaVNgAQqRqoen";
pub(crate) const CUSTOMER_EMAIL: &str = "jan@barasek.com";
/// The identity id of that customer.
pub(crate) const IDENTITY: &str = "0jSodqYxBs98PaIAcIbs5FyMEJTsJ6DA";
/// Another one, so that trying the logout leaves the first.
pub(crate) const IDENTITY_TO_LOG_OUT: &str = "Tq4nVb8sXc2mZk6wRj0yLp5dHf9gUa3e";
pub(crate) const NOTICE: &str = "Customer prefers cardio training. Contact obtained via the website.";

/// Creates the organisation, its key, its customers and the sample data unless they exist, and logs the customer in anew: a visitor may
/// have logged it out. An organisation of the same name without the sample key is not the demo's: that is an error, as the publicly
/// known key must not open its data.
pub async fn set_up(pool: &PgPool) -> anyhow::Result<()> {
    let key = ApiKey::parse(ApiKey::SAMPLE)?;
    let organisation_id = match api_key::find(pool, &key.hash()).await? {
        Some(known) => known.organisation_id,
        None => {
            let organisation = organisation::create(pool, ORGANISATION).await?.with_context(|| {
                format!("an organisation named \"{ORGANISATION}\" exists already, so the demo cannot be set up: start with --no-demo")
            })?;
            let new = api_key::NewKey { description: "The documentation's sample key", ..Default::default() };
            api_key::create(pool, organisation.id, &key, &new).await?;
            organisation.id
        }
    };
    for (cu_ref_no, email) in [(MANAGER, None), (CUSTOMER, Some(Email::parse(CUSTOMER_EMAIL)?))] {
        let cu_ref_no = CuRefNo::parse(cu_ref_no)?;
        match customer::create(pool, organisation_id, &cu_ref_no, email.as_ref(), &Profile::default()).await {
            // Created by an earlier start, and kept as it is now.
            Err(error) if db::violates(&error, customer::CU_REF_NO_KEY) => {}
            result => result?,
        }
    }
    sample_data::create(&mut *pool.acquire().await?, organisation_id).await?;
    for identity in [IDENTITY, IDENTITY_TO_LOG_OUT] {
        let identity = IdentityId::parse(identity)?;
        let registration = Registration::new(Email::parse(CUSTOMER_EMAIL)?, Profile::default());
        customer_identity::delete(pool, organisation_id, &identity).await?;
        customer_identity::open(pool, organisation_id, &identity, &registration).await?;
    }
    Ok(())
}

/// The relation of the documented example as a later call may find it.
pub(crate) fn documented_relation() -> Relation {
    let at = Timestamp::from(DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_736_525_981_675));
    Relation {
        manager_cu_ref_no: MANAGER.into(),
        customer_cu_ref_no: Some(CUSTOMER.into()),
        customer_email: None,
        role: Some(Role::Customer),
        notice: Some(Some(NOTICE.into())),
        active: true,
        created_at: at,
        matched_at: at,
        updated_at: at,
        ended_at: None,
        version: 1,
    }
}

pub fn documented_body() -> Value {
    json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER, "customerEmail": CUSTOMER_EMAIL, "notice": NOTICE })
}
