//! Several servers on one database enforce one limit by quota leases.

use std::time::{Duration, Instant};

use customer_match::db::api_key::{self, NewKey};
use customer_match::db::api_key_quota_lease::{self, LeaseRow};
use customer_match::domain::{ApiKey, KeyKind};
use futures_util::future::join_all;
use reqwest::Client;
use rstest::rstest;
use rustix::process::Signal;

use crate::support::Service;
use crate::support::binary::{Server, on};

/// A key with a limit that no server has cached.
struct Cluster {
    service: Service,
    client: Client,
    key: String,
}

impl Cluster {
    async fn with_limit(limit: u32) -> Self {
        let service = Service::start().await;
        let key = ApiKey::generate(KeyKind::Prod);
        let new = NewKey { limit_per_minute: Some(limit), ..Default::default() };
        api_key::create(&service.pool, service.organisation, &key, &new).await.unwrap().unwrap();
        Self { service, client: Client::new(), key: key.expose().into() }
    }

    fn start_server(&self) -> Server {
        Server::start(on(&self.service.database, &["serve", "--listen", "127.0.0.1:0"]))
    }

    /// The number of admitted calls among `calls` concurrent ones.
    async fn call(&self, server: &Server, calls: usize) -> usize {
        let call = async || {
            let url = format!("{}/ping/v1?apiKey={}", server.url, self.key);
            self.client.get(url).send().await.unwrap().status().as_u16()
        };
        let statuses = join_all((0..calls).map(|_| call())).await;
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.into_iter().filter(|status| *status == 200).count()
    }

    /// Calls until `wanted` have been admitted.
    async fn call_until(&self, server: &Server, wanted: usize) -> usize {
        let mut admitted = 0;
        while admitted < wanted {
            admitted += self.call(server, 1).await;
        }
        admitted
    }
}

/// For any distribution of the calls.
#[rstest]
#[case::evenly(10, 10)]
#[case::unevenly(1, 19)]
#[tokio::test]
async fn two_servers_together_admit_what_one_would(#[case] here: usize, #[case] there: usize) {
    let cluster = Cluster::with_limit(200).await;
    let servers = [cluster.start_server(), cluster.start_server()];
    let begin = Instant::now();
    let mut admitted = 0;
    // Until 90 % of the limit are admitted, and then as many calls again as the limit.
    let mut excess = 0;
    while excess < 200 {
        let [a, b] =
            [(&servers[0], here), (&servers[1], there)].map(|(server, calls)| cluster.call(server, calls));
        let (a, b) = futures_util::future::join(a, b).await;
        excess += if admitted >= 180 { here + there } else { 0 };
        admitted += a + b;
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "the first calls do not count any more");
    assert!(admitted <= 220, "{admitted}");
}

/// Each heartbeat is long ago, or is still to come, as after the database's clock was set.
#[rstest]
#[case::forwards("- interval '1 hour'")]
#[case::backwards("+ interval '1 hour'")]
#[tokio::test]
async fn the_limit_holds_when_the_clock_of_the_database_is_set(#[case] step: &str) {
    let cluster = Cluster::with_limit(100).await;
    let trigger = format!(
        "create function step() returns trigger language plpgsql as
             $$ begin new.last_heartbeat_at := new.last_heartbeat_at {step}; return new; end $$;
         create trigger step before insert or update on server_instance for each row execute function step()"
    );
    cluster.service.execute(&trigger).await;
    let servers = [cluster.start_server(), cluster.start_server()];
    let mut admitted = 0;
    for _ in 0..10 {
        for server in &servers {
            admitted += cluster.call(server, 20).await;
        }
    }
    assert!(admitted <= 100, "{admitted}");
}

/// As by a crash of Postgres, after which unlogged tables are empty.
#[tokio::test]
async fn lost_leases_are_written_anew() {
    let cluster = Cluster::with_limit(100).await;
    let server = cluster.start_server();
    assert_eq!(cluster.call(&server, 1).await, 1);
    cluster.service.execute("delete from server_instance").await;
    let leases = "select exists (select from api_key_quota_lease)";
    while !sqlx::query_scalar::<_, bool>(leases).fetch_one(&cluster.service.pool).await.unwrap() {}
}

#[tokio::test]
async fn the_calls_of_a_stopped_server_count_on_its_successor() {
    let cluster = Cluster::with_limit(5).await;
    let mut first = cluster.start_server();
    assert_eq!(cluster.call(&first, 3).await, 3);
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    let second = cluster.start_server();
    assert_eq!(cluster.call(&second, 5).await, 2);
}

#[tokio::test]
async fn the_unused_quota_of_a_killed_server_becomes_free() {
    let cluster = Cluster::with_limit(100).await;
    let mut first = cluster.start_server();
    assert_eq!(cluster.call(&first, 1).await, 1);
    first.signal(Signal::KILL);
    first.wait();
    let second = cluster.start_server();
    cluster.call_until(&second, 90).await;
}

/// Otherwise others would wait for a quota that is free.
#[tokio::test]
async fn a_released_lease_is_deleted() {
    let service = Service::start().await;
    let mut connection = service.pool.acquire().await.unwrap();
    let mut transaction = api_key_quota_lease::lock_exchange(&mut connection).await.unwrap();
    for server in [1, 2] {
        api_key_quota_lease::heartbeat(&mut transaction, server).await.unwrap();
        let lease = LeaseRow { api_key_id: 1, calls: 1, quota: 5, demand: 1 };
        api_key_quota_lease::upsert(&mut transaction, server, &[lease]).await.unwrap();
    }
    api_key_quota_lease::delete(&mut transaction, 1, &[1]).await.unwrap();
    assert_eq!(api_key_quota_lease::list_others(&mut transaction, 2, &[1]).await.unwrap().len(), 0);
    assert_eq!(
        api_key_quota_lease::list_others(&mut transaction, 1, &[1]).await.unwrap().len(),
        1,
        "the lease of the other stays"
    );
}
