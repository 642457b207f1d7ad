//! The table `customer`.

use sqlx::PgExecutor;

use crate::domain::{CuRefNo, Email, ProfileText};

/// What is known of a customer besides its reference and address.
#[derive(Debug, Default, Clone)]
pub struct Profile {
    /// Given name.
    pub first_name: Option<ProfileText>,
    /// Family name.
    pub last_name: Option<ProfileText>,
    /// Company.
    pub company_name: Option<ProfileText>,
    /// In any notation.
    pub phone: Option<ProfileText>,
}

/// Unique reference within the organisation.
pub const CU_REF_NO_KEY: &str = "customer_cu_ref_no_key";
/// Unique address within the organisation, among customers that are not deleted.
pub const EMAIL_KEY: &str = "customer_email_key";
/// The foreign key to the organisation, broken by a customer of one that does not exist.
pub const ORGANISATION_FKEY: &str = "customer_organisation_id_fkey";

/// Adds a customer; the constraints above say why it may not be.
pub async fn create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
    email: Option<&Email>,
    profile: &Profile,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into customer (organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone)
         values ($1, $2, $3, $4, $5, $6, $7)",
        organisation_id,
        cu_ref_no.as_str(),
        email.map(Email::as_str),
        profile.first_name.as_ref().map(ProfileText::as_str),
        profile.last_name.as_ref().map(ProfileText::as_str),
        profile.company_name.as_ref().map(ProfileText::as_str),
        profile.phone.as_ref().map(ProfileText::as_str),
    )
    .execute(db)
    .await?;
    Ok(())
}
