//! Statements of customer imports about the table `customer`: each reads or writes a batch.

use sqlx::{FromRow, PgExecutor};

/// The columns of a customer that an import may write.
#[derive(Debug, Clone, FromRow)]
pub struct Record {
    /// Whether it is in the table.
    pub stored: bool,
    pub cu_ref_no: String,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub company_name: Option<String>,
    pub phone: Option<String>,
    /// A deleted customer keeps its reference, but not its e-mail address.
    pub deleted: bool,
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
            true as "stored!", found.cu_ref_no as "cu_ref_no!", email, first_name, last_name, company_name, phone,
            deleted_at is not null as "deleted!"
        from unnest($2::text[]) as named (cu_ref_no)
        cross join lateral (
            select * from customer
            where organisation_id = $1 and customer.cu_ref_no = named.cu_ref_no
            limit 1
        ) as found
        union
        select true, cu_ref_no, found.email, first_name, last_name, company_name, phone, false
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
    let columns = Columns::of(records);
    let added = sqlx::query_scalar!(
        "insert into customer (organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone)
         select $1, cu_ref_no, email, first_name, last_name, company_name, phone
         from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
             as record (cu_ref_no, email, first_name, last_name, company_name, phone)
         -- In one order, so that two imports of the same file wait for each other instead of deadlocking.
         order by email nulls last, cu_ref_no
         on conflict do nothing
         returning cu_ref_no",
        organisation_id,
        &columns.cu_ref_no as &[&str],
        &columns.email as &[Option<&str>],
        &columns.first_name as &[Option<&str>],
        &columns.last_name as &[Option<&str>],
        &columns.company_name as &[Option<&str>],
        &columns.phone as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    Ok(added.len())
}

/// Fills in missing values and keeps existing ones, also those written since the read. Returns how many customers exist and
/// do not have another e-mail address.
pub async fn fill(db: impl PgExecutor<'_>, organisation_id: i64, records: &[&Record]) -> sqlx::Result<usize> {
    let columns = Columns::of(records);
    let filled = sqlx::query_scalar!(
        "with locked as (
             select cu_ref_no from customer
             where organisation_id = $1 and cu_ref_no = any ($2) and living
             order by cu_ref_no
             for no key update
         )
         update customer set
             email = coalesce(customer.email, record.email),
             first_name = coalesce(customer.first_name, record.first_name),
             last_name = coalesce(customer.last_name, record.last_name),
             company_name = coalesce(customer.company_name, record.company_name),
             phone = coalesce(customer.phone, record.phone),
             updated_at = greatest(next_microsecond(customer.updated_at), statement_timestamp())
         from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
             as record (cu_ref_no, email, first_name, last_name, company_name, phone)
         join locked on locked.cu_ref_no = record.cu_ref_no
         where customer.organisation_id = $1 and customer.cu_ref_no = record.cu_ref_no and customer.living
           and coalesce(customer.email = record.email, true)
         returning customer.cu_ref_no",
        organisation_id,
        &columns.cu_ref_no as &[&str],
        &columns.email as &[Option<&str>],
        &columns.first_name as &[Option<&str>],
        &columns.last_name as &[Option<&str>],
        &columns.company_name as &[Option<&str>],
        &columns.phone as &[Option<&str>],
    )
    .fetch_all(db)
    .await?;
    Ok(filled.len())
}

/// The records as one array per column, for `unnest`.
struct Columns<'a> {
    cu_ref_no: Vec<&'a str>,
    email: Vec<Option<&'a str>>,
    first_name: Vec<Option<&'a str>>,
    last_name: Vec<Option<&'a str>>,
    company_name: Vec<Option<&'a str>>,
    phone: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(records: &[&'a Record]) -> Self {
        let text = |field: fn(&Record) -> &Option<String>| {
            records.iter().map(|record| field(record).as_deref()).collect()
        };
        Self {
            cu_ref_no: records.iter().map(|record| record.cu_ref_no.as_str()).collect(),
            email: text(|record| &record.email),
            first_name: text(|record| &record.first_name),
            last_name: text(|record| &record.last_name),
            company_name: text(|record| &record.company_name),
            phone: text(|record| &record.phone),
        }
    }
}
