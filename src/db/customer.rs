//! The table `customer`.

use sqlx::PgExecutor;

use crate::domain::{CuRefNo, Customer, Email, Profile, ProfileText};

/// Unique reference within the organisation.
pub const CU_REF_NO_KEY: &str = "customer_cu_ref_no_key";
/// Unique e-mail address within the organisation, among customers that are not deleted.
pub const EMAIL_KEY: &str = "customer_email_key";
/// Violated by a customer of an organisation that does not exist.
pub const ORGANISATION_FKEY: &str = "customer_organisation_id_fkey";

/// Inserts a customer; a violated constraint is one of those above.
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

/// A deleted customer does not exist.
pub async fn exists(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        "select cu_ref_no from customer where organisation_id = $1 and cu_ref_no = $2 and living",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// A customer that the viewer may see: itself, or one that it manages in an active relation.
pub async fn find_for_viewer(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    viewer: &str,
    cu_ref_no: &str,
) -> sqlx::Result<Option<Customer>> {
    sqlx::query_as!(
        Customer,
        r#"select
            cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number
         from customer
         where organisation_id = $1 and cu_ref_no = $3 and living
           and (
               cu_ref_no = $2
               or exists (
                   select from customer_match
                   where organisation_id = $1 and active
                     and low_cu_ref_no = least($2 collate "C", $3 collate "C")
                     and high_cu_ref_no = greatest($2 collate "C", $3 collate "C")
                     and case low_cu_ref_no when $2 then low_is_manager else high_is_manager end
               )
           )"#,
        organisation_id,
        viewer,
        cu_ref_no,
    )
    .fetch_optional(db)
    .await
}
