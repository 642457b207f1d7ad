//! Two organisations with the same references and addresses: on no route does one learn anything of the other.

use serde_json::{Value, json};

use crate::support::{
    Answer, CREATE, CUSTOMER, DETAIL, LIST, LOGOUT, MAGIC_AUTH, MANAGER, MATCH, Service, UNMATCH, uri,
};

/// Exists in the other organisation only.
const FOREIGN: &str = "onlyInTheOther01";
/// Exists nowhere.
const NOBODY: &str = "nobodyHasThisOne";
const UNKNOWN_IDENTITY: &str = "0123456789abcdefghijABCDEFGHIJKL";

/// The same customers in both, one more in the other; there everything is related to everything and has a notice.
async fn neighbours() -> (Service, String) {
    let service = Service::start().await;
    let (other, key) = service.add_organisation("Other").await;
    service.add_customer_of(other, MANAGER, Some("eva@example.com")).await;
    service.add_customer_of(other, CUSTOMER, Some("jan@barasek.com")).await;
    service.add_customer_of(other, FOREIGN, Some("foreign@example.com")).await;
    for (manager, customer) in [(MANAGER, CUSTOMER), (MANAGER, FOREIGN), (CUSTOMER, FOREIGN)] {
        let relation = json!({ "managerCuRefNo": manager, "customerCuRefNo": customer, "notice": "secret" });
        service.post(&uri(MATCH, &key, &[]), relation).await.assert_success();
    }
    service.execute("update customer set last_name = 'Secret' where organisation_id = 2").await;
    (service, key)
}

/// A body that asks for this id.
type BodyWith = fn(&str) -> Value;

/// Both refused, and alike but for the id that was asked for.
#[track_caller]
fn assert_alike(foreign: &Answer, missing: &Answer) {
    assert!(foreign.status >= 400, "{:#}", foreign.body);
    assert_eq!(foreign.status, missing.status);
    assert_eq!(foreign.body.to_string().replace(FOREIGN, NOBODY), missing.body.to_string());
}

#[tokio::test]
async fn a_foreign_id_is_answered_like_a_missing_one_on_every_route() {
    let (service, key) = neighbours().await;
    let log_in = async |key: &str, email: &str| {
        let answer = service.post(&uri(MAGIC_AUTH, key, &[]), json!({ "email": email })).await;
        answer.body["identityId"].as_str().unwrap().to_owned()
    };
    let own_identity = log_in(&service.key, "jan@barasek.com").await;
    let foreign_identity = log_in(&key, "jan@barasek.com").await;

    let bodies: [(&str, BodyWith); 4] = [
        (MATCH, |id| json!({ "managerCuRefNo": id, "customerCuRefNo": CUSTOMER })),
        (MATCH, |id| json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": id })),
        (UNMATCH, |id| json!({ "managerCuRefNo": id, "customerCuRefNo": CUSTOMER })),
        (UNMATCH, |id| json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": id })),
    ];
    for (path, body) in bodies {
        assert_alike(&service.post_to(path, body(FOREIGN)).await, &service.post_to(path, body(NOBODY)).await);
    }
    for parameters in [vec![], vec![("identityId", own_identity.as_str())]] {
        for path in [LIST, DETAIL] {
            let ask =
                async |id| service.get_from(path, &[&parameters[..], &[("cuRefNo", id)]].concat()).await;
            assert_alike(&ask(FOREIGN).await, &ask(NOBODY).await);
        }
    }

    // An identity of the other organisation is none here, for a customer that both have, too.
    let logout = async |identity: &str| service.post_to(LOGOUT, json!({ "identityId": identity })).await;
    assert_alike(&logout(&foreign_identity).await, &logout(UNKNOWN_IDENTITY).await);
    for path in [LIST, DETAIL] {
        let ask = async |identity: &str| service.get_from(path, &[("identityId", identity)]).await;
        assert_alike(&ask(&foreign_identity).await, &ask(UNKNOWN_IDENTITY).await);
    }
    let detail = service.get(&uri(DETAIL, &key, &[("identityId", &foreign_identity)])).await;
    assert_eq!(detail.status, 200, "where it belongs it is as good as before");
}

#[tokio::test]
async fn the_same_id_is_ones_own_on_every_route() {
    let (service, key) = neighbours().await;
    let foreign_state = async || {
        let rows: Vec<String> = sqlx::query_scalar(
            "select c::text from customer c where organisation_id = 2
             union all select m::text from customer_match m where organisation_id = 2 order by 1",
        )
        .fetch_all(&service.pool)
        .await
        .unwrap();
        rows
    };
    let before = foreign_state().await;

    // There is no relation here, however many there are there.
    let pair = json!({ "managerCuRefNo": MANAGER, "customerCuRefNo": CUSTOMER });
    service.post_to(UNMATCH, pair.clone()).await.assert_error(404, "INTERNAL_RESOURCE_NOT_FOUND");
    let identity = service.log_in("jan@barasek.com").await;
    for whose in [("cuRefNo", CUSTOMER), ("identityId", identity.as_str())] {
        for filter in [&[][..], &[("query", "secret")]] {
            let answer = service.get_from(LIST, &[&[whose], filter].concat()).await;
            assert_eq!(answer.body, json!({ "items": [], "itemCount": 0, "nextCursor": null }));
        }
    }
    let manager_detail = [("identityId", identity.as_str()), ("cuRefNo", MANAGER)];
    service.get_from(DETAIL, &manager_detail).await.assert_error(404, "PUBLIC_CUSTOMER_DETAIL_NOT_PERMITTED");
    let own = service.get_from(DETAIL, &[("identityId", &identity)]).await;
    assert_eq!((&own.body["cuRefNo"], &own.body["lastName"]), (&json!(CUSTOMER), &Value::Null));

    // A cursor made there names nobody here.
    let page = service.get(&uri(LIST, &key, &[("cuRefNo", CUSTOMER), ("limit", "1")])).await;
    assert_eq!(page.body["items"][0]["cuRefNo"], FOREIGN);
    let cursor = page.body["nextCursor"].as_str().unwrap();
    service.get_from(LIST, &[("cuRefNo", CUSTOMER), ("cursor", cursor)]).await.assert_invalid("cursor");

    // The same address is another customer.
    for (path, body) in [
        (CREATE, json!({ "email": "foreign@example.com", "companyName": "Ours" })),
        (MAGIC_AUTH, json!({ "email": "foreign@example.com", "firstName": "Ours" })),
        (
            MATCH,
            json!({ "managerCuRefNo": MANAGER, "customerEmail": "foreign@example.com", "notice": "ours" }),
        ),
    ] {
        let answer = service.post_to(path, body).await;
        assert_eq!(answer.status, 200, "{:#}", answer.body);
        assert_ne!(answer.body["cuRefNo"], FOREIGN);
        assert_ne!(answer.body["lastName"], "Secret");
    }
    service.post_match(pair.clone()).await.assert_success();
    service.post_to(UNMATCH, pair).await.assert_success();
    assert_eq!(foreign_state().await, before, "nothing there has changed");
}
