//! The limit of unknown identity ids, and the removal of those that have ended.

use customer_match::db::customer_identity;
use serde_json::json;

use crate::support::binary::{on, run};
use crate::support::{Answer, CUSTOMER, DETAIL, LIST, LOGOUT, MANAGER, Service, uri};

const NOT_LOGGED_IN: &str = "INTERNAL_USER_MUST_BE_AUTHORIZED";
const TOO_MANY: &str = "PUBLIC_API_KEY_TOO_MANY_REQUEST";

fn unknown(number: usize) -> String {
    format!("{number:032}")
}

async fn detail(service: &Service, identity: &str) -> Answer {
    service.get_from(DETAIL, &[("identityId", identity)]).await
}

#[tokio::test]
async fn too_many_unknown_identities_are_answered_429_on_every_endpoint() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "3"]).await;
    detail(&service, &unknown(1)).await.assert_error(401, NOT_LOGGED_IN);
    service.get_from(LIST, &[("identityId", &unknown(2))]).await.assert_error(401, NOT_LOGGED_IN);
    service.post_to(LOGOUT, json!({ "identityId": unknown(3) })).await.assert_error(401, NOT_LOGGED_IN);
    let rejected = detail(&service, &unknown(4)).await;
    rejected.assert_error(429, TOO_MANY);
    let description =
        "Too many calls with unknown identity ids came from your IP address. Please retry later.";
    assert_eq!(rejected.body["error"]["description"], description);
    let seconds: u64 = rejected.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    service.get_from(LIST, &[("identityId", &unknown(5))]).await.assert_error(429, TOO_MANY);
    service.post_to(LOGOUT, json!({ "identityId": unknown(6) })).await.assert_error(429, TOO_MANY);
}

#[tokio::test]
async fn a_customer_that_is_logged_in_is_not_locked_out() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    let identity = service.log_in("jan@barasek.com").await;
    let ended = service.log_in("jan@barasek.com").await;
    detail(&service, &unknown(1)).await.assert_error(401, NOT_LOGGED_IN);
    detail(&service, &unknown(2)).await.assert_error(429, TOO_MANY);
    for identity in [&identity, &ended] {
        assert_eq!(detail(&service, identity).await.status, 200);
    }
    service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_success();
}

/// Many users of a back end may come back with sessions that have ended.
#[tokio::test]
async fn sessions_that_have_ended_do_not_count() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    for number in 0..3 {
        let identity = service.log_in(&format!("user{number}@example.com")).await;
        service.post_to(LOGOUT, json!({ "identityId": identity })).await.assert_success();
        detail(&service, &identity).await.assert_error(401, NOT_LOGGED_IN);
    }
    detail(&service, &unknown(1)).await.assert_error(401, NOT_LOGGED_IN);
    detail(&service, &unknown(2)).await.assert_error(429, TOO_MANY);
}

#[tokio::test]
async fn one_session_that_has_ended_is_no_search() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "2"]).await;
    for _ in 0..5 {
        detail(&service, &unknown(1)).await.assert_error(401, NOT_LOGGED_IN);
        detail(&service, "no identity at all").await.assert_error(401, NOT_LOGGED_IN);
    }
    detail(&service, &unknown(2)).await.assert_error(401, NOT_LOGGED_IN);
}

#[tokio::test]
async fn an_organisation_does_not_lock_out_another() {
    let service = Service::start_configured(&["--invalid-key-limit-per-minute", "1"]).await;
    let (other, key) = service.add_organisation("Other").await;
    service.add_customer_of(other, "0000000000000001", Some("eva@example.com")).await;
    let identity = service.log_in("jan@barasek.com").await;
    // Unknown there, and known here all the same.
    let elsewhere = service.get(&uri(DETAIL, &key, &[("identityId", &identity)])).await;
    elsewhere.assert_error(401, NOT_LOGGED_IN);
    service.get(&uri(DETAIL, &key, &[("identityId", &unknown(1))])).await.assert_error(429, TOO_MANY);
    assert_eq!(detail(&service, &identity).await.status, 200);
}

async fn identities(service: &Service) -> i64 {
    service.count("customer_identity").await
}

#[tokio::test]
async fn ended_identities_are_removed() {
    let service = Service::start().await;
    let open = service.log_in("jan@barasek.com").await;
    let logged_out = service.log_in("jan@barasek.com").await;
    service.post_to(LOGOUT, json!({ "identityId": logged_out })).await.assert_success();
    let hour = "update customer_identity set created_at = now() - interval '2 hours', revoked_at = now() - interval '1 hour' where revoked_at is not null";
    service.execute(hour).await;
    // More than one statement deletes.
    service
        .execute(
            "insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at)
             select 1, sha256(i::text::bytea), '5CmsaVNgAQqRqoen', now() - interval '4 months', now() - interval '1 month'
             from generate_series(1, 2500) i",
        )
        .await;
    assert_eq!(identities(&service).await, 2502);
    let service = service.restarted();
    while identities(&service).await != 1 {}
    assert_eq!(detail(&service, &open).await.status, 200);
    detail(&service, &logged_out).await.assert_error(401, NOT_LOGGED_IN);
}

#[tokio::test]
async fn the_identities_of_a_deleted_customer_end_with_it() {
    let service = Service::start().await;
    service.log_in("jan@barasek.com").await;
    service.log_in("eva@example.com").await;
    service.delete_customer(CUSTOMER).await;
    let ended = "select count(*) from customer_identity where revoked_at is not null";
    let ended: i64 = sqlx::query_scalar(ended).fetch_one(&service.pool).await.unwrap();
    assert_eq!(ended, 1);
}

#[tokio::test]
async fn the_identities_of_a_merged_customer_end_with_it() {
    let service = Service::start().await;
    service.log_in("jan@barasek.com").await;
    let merge = ["customer", "merge", "--organisation", "1", "--yes", CUSTOMER, MANAGER];
    run(on(&service.database, &merge));
    let open = "select count(*) from customer_identity where revoked_at is null";
    let open: i64 = sqlx::query_scalar(open).fetch_one(&service.pool).await.unwrap();
    assert_eq!(open, 0);
}

#[tokio::test]
async fn only_an_organisations_own_identities_are_removed_with_it() {
    let service = Service::start().await;
    service.log_in("jan@barasek.com").await;
    service.execute("update customer_identity set created_at = now() - interval '2 hours', revoked_at = now() - interval '1 hour'").await;
    let mut connection = service.pool.acquire().await.unwrap();
    customer_identity::delete_ended(&mut connection, 2).await.unwrap();
    assert_eq!(identities(&service).await, 1);
    service.execute("update customer_identity set revoked_at = now() - interval '59 minutes'").await;
    customer_identity::delete_ended(&mut connection, 1).await.unwrap();
    assert_eq!(identities(&service).await, 1, "it tells a session that has ended from none");
    service
        .execute("update customer_identity set revoked_at = null, expires_at = now() - interval '1 hour'")
        .await;
    customer_identity::delete_ended(&mut connection, 1).await.unwrap();
    assert_eq!(identities(&service).await, 0);
}
