//! The table `customer`.

use std::net::IpAddr;

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
    /// The company's number in its country's register.
    pub company_registration_number: Option<ProfileText>,
    /// The company's number for taxes.
    pub tax_identification_number: Option<ProfileText>,
    /// Where the customer came from, as the caller's web server saw it.
    pub real_ip: Option<IpAddr>,
}

/// A customer, as its organisation sees it.
#[derive(Debug)]
pub struct Customer {
    /// Its public reference.
    pub cu_ref_no: String,
    /// The normal form; `None` for those known by reference only.
    pub email: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Company.
    pub company_name: Option<String>,
    /// In any notation.
    pub phone: Option<String>,
    /// The company's number in its country's register.
    pub company_registration_number: Option<String>,
    /// The company's number for taxes.
    pub tax_identification_number: Option<String>,
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

/// The customer with this address, and whether it was created just now. What the profile knows and the customer's own
/// does not is filled in; nothing that is there is overwritten.
pub async fn get_or_create(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    email: &Email,
    profile: &Profile,
) -> sqlx::Result<(Customer, bool)> {
    let new = CuRefNo::generate();
    let customer = sqlx::query_as!(
        Customer,
        "insert into customer (
            organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
            company_registration_number, tax_identification_number, real_ip
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::inet)
        on conflict (organisation_id, email) where deleted_at is null do update set
            first_name = coalesce(customer.first_name, excluded.first_name),
            last_name = coalesce(customer.last_name, excluded.last_name),
            company_name = coalesce(customer.company_name, excluded.company_name),
            phone = coalesce(customer.phone, excluded.phone),
            company_registration_number =
                coalesce(customer.company_registration_number, excluded.company_registration_number),
            tax_identification_number =
                coalesce(customer.tax_identification_number, excluded.tax_identification_number),
            real_ip = coalesce(customer.real_ip, excluded.real_ip)
        returning
            cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number",
        organisation_id,
        new.as_str(),
        email.as_str(),
        profile.first_name.as_ref().map(ProfileText::as_str),
        profile.last_name.as_ref().map(ProfileText::as_str),
        profile.company_name.as_ref().map(ProfileText::as_str),
        profile.phone.as_ref().map(ProfileText::as_str),
        profile.company_registration_number.as_ref().map(ProfileText::as_str),
        profile.tax_identification_number.as_ref().map(ProfileText::as_str),
        profile.real_ip.map(|ip| ip.to_string()),
    )
    .fetch_one(db)
    .await?;
    let created = customer.cu_ref_no == new.as_str();
    Ok((customer, created))
}

/// The internal id of a customer.
pub async fn find_id(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "select id from customer where organisation_id = $1 and cu_ref_no = $2 and deleted_at is null",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// The internal id of a customer that is there or was: a list goes on behind one that has been deleted meanwhile.
pub async fn find_id_even_deleted(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_no: &CuRefNo,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "select id from customer where organisation_id = $1 and cu_ref_no = $2",
        organisation_id,
        cu_ref_no.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// A customer as far as another may see it: itself, and those whom it manages in an active relation.
pub async fn find_for_viewer(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    viewer_id: i64,
    cu_ref_no: &str,
) -> sqlx::Result<Option<Customer>> {
    sqlx::query_as!(
        Customer,
        "select
            cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number,
            tax_identification_number
         from customer c
         where c.organisation_id = $1 and c.cu_ref_no = $3 and c.deleted_at is null
           and (
               c.id = $2
               or exists (
                   select from customer_match m
                   where m.organisation_id = $1 and m.low_id = least(c.id, $2) and m.high_id = greatest(c.id, $2)
                     and m.deactivated_at is null
                     and case m.low_id when $2 then m.low_is_manager else m.high_is_manager end
               )
           )",
        organisation_id,
        viewer_id,
        cu_ref_no,
    )
    .fetch_optional(db)
    .await
}
