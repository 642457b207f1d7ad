//! The table `customer`.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgExecutor;
use sqlx::types::Json;

use super::layout::Layout;
use crate::domain::{
    CuRefNo, Customer, Email, IdentityId, NamedCustomer, Profile, ProfileText, ProfileUpdate, Updated,
};

/// Unique reference within the organisation.
pub const CU_REF_NO_KEY: &str = "customer_cu_ref_no_key";
/// Unique address within the organisation, among customers that are not deleted.
pub const EMAIL_KEY: &str = "customer_email_key";

/// The customer with this reference, unless it is deleted.
pub async fn find(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<Option<Customer>> {
    sqlx::query_as!(
        Customer,
        "select
             cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
             created_at, updated_at
         from customer where organisation_id = $1 and cu_ref_no = $2 and living",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// Adds a customer; the constraints above say why it may not be.
pub async fn create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
    email: Option<&Email>,
    profile: &Profile,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into customer (
            organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
            company_registration_number, tax_identification_number, real_ip
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::inet)",
        organisation_id,
        cu_ref_no.as_str(),
        email.map(Email::as_str),
        profile.first_name.as_ref().map(ProfileText::as_str),
        profile.last_name.as_ref().map(ProfileText::as_str),
        profile.company_name.as_ref().map(ProfileText::as_str),
        profile.phone.as_ref().map(ProfileText::as_str),
        profile.company_registration_number.as_ref().map(ProfileText::as_str),
        profile.tax_identification_number.as_ref().map(ProfileText::as_str),
        profile.real_ip.map(|ip| ip.to_string()),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes the profile of a customer. May be called again.
pub async fn update(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    update: &ProfileUpdate,
) -> sqlx::Result<Updated> {
    let updated = sqlx::query_scalar!(
        r#"select customer_update($1, $2) as "updated!: Json<Updated>""#,
        organisation_id,
        json!(update),
    )
    .fetch_one(db)
    .await?;
    Ok(updated.0)
}

/// All that is stored of a customer, also of a deleted one, for the operator.
#[derive(Debug)]
pub struct CustomerRecord {
    pub customer: Customer,
    pub real_ip: Option<String>,
    pub active_relations: i64,
    pub merged_from: Vec<String>,
    pub merged_into: Option<String>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub deletion_reason: Option<String>,
    pub erased_at: Option<DateTime<Utc>>,
}

/// A deleted customer is found by its reference only.
pub async fn find_record(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    named: &NamedCustomer,
) -> sqlx::Result<Option<CustomerRecord>> {
    let row = sqlx::query!(
        r#"
        select
            cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number, host(real_ip) as real_ip, created_at, updated_at, deleted_at, deletion_reason, erased_at,
            merged_into_cu_ref_no as merged_into,
            array(
                select cu_ref_no from customer as legacy
                where organisation_id = $1 and legacy.merged_into_cu_ref_no = customer.cu_ref_no
                order by cu_ref_no
            ) as "merged_from!",
            (select count(*) from customer_match where organisation_id = $1 and low_cu_ref_no = cu_ref_no and active is not null)
            + (select count(*) from customer_match where organisation_id = $1 and high_cu_ref_no = cu_ref_no and active is not null)
                as "active_relations!"
        from customer
        where organisation_id = $1 and (cu_ref_no = $2 or (email = $3 and deleted_at is null))
        "#,
        organisation_id,
        named.cu_ref_no(),
        named.email(),
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| CustomerRecord {
        customer: Customer {
            cu_ref_no: row.cu_ref_no,
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            company_name: row.company_name,
            phone: row.phone,
            company_registration_number: row.company_registration_number,
            tax_identification_number: row.tax_identification_number,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        },
        real_ip: row.real_ip,
        active_relations: row.active_relations,
        merged_from: row.merged_from,
        merged_into: row.merged_into,
        deleted_at: row.deleted_at,
        deletion_reason: row.deletion_reason,
        erased_at: row.erased_at,
    }))
}

/// A customer as another one, or itself, sees it.
pub struct SeenCustomer {
    pub customer: Customer,
    pub is_own: bool,
}

/// Without a reference: the viewer may not see the customer, or there is none.
#[derive(Deserialize)]
struct SeenRow {
    cu_ref_no: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    company_name: Option<String>,
    phone: Option<String>,
    company_registration_number: Option<String>,
    tax_identification_number: Option<String>,
    created_at: Option<DateTime<Utc>>,
    updated_at: Option<DateTime<Utc>>,
    is_own: Option<bool>,
}

/// The detail of the customer whose identity this is, or of another one as far as that customer may see it: those that it
/// manages in an active relation. The outer `None`: there is no such identity, or it has expired or been revoked.
pub async fn find_for_identity(
    db: impl PgExecutor<'_>,
    layout: Layout,
    organisation_id: i64,
    identity: &IdentityId,
    cu_ref_no: Option<&CuRefNo>,
) -> sqlx::Result<Option<Option<SeenCustomer>>> {
    let row = match layout {
        Layout::Single => find_seen(db, organisation_id, identity, cu_ref_no).await?,
        Layout::Distributed => {
            let hash = identity.hash();
            let row = sqlx::query_scalar!(
                r#"select customer_find_for_identity($1, $2, $3) as "row: Json<SeenRow>""#,
                organisation_id,
                hash.as_bytes(),
                cu_ref_no.map(CuRefNo::as_str),
            );
            row.fetch_one(db).await?.map(|Json(row)| row)
        }
    };
    Ok(row.map(|row| {
        let customer = Customer {
            cu_ref_no: row.cu_ref_no?,
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            company_name: row.company_name,
            phone: row.phone,
            company_registration_number: row.company_registration_number,
            tax_identification_number: row.tax_identification_number,
            created_at: row.created_at?.into(),
            updated_at: row.updated_at?.into(),
        };
        Some(SeenCustomer { customer, is_own: row.is_own? })
    }))
}

async fn find_seen(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    identity: &IdentityId,
    cu_ref_no: Option<&CuRefNo>,
) -> sqlx::Result<Option<SeenRow>> {
    let hash = identity.hash();
    sqlx::query_as!(
        SeenRow,
        r#"
        select
            detail.cu_ref_no as "cu_ref_no?", detail.email as "email?", detail.first_name as "first_name?",
            detail.last_name as "last_name?", detail.company_name as "company_name?", detail.phone as "phone?",
            detail.company_registration_number as "company_registration_number?",
            detail.tax_identification_number as "tax_identification_number?",
            detail.created_at as "created_at?", detail.updated_at as "updated_at?",
            detail.cu_ref_no = viewer.cu_ref_no as is_own
        from customer_identity
        join customer as viewer on viewer.organisation_id = $1 and viewer.cu_ref_no = customer_identity.cu_ref_no
            and viewer.living
        left join customer as detail on detail.organisation_id = $1
            and detail.cu_ref_no = coalesce($3, viewer.cu_ref_no) and detail.living
            and (
                detail.cu_ref_no = viewer.cu_ref_no
                or exists (
                    select from customer_match
                    where organisation_id = $1 and active
                      and low_cu_ref_no = least(viewer.cu_ref_no, detail.cu_ref_no)
                      and high_cu_ref_no = greatest(viewer.cu_ref_no, detail.cu_ref_no)
                      and case low_cu_ref_no when viewer.cu_ref_no then low_is_manager else high_is_manager end
                )
            )
        where customer_identity.organisation_id = $1 and hash = $2 and revoked_at is null and expires_at > now()
        "#,
        organisation_id,
        hash.as_bytes(),
        cu_ref_no.map(CuRefNo::as_str),
    )
    .fetch_optional(db)
    .await
}
