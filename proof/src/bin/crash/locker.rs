//! Row locks that are held for a while by transactions of the harness, as an operator's would be.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use customer_match_proof::customers::{FEW, Id, MANY, organisation};
use customer_match_proof::locks::Locked;
use customer_match_proof::world::World;
use rand::distr::{Alphanumeric, SampleString};
use rand::prelude::*;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// A row that another lock holds is not waited for longer.
const LOCK_TIMEOUT: &str = "set lock_timeout = '1s'";

pub struct Locker {
    world: Arc<World>,
    /// The ids of the organisations.
    organisations: Vec<i64>,
    select_relation: String,
}

#[derive(Debug, Clone, Copy)]
pub enum LockKind {
    Relations,
    Neighbours,
    Customer,
    UncommittedCustomer,
    Organisation,
}

pub const LOCK_KINDS: [LockKind; 5] = [
    LockKind::Relations,
    LockKind::Neighbours,
    LockKind::Customer,
    LockKind::UncommittedCustomer,
    LockKind::Organisation,
];

/// One transaction.
struct Transaction {
    locked: Vec<Locked>,
    statements: Vec<String>,
}

impl Locker {
    pub async fn new(
        world: Arc<World>,
        organisations: Vec<i64>,
        options: &PgConnectOptions,
    ) -> anyhow::Result<Self> {
        let mut database = PgConnection::connect_with(options).await?;
        let select_relation = select_relation(&mut database).await?;
        Ok(Self { world, organisations, select_relation })
    }

    /// Locks random rows of this kind. `None`: the rows were not to be had, or the database was unavailable.
    pub async fn hold(
        &self,
        options: &PgConnectOptions,
        kind: LockKind,
        duration: Duration,
        random: &mut StdRng,
    ) -> Option<()> {
        let Transaction { locked, statements } = self.draw(kind, random);
        let lock = self.world.locks.announce(locked, self.world.now());
        let result = async {
            let mut database = PgConnection::connect_with(options).await?;
            sqlx::raw_sql(LOCK_TIMEOUT).execute(&mut database).await?;
            let mut transaction = database.begin().await?;
            for statement in &statements {
                sqlx::raw_sql(statement).execute(&mut *transaction).await?;
            }
            // Idle in a transaction, as a forgotten one is.
            tokio::time::sleep(duration).await;
            transaction.rollback().await?;
            database.close().await
        };
        let result: sqlx::Result<()> = result.await;
        self.world.locks.release(lock, self.world.now());
        result.ok()
    }

    fn draw(&self, kind: LockKind, random: &mut StdRng) -> Transaction {
        match kind {
            LockKind::Relations => self.relations(random),
            LockKind::Neighbours => self.neighbours(),
            LockKind::Customer => self.customer(random),
            LockKind::UncommittedCustomer => self.uncommitted_customer(random),
            LockKind::Organisation => self.organisation(random),
        }
    }

    /// Up to three of the few's or the many's.
    fn relations(&self, random: &mut StdRng) -> Transaction {
        let range = if random.random() { FEW } else { MANY };
        let (mut locked, mut statements) = (Vec::new(), Vec::new());
        for _ in 0..random.random_range(1..=3) {
            let pair = range.clone().sample(random, 2);
            let [one, other] = pair[..] else { continue };
            locked.push(Locked::Relation(one, other));
            statements.push(self.lock_relation(one, other));
        }
        Transaction { locked, statements }
    }

    /// Of every other organisation.
    fn neighbours(&self) -> Transaction {
        let pairs: Vec<_> = self.world.neighbours().collect();
        Transaction {
            locked: pairs.iter().map(|[one, other]| Locked::Relation(*one, *other)).collect(),
            statements: pairs.iter().map(|[one, other]| self.lock_relation(*one, *other)).collect(),
        }
    }

    fn customer(&self, random: &mut StdRng) -> Transaction {
        let range = if random.random_bool(0.3) { FEW } else { MANY };
        let id = random.random_range(range);
        let strength = if random.random_bool(0.7) { "update" } else { "no key update" };
        let email = self.world.customers.email(id);
        let statement = format!(
            "select 1 from customer where organisation_id = {} and email = '{email}' for {strength}",
            self.organisations[0]
        );
        Transaction { locked: vec![Locked::Customer(id)], statements: vec![statement] }
    }

    fn uncommitted_customer(&self, random: &mut StdRng) -> Transaction {
        let id = self.world.untouched_newcomer();
        let reference = Alphanumeric.sample_string(random, 16);
        let email = self.world.customers.email(id);
        let statement = format!(
            "insert into customer (organisation_id, cu_ref_no, email) values ({}, '{reference}', '{email}')",
            self.organisations[0]
        );
        Transaction { locked: vec![Locked::Customer(id)], statements: vec![statement] }
    }

    /// The clients' own, or a neighbour's.
    fn organisation(&self, random: &mut StdRng) -> Transaction {
        let index = if random.random() { 0 } else { random.random_range(0..self.organisations.len()) };
        let (strength, locked) = if random.random() {
            ("update", vec![Locked::Organisation(index)])
        } else {
            // New customers refer to the row, which this does not keep them from.
            ("no key update", Vec::new())
        };
        let id = self.organisations[index];
        let statement = format!("select 1 from organisation where id = {id} for {strength}");
        Transaction { locked, statements: vec![statement] }
    }

    fn lock_relation(&self, one: Id, other: Id) -> String {
        let id = self.organisations[organisation(one)];
        let (one, other) = (self.world.customers.email(one), self.world.customers.email(other));
        let statement =
            self.select_relation.replace("$1", &format!("'{one}'")).replace("$2", &format!("'{other}'"));
        statement.replace("$3", &id.to_string()) + " for update of m"
    }
}

/// A relation of an organisation by the e-mail addresses of its customers, whichever of their columns its foreign keys refer to.
async fn select_relation(database: &mut PgConnection) -> anyhow::Result<String> {
    let keys: Vec<(String, String)> = sqlx::query_as(
        "select (select attname::text from pg_attribute where attrelid = conrelid and attnum = conkey[2]),
                (select attname::text from pg_attribute where attrelid = confrelid and attnum = confkey[2])
         from pg_constraint
         where contype = 'f' and conrelid = 'customer_match'::regclass and confrelid = 'customer'::regclass
         order by conname",
    )
    .fetch_all(database)
    .await?;
    let [(one, of_one), (other, of_other)] =
        <[_; 2]>::try_from(keys).ok().context("customer_match has two foreign keys to customer")?;
    Ok(format!(
        "select 1 from customer_match m
         join customer a on a.organisation_id = m.organisation_id and a.{of_one} = m.{one}
         join customer b on b.organisation_id = m.organisation_id and b.{of_other} = m.{other}
         where m.organisation_id = $3
           and ((a.email = $1 and b.email = $2) or (a.email = $2 and b.email = $1))"
    ))
}
