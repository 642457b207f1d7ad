//! The table `customer_identity`. Never cached: a logout is seen by every server at once.

use sqlx::PgExecutor;

use crate::domain::{CuRefNo, Email, IdentityId, ProfileText};

/// Who is logged in.
#[derive(Debug)]
pub struct Viewer {
    /// The customer's internal id.
    pub customer_id: i64,
    /// The customer's public reference.
    pub cu_ref_no: String,
}

/// Logs in the customer with this address, for three months; creates it if nobody has the address, else fills in the
/// names that are not known yet. Done twice it is as done once.
pub async fn create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
    email: &Email,
    first_name: Option<&ProfileText>,
    last_name: Option<&ProfileText>,
) -> sqlx::Result<()> {
    let new = CuRefNo::generate();
    let hash = identity.hash();
    sqlx::query!(
        "with known as (
            insert into customer (organisation_id, cu_ref_no, email, first_name, last_name)
            values ($1, $2, $3, $4, $5)
            on conflict (organisation_id, email) where deleted_at is null do update set
                first_name = coalesce(customer.first_name, excluded.first_name),
                last_name = coalesce(customer.last_name, excluded.last_name)
            returning id
        )
        insert into customer_identity (organisation_id, hash, customer_id, created_at, expires_at)
        select $1, $6, id, now(), now() + interval '3 months' from known
        on conflict (organisation_id, hash) do nothing",
        organisation_id,
        new.as_str(),
        email.as_str(),
        first_name.map(ProfileText::as_str),
        last_name.map(ProfileText::as_str),
        hash.as_bytes(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whose identity this is, unless it has expired or been revoked.
pub async fn find(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<Option<Viewer>> {
    let hash = identity.hash();
    sqlx::query_as!(
        Viewer,
        "select c.id as customer_id, c.cu_ref_no
         from customer_identity i
         join customer c on c.organisation_id = $1 and c.id = i.customer_id and c.deleted_at is null
         where i.organisation_id = $1 and i.hash = $2 and i.revoked_at is null and i.expires_at > now()",
        organisation_id,
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await
}

/// Ends a session. False when there is none: it never was, has expired, has been ended before
/// or went with its customer.
pub async fn revoke(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
) -> sqlx::Result<bool> {
    let hash = identity.hash();
    let revoked = sqlx::query_scalar!(
        "update customer_identity set revoked_at = now()
         where organisation_id = $1 and hash = $2 and revoked_at is null and expires_at > now()
           and exists (
               select from customer c
               where c.organisation_id = $1 and c.id = customer_identity.customer_id and c.deleted_at is null
           )
         returning customer_id",
        organisation_id,
        hash.as_bytes(),
    )
    .fetch_optional(db)
    .await?;
    Ok(revoked.is_some())
}
