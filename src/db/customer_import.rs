//! Statements of customer imports about the table `customer`: each reads or writes a batch.

use std::array;

use sqlx::{FromRow, PgExecutor};

/// What an import may write of a customer besides its reference, as a file names it; in the order of [`Fields`].
pub const FIELDS: [&str; 8] = [
    "email",
    "firstName",
    "lastName",
    "companyName",
    "phone",
    "companyRegistrationNumber",
    "taxIdentificationNumber",
    "customerRealIp",
];
/// The position of the e-mail address.
pub const EMAIL: usize = 0;

pub type Fields = [Option<String>; FIELDS.len()];

/// A customer as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Record {
    pub cu_ref_no: String,
    pub fields: Fields,
    /// A deleted customer keeps its reference, but not its e-mail address.
    pub deleted: bool,
}

/// What a stored customer gets.
#[derive(Debug)]
pub struct Update<'a> {
    pub cu_ref_no: &'a str,
    /// The e-mail address that it must have, so that the rows of the file are about it.
    pub email: Option<&'a str>,
    /// `None` keeps what is stored, and the empty text clears it.
    pub fields: &'a Fields,
}

/// The customers with one of these references, deleted ones too, and those with one of these e-mail addresses that are not
/// deleted.
pub async fn find(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_nos: &[&str],
    emails: &[&str],
) -> sqlx::Result<Vec<Record>> {
    sqlx::query_as!(
        Record,
        // Single lookups always use the unique index. `= any` may be planned as a scan of the whole organisation while the
        // table has no statistics. The limit has no other effect than to keep the planner from making a join of the lookups.
        r#"
        select
            found.cu_ref_no as "cu_ref_no!",
            array[
                email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
                host(real_ip)
            ] as "fields!: Fields",
            deleted_at is not null as "deleted!"
        from unnest($2::text[]) as named (cu_ref_no)
        cross join lateral (
            select * from customer
            where organisation_id = $1 and customer.cu_ref_no = named.cu_ref_no
            limit 1
        ) as found
        union
        select
            cu_ref_no,
            array[
                found.email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
                host(real_ip)
            ],
            false
        from unnest($3::text[]) as named (email)
        cross join lateral (
            select * from customer
            where organisation_id = $1 and customer.email = named.email and deleted_at is null
            limit 1
        ) as found
        "#,
        organisation_id,
        cu_ref_nos as &[&str],
        emails as &[&str],
    )
    .fetch_all(db)
    .await
}

/// Inserts customers and returns how many were inserted: fewer than given if another writer took a reference or an e-mail
/// address.
pub async fn insert(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    records: &[&Record],
) -> sqlx::Result<usize> {
    let cu_ref_nos: Vec<_> = records.iter().map(|record| record.cu_ref_no.as_str()).collect();
    let [email, first_name, last_name, company_name, phone, registration_number, tax_number, real_ip] =
        columns(records.iter().map(|record| &record.fields));
    let added = sqlx::query_scalar!(
        "insert into customer (
             organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
             company_registration_number, tax_identification_number, real_ip
         )
         select
             $1, cu_ref_no, email, first_name, last_name, company_name, phone,
             company_registration_number, tax_identification_number, real_ip::inet
         from unnest(
             $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[]
         ) as record (
             cu_ref_no, email, first_name, last_name, company_name, phone,
             company_registration_number, tax_identification_number, real_ip
         )
         -- In one order, so that two imports of the same file wait for each other instead of deadlocking.
         order by email nulls last, cu_ref_no
         on conflict do nothing
         returning cu_ref_no",
        organisation_id,
        &cu_ref_nos as &[&str],
        &email as &[Option<&str>],
        &first_name as &[Option<&str>],
        &last_name as &[Option<&str>],
        &company_name as &[Option<&str>],
        &phone as &[Option<&str>],
        &registration_number as &[Option<&str>],
        &tax_number as &[Option<&str>],
        &real_ip as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    Ok(added.len())
}

/// Fills in missing values; `overwrite` replaces others too. Values that are not given stay, also those written since the read.
/// Returns how many customers exist and have the e-mail address that they must have.
pub async fn update(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    updates: &[Update<'_>],
    overwrite: bool,
) -> sqlx::Result<usize> {
    let cu_ref_nos: Vec<_> = updates.iter().map(|update| update.cu_ref_no).collect();
    let expected: Vec<_> = updates.iter().map(|update| update.email).collect();
    let [email, first_name, last_name, company_name, phone, registration_number, tax_number, real_ip] =
        columns(updates.iter().map(|update| update.fields));
    let updated = sqlx::query_scalar!(
        "with locked as (
             select
                 cu_ref_no, email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
                 host(real_ip) as real_ip
             from customer
             where organisation_id = $1 and cu_ref_no = any ($2) and living
             order by cu_ref_no
             for no key update
         )
         update customer set
             email = coalesce(record.email, locked.email),
             -- A value that is given comes first if it may replace one.
             first_name = nullif(case when $12 then coalesce(record.first_name, locked.first_name)
                                      else coalesce(locked.first_name, record.first_name) end, ''),
             last_name = nullif(case when $12 then coalesce(record.last_name, locked.last_name)
                                     else coalesce(locked.last_name, record.last_name) end, ''),
             company_name = nullif(case when $12 then coalesce(record.company_name, locked.company_name)
                                        else coalesce(locked.company_name, record.company_name) end, ''),
             phone = nullif(case when $12 then coalesce(record.phone, locked.phone)
                                 else coalesce(locked.phone, record.phone) end, ''),
             company_registration_number = nullif(
                 case when $12 then coalesce(record.company_registration_number, locked.company_registration_number)
                      else coalesce(locked.company_registration_number, record.company_registration_number) end, ''),
             tax_identification_number = nullif(
                 case when $12 then coalesce(record.tax_identification_number, locked.tax_identification_number)
                      else coalesce(locked.tax_identification_number, record.tax_identification_number) end, ''),
             real_ip = nullif(case when $12 then coalesce(record.real_ip, locked.real_ip)
                                   else coalesce(locked.real_ip, record.real_ip) end, '')::inet,
             updated_at = greatest(next_microsecond(customer.updated_at), statement_timestamp())
         from unnest(
             $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]
         ) as record (
             cu_ref_no, expected_email, email, first_name, last_name, company_name, phone,
             company_registration_number, tax_identification_number, real_ip
         )
         join locked on locked.cu_ref_no = record.cu_ref_no
         where customer.organisation_id = $1 and customer.cu_ref_no = record.cu_ref_no and customer.living
           and locked.email is not distinct from record.expected_email
         returning customer.cu_ref_no",
        organisation_id,
        &cu_ref_nos as &[&str],
        &expected as &[Option<&str>],
        &email as &[Option<&str>],
        &first_name as &[Option<&str>],
        &last_name as &[Option<&str>],
        &company_name as &[Option<&str>],
        &phone as &[Option<&str>],
        &registration_number as &[Option<&str>],
        &tax_number as &[Option<&str>],
        &real_ip as &[Option<&str>],
        overwrite,
    )
    .fetch_all(db)
    .await?;
    Ok(updated.len())
}

/// Takes their e-mail addresses from customers that get another one, so that the same batch may give the addresses to others.
/// Returns how many of them had the address that they must have.
pub async fn release_emails(
    db: impl PgExecutor<'_>,
    organisation_id: i64,
    cu_ref_nos: &[&str],
    emails: &[&str],
) -> sqlx::Result<usize> {
    let released = sqlx::query!(
        "with locked as (
             select cu_ref_no, email from customer
             where organisation_id = $1 and cu_ref_no = any ($2) and living
             order by cu_ref_no
             for no key update
         )
         update customer set email = null
         from unnest($2::text[], $3::text[]) as record (cu_ref_no, email)
         join locked on locked.cu_ref_no = record.cu_ref_no and locked.email = record.email
         where customer.organisation_id = $1 and customer.cu_ref_no = record.cu_ref_no and customer.living",
        organisation_id,
        cu_ref_nos as &[&str],
        emails as &[&str],
    )
    .execute(db)
    .await?;
    Ok(usize::try_from(released.rows_affected()).unwrap_or(usize::MAX))
}

/// One array for each field, for `unnest`.
fn columns<'a>(records: impl Iterator<Item = &'a Fields> + Clone) -> [Vec<Option<&'a str>>; FIELDS.len()] {
    array::from_fn(|field| records.clone().map(|fields| fields[field].as_deref()).collect())
}
