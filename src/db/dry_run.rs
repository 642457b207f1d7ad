//! Dry runs execute the real statements on temporary tables.
//!
//! A transaction that is rolled back at the end would lock every customer of the file until then, and a file may be a pipe. So a
//! dry run has a connection of its own with temporary tables of the same names, which shadow the real ones. What a batch would
//! change is copied there first, without locks; what it leaves as it is, is only read, since copying costs more than importing.
//! The connection is read-only, so only temporary tables can be written. Delegated functions would write on a worker all the same,
//! so none is called.
//!
//! Citus joins no temporary table with a distributed one. There, what a batch may read is fetched into temporary tables first.

use sqlx::{Connection, FromRow, PgConnection, PgPool};

use super::customer_import::{self, Record};
use super::layout::Layout;

/// A connection on which `customer` and `customer_match` are copies.
pub struct DryRun {
    connection: PgConnection,
    layout: Layout,
    /// Whether the copies may have rows.
    written: bool,
}

/// What a match finds.
#[derive(Debug, FromRow)]
pub struct Finding {
    pub manager_lives: bool,
    /// Of a customer that is named by reference.
    pub customer_lives: bool,
    /// Whether neither this match nor another one of its pair in the batch changes the relation.
    pub unchanged: bool,
}

/// The views give the shadowed tables other names; Citus is not to create them on every node. Indexes that only reads need are left out, and the column `search`, which costs
/// more than all the rest. Every statement looks single rows up, and is planned for that alone: of the copies there are no
/// statistics, and those of the tables may be older than what was imported a moment ago.
const SET_UP: &str = "
    set temp_buffers = '64MB';
    set citus.enable_ddl_propagation = off;
    create temporary view stored_customer as
        select
            organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
            company_registration_number, tax_identification_number, real_ip, created_at, updated_at, deleted_at
        from customer;
    create temporary view stored_customer_match as
        select organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
               created_at, matched_at, updated_at, deactivated_at, version
        from customer_match;
    create temporary table customer (like customer including all);
    alter table pg_temp.customer drop column search;
    create temporary table customer_match (like customer_match including all);
    do $$
    declare
      v_index regclass;
    begin
      for v_index in
        select indexrelid from pg_index
        where indrelid in ('pg_temp.customer'::regclass, 'pg_temp.customer_match'::regclass) and not indisunique
      loop
        execute format('drop index %s', v_index);
      end loop;
    end $$;
    set enable_seqscan = off;
    set enable_bitmapscan = off;
    set statement_timeout = '10min';
    set default_transaction_read_only = on;
";

/// What is stored, as the statements below read it.
const SET_UP_SINGLE: &str = "
    create temporary view real_customer as select * from stored_customer;
    create temporary view real_customer_match as select * from stored_customer_match;
    set plan_cache_mode = force_generic_plan;
";

const SET_UP_DISTRIBUTED: &str = "
    create temporary table real_customer as select * from stored_customer limit 0;
    create unique index on real_customer (organisation_id, cu_ref_no);
    create index on real_customer (organisation_id, email);
    create temporary table real_customer_match as select * from stored_customer_match limit 0;
    create unique index on real_customer_match (organisation_id, low_cu_ref_no, high_cu_ref_no);
    set plan_cache_mode = force_custom_plan;
";

/// The customers of a view or table that have one of these references or e-mail addresses. The limits keep the planner from making
/// a join of the look-ups.
macro_rules! named_customers {
    ($stored:literal) => {
        concat!(
            "select found.*
             from unnest($2::text[]) as named (cu_ref_no)
             cross join lateral (
                 select * from ",
            $stored,
            " as stored where organisation_id = $1 and stored.cu_ref_no = named.cu_ref_no limit 1
             ) as found
             union
             select found.*
             from unnest($3::text[]) as named (email)
             cross join lateral (
                 select * from ",
            $stored,
            " as stored where organisation_id = $1 and stored.email = named.email and deleted_at is null limit 1
             ) as found"
        )
    };
}

const FETCH_CUSTOMERS: &str =
    concat!("insert into real_customer ", named_customers!("stored_customer"), " on conflict do nothing");

const FETCH_RELATIONS: &str = "
    insert into real_customer_match
    select found.*
    from unnest($2::text[], $3::text[]) as pair (manager, customer)
    cross join lateral (
        select * from stored_customer_match
        where organisation_id = $1
          and low_cu_ref_no = least(manager collate \"C\", customer collate \"C\")
          and high_cu_ref_no = greatest(manager collate \"C\", customer collate \"C\")
        limit 1
    ) as found
    on conflict do nothing";

/// Customers by reference or e-mail address that have not been copied. The views exist only in this session, so no statement
/// with them can be checked at compile time.
const FIND_STORED: &str = concat!(
    "with found as (",
    named_customers!("real_customer"),
    ")
    select
        cu_ref_no,
        array[
            email, first_name, last_name, company_name, phone, company_registration_number, tax_identification_number,
            host(real_ip)
        ] as fields,
        deleted_at is not null as deleted
    from found
    where not exists (
        select from customer as copied where copied.organisation_id = $1 and copied.cu_ref_no = found.cu_ref_no
    )"
);

const COPY_CUSTOMERS: &str = concat!(
    "insert into customer (
        organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone,
        company_registration_number, tax_identification_number, real_ip, created_at, updated_at, deleted_at
    ) ",
    named_customers!("real_customer"),
    " on conflict do nothing"
);

/// The matches as `pair`, with the reference of each customer that exists.
macro_rules! with_pairs {
    ($statement:literal) => {
        concat!(
            "with pair as materialized (
                 select ordinal, manager, notice, coalesce(
                     cu_ref_no,
                     (select cu_ref_no from customer
                      where organisation_id = $1 and customer.email = named.email and deleted_at is null),
                     (select cu_ref_no from real_customer
                      where organisation_id = $1 and real_customer.email = named.email and deleted_at is null)
                 ) as customer
                 from unnest($2::text[], $3::text[], $4::text[], $5::text[])
                     with ordinality as named (manager, cu_ref_no, email, notice, ordinal)
             ) ",
            $statement
        )
    };
}

/// `unchanged` is the condition on which `customer_match_write` updates no row. An active relation has living customers. A
/// relation that was copied is no more what is stored.
const FIND: &str = with_pairs!(
    "select
         -- Not `exists`, which may be planned as a scan of the whole organisation.
         unchanged or (
             select true from real_customer
             where organisation_id = $1 and real_customer.cu_ref_no = manager and deleted_at is null
         ) is not null as manager_lives,
         unchanged or (
             select true from real_customer
             where organisation_id = $1 and real_customer.cu_ref_no = customer and deleted_at is null
         ) is not null as customer_lives,
         unchanged
     from (
         select
             ordinal, manager, customer,
             bool_and(coalesce((
                 select
                     deactivated_at is null
                     and case when low_cu_ref_no = manager then low_is_manager else high_is_manager end
                     and coalesce(pair.notice = coalesce(stored.notice, ''), true)
                 from real_customer_match as stored
                 where organisation_id = $1
                   and low_cu_ref_no = least(manager collate \"C\", customer collate \"C\")
                   and high_cu_ref_no = greatest(manager collate \"C\", customer collate \"C\")
                   and not exists (
                       select from customer_match as copied
                       where copied.organisation_id = $1 and copied.low_cu_ref_no = stored.low_cu_ref_no
                         and copied.high_cu_ref_no = stored.high_cu_ref_no
                   )
             ), false)) over (partition by least(manager, customer), greatest(manager, customer)) as unchanged
         from pair
     ) as pair_of_batch
     order by ordinal"
);

const COPY_RELATIONS: &str = with_pairs!(
    "insert into customer_match (
         organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice,
         created_at, matched_at, updated_at, deactivated_at, version
     )
     select found.*
     from pair
     cross join lateral (
         select * from real_customer_match
         where organisation_id = $1
           and low_cu_ref_no = least(manager collate \"C\", customer collate \"C\")
           and high_cu_ref_no = greatest(manager collate \"C\", customer collate \"C\")
         limit 1
     ) as found
     on conflict do nothing"
);

/// Matches, one array for each column of a file.
#[derive(Debug, Default)]
pub struct MatchColumns<'a> {
    pub managers: Vec<&'a str>,
    pub cu_ref_nos: Vec<Option<&'a str>>,
    pub emails: Vec<Option<&'a str>>,
    pub notices: Vec<Option<&'a str>>,
}

impl DryRun {
    pub async fn open(pool: &PgPool) -> sqlx::Result<Self> {
        let mut connection = super::dedicated(pool).await?;
        let layout = Layout::read_on(&mut connection).await?;
        let stored = match layout {
            Layout::Single => SET_UP_SINGLE,
            Layout::Distributed => SET_UP_DISTRIBUTED,
        };
        sqlx::raw_sql(&format!("{SET_UP} {stored}")).execute(&mut connection).await?;
        Ok(Self { connection, layout, written: false })
    }

    /// The statements that write a batch run here.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.written = true;
        &mut self.connection
    }

    /// What [`customer_import::find`] would find after the batches so far.
    pub async fn find_customers(
        &mut self,
        organisation_id: i64,
        cu_ref_nos: &[&str],
        emails: &[&str],
    ) -> sqlx::Result<Vec<Record>> {
        let mut found = Vec::new();
        if self.written {
            found = customer_import::find(&mut self.connection, organisation_id, cu_ref_nos, emails).await?;
        }
        self.fetch_customers(organisation_id, cu_ref_nos, emails).await?;
        let stored = sqlx::query_as(FIND_STORED).bind(organisation_id).bind(cu_ref_nos).bind(emails);
        let stored: Vec<Record> = stored.fetch_all(&mut self.connection).await?;
        found.extend(stored);
        Ok(found)
    }

    /// Copies customers that have not been copied yet.
    pub async fn copy_customers(
        &mut self,
        organisation_id: i64,
        cu_ref_nos: &[&str],
        emails: &[&str],
    ) -> sqlx::Result<()> {
        self.fetch_customers(organisation_id, cu_ref_nos, emails).await?;
        let copy = sqlx::query(COPY_CUSTOMERS).bind(organisation_id).bind(cu_ref_nos).bind(emails);
        copy.execute(&mut self.connection).await?;
        Ok(())
    }

    /// What the matches of a batch find, in their order.
    pub async fn find(
        &mut self,
        organisation_id: i64,
        matches: &MatchColumns<'_>,
    ) -> sqlx::Result<Vec<Finding>> {
        self.fetch(organisation_id, matches).await?;
        let find = sqlx::query_as(FIND).bind(organisation_id);
        let find = find.bind(&matches.managers).bind(&matches.cu_ref_nos).bind(&matches.emails);
        find.bind(&matches.notices).fetch_all(&mut self.connection).await
    }

    /// Copies the relations of the matches, and the customers that they name by e-mail address, unless they have been copied.
    pub async fn copy_relations(
        &mut self,
        organisation_id: i64,
        matches: &MatchColumns<'_>,
    ) -> sqlx::Result<()> {
        self.fetch(organisation_id, matches).await?;
        let emails: Vec<_> = matches.emails.iter().flatten().copied().collect();
        self.copy_customers(organisation_id, &[], &emails).await?;
        let copy = sqlx::query(COPY_RELATIONS).bind(organisation_id);
        let copy = copy.bind(&matches.managers).bind(&matches.cu_ref_nos).bind(&matches.emails);
        copy.bind(&matches.notices).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Fetches what the matches may read. What was fetched before stays as it was then.
    async fn fetch(&mut self, organisation_id: i64, matches: &MatchColumns<'_>) -> sqlx::Result<()> {
        if self.layout == Layout::Single {
            return Ok(());
        }
        let emails: Vec<_> = matches.emails.iter().flatten().copied().collect();
        let named = matches.cu_ref_nos.iter().flatten();
        let cu_ref_nos: Vec<_> = matches.managers.iter().chain(named).copied().collect();
        self.fetch_customers(organisation_id, &cu_ref_nos, &emails).await?;
        let customers = sqlx::query_scalar(
            "select coalesce(cu_ref_no, (
                 select cu_ref_no from real_customer
                 where organisation_id = $1 and real_customer.email = named.email and deleted_at is null
             ))
             from unnest($2::text[], $3::text[]) with ordinality as named (cu_ref_no, email, ordinal)
             order by ordinal",
        );
        let customers = customers.bind(organisation_id).bind(&matches.cu_ref_nos).bind(&matches.emails);
        let customers: Vec<Option<String>> = customers.fetch_all(&mut self.connection).await?;
        let fetch = sqlx::query(FETCH_RELATIONS).bind(organisation_id);
        fetch.bind(&matches.managers).bind(&customers).execute(&mut self.connection).await?;
        Ok(())
    }

    async fn fetch_customers(
        &mut self,
        organisation_id: i64,
        cu_ref_nos: &[&str],
        emails: &[&str],
    ) -> sqlx::Result<()> {
        if self.layout == Layout::Distributed {
            let fetch = sqlx::query(FETCH_CUSTOMERS).bind(organisation_id).bind(cu_ref_nos).bind(emails);
            fetch.execute(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Ends the session, which drops the copies.
    pub async fn close(self) -> sqlx::Result<()> {
        self.connection.close().await
    }
}
