//! Reads what the tables hold in the end.

use std::collections::HashMap;

use customer_match_proof::checker::Tables;
use customer_match_proof::customers::Id;
use customer_match_proof::feed::{RelationRow, Relations};
use customer_match_proof::run::Run;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// `organisations`: their ids and keys, by their index.
pub async fn read(
    run: &Run,
    organisations: &[(i64, String)],
    options: &PgConnectOptions,
) -> anyhow::Result<Tables> {
    let mut database = PgConnection::connect_with(options).await?;
    let created: Vec<(String, f64)> = sqlx::query_as(
        "select email, extract(epoch from created_at)::float8 from customer where email is not null",
    )
    .fetch_all(&mut database)
    .await?;
    // Of an identity's customer, whichever of its columns the foreign key refers to.
    let (column, key): (String, String) = sqlx::query_as(
        "select (select attname::text from pg_attribute where attrelid = conrelid and attnum = conkey[2]),
                (select attname::text from pg_attribute where attrelid = confrelid and attnum = confkey[2])
         from pg_constraint
         where contype = 'f' and conrelid = 'customer_identity'::regclass and confrelid = 'customer'::regclass",
    )
    .fetch_one(&mut database)
    .await?;
    let identities: Vec<(String, i64)> = sqlx::query_as(&format!(
        "select c.email, count(*) from customer_identity i
         join customer c on c.organisation_id = i.organisation_id and c.{key} = i.{column} group by c.email"
    ))
    .fetch_all(&mut database)
    .await?;
    let mut relations = HashMap::new();
    for reader in run.readers.iter().filter(|reader| !reader.absent) {
        let (organisation, _) = organisations[reader.organisation];
        relations.insert(reader.organisation, read_relations(&mut database, organisation).await?);
    }
    let id = |email: &str| run.world.customers.with_email(email);
    Ok(Tables {
        created: created.iter().filter_map(|(email, at)| Some((id(email)?, run.world.at(*at)))).collect(),
        identities: identities
            .iter()
            .filter_map(|(email, count)| Some((id(email)?, usize::try_from(*count).ok()?)))
            .collect::<HashMap<Id, usize>>(),
        relations,
    })
}

async fn read_relations(database: &mut PgConnection, organisation: i64) -> sqlx::Result<Relations> {
    type Row = (String, String, i64, bool, bool, bool, String);
    let rows: Vec<Row> = sqlx::query_as(
        "select low_cu_ref_no, high_cu_ref_no, version, deactivated_at is null, low_is_manager, high_is_manager,
                coalesce(notice, '')
         from customer_match where organisation_id = $1",
    )
    .bind(organisation)
    .fetch_all(database)
    .await?;
    let relation = |(low, high, version, active, low_manages, high_manages, notice)| {
        ([low, high], RelationRow { version, active, managers: [low_manages, high_manages], notice })
    };
    Ok(rows.into_iter().map(relation).collect())
}
