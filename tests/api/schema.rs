//! The database refuses every illegal state by itself, whatever the code does.

use std::collections::BTreeSet;

use customer_match::db::{self, Layout};
use customer_match::domain::Email;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::Connection;

use crate::support::{CUSTOMER, MANAGER, Service};

/// Organisation 1 with the manager `a`, the customer `b` of `Service` and two without relations, `d` and `e`, organisation 2 with the customer `c`, and the
/// relation of a and b, as the placeholders of [`sql`] name them. An identity, a server and its share of the limit of key 1.
async fn populated() -> Service {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "customerOfOther1", None).await;
    for reference in ["withoutRelation1", "withoutRelation2"] {
        service.add_customer(reference, None).await;
    }
    for sql in [
        &relation("1, {a}, {b}, true, false, null"),
        &identity("1, sha256('x'), {a}"),
        "insert into server_instance values (1, now()); insert into api_key_quota_lease values (1, 1, 0, 5, 0)",
    ] {
        service.execute(sql).await;
    }
    service
}

/// With the references of the customers in place of `{a}` to `{e}`.
fn sql(text: &str) -> String {
    let references = [
        ("{a}", MANAGER),
        ("{b}", CUSTOMER),
        ("{c}", "customerOfOther1"),
        ("{d}", "withoutRelation1"),
        ("{e}", "withoutRelation2"),
    ];
    references
        .iter()
        .fold(text.to_owned(), |text, (name, reference)| text.replace(name, &format!("'{reference}'")))
}

fn relation(values: &str) -> String {
    let values = sql(values);
    format!(
        "insert into customer_match
            (organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at)
         values ({values}, now(), now(), now())"
    )
}

fn identity(values: &str) -> String {
    let values = sql(values);
    format!(
        "insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at)
         values ({values}, now(), now())"
    )
}

/// Illegal states that need no words of their own, and the constraint that refuses each.
const ILLEGAL: &[(&str, &str)] = &[
    // A pair stays in its order, in its organisation and managed.
    ("update customer_match set low_cu_ref_no = {b}, high_cu_ref_no = {a}", "customer_match_canonical_order"),
    ("update customer_match set low_is_manager = false", "customer_match_has_manager"),
    ("update customer_match set notice = repeat('x', 10001)", "customer_match_notice_length"),
    ("update customer_match set version = 0", "customer_match_version_is_positive"),
    // Times in their order, and finite.
    ("update customer_match set created_at = matched_at + interval '1 us'", "customer_match_times"),
    ("update customer_match set matched_at = updated_at + interval '1 us'", "customer_match_times"),
    ("update customer_match set updated_at = matched_at - interval '1 us'", "customer_match_times"),
    ("update customer_match set deactivated_at = matched_at - interval '1 us'", "customer_match_times"),
    ("update customer_match set deactivated_at = updated_at + interval '1 us'", "customer_match_times"),
    ("update customer_match set created_at = '-infinity'", "customer_match_times"),
    ("update customer_match set updated_at = 'infinity', matched_at = 'infinity'", "customer_match_times"),
    ("update customer_match set updated_at = 'infinity', deactivated_at = 'infinity'", "customer_match_times"),
    ("update customer set deleted_at = created_at - interval '1 us' where cu_ref_no = {d}", "customer_times"),
    ("update customer set deleted_at = 'infinity' where cu_ref_no = {d}", "customer_times"),
    ("update customer set deleted_at = now(), erased_at = now() - interval '1 us' where cu_ref_no = {d}", "customer_times"),
    ("update customer set deleted_at = now(), erased_at = 'infinity' where cu_ref_no = {d}", "customer_times"),
    ("update customer set erased_at = now() where cu_ref_no = {d}", "customer_erased_is_empty"),
    ("update customer set deleted_at = now(), erased_at = now(), phone = '1' where cu_ref_no = {d}", "customer_erased_is_empty"),
    ("update customer set created_at = '-infinity'", "customer_times"),
    ("update customer set updated_at = created_at - interval '1 us'", "customer_times"),
    ("update customer set updated_at = 'infinity'", "customer_times"),
    ("update customer_identity set expires_at = created_at - interval '1 us'", "customer_identity_times"),
    ("update customer_identity set revoked_at = created_at - interval '1 us'", "customer_identity_times"),
    ("update customer_identity set expires_at = 'infinity'", "customer_identity_times"),
    ("update customer_identity set revoked_at = 'infinity'", "customer_identity_times"),
    ("update customer_identity set created_at = '-infinity'", "customer_identity_times"),
    ("update organisation set created_at = 'infinity'", "organisation_created_at_is_finite"),
    ("update api_key set expires_at = 'infinity'", "api_key_times_are_finite"),
    ("update api_key set deleted_at = 'infinity'", "api_key_times_are_finite"),
    ("update server_instance set last_heartbeat_at = 'infinity'", "server_instance_heartbeat_is_no_future"),
    ("insert into write_receipt (writer_id, batch_number, written_at) values (1, 0, 'infinity')", "write_receipt_time_is_finite"),
    ("update customer_match set organisation_id = 2", "customer_match_low_fkey"),
    ("update customer set organisation_id = 2 where cu_ref_no = {a}", "customer_match_low_fkey"),
    ("delete from customer where cu_ref_no = {a}", "customer_match_low_fkey"),
    // An active relation of a deleted customer.
    ("update customer set deleted_at = now() where cu_ref_no = {b}", "customer_match_high_fkey"),
    // Customers.
    ("insert into customer (organisation_id, cu_ref_no) values (1, {a})", "customer_cu_ref_no_key"),
    (
        "insert into customer (organisation_id, cu_ref_no) values (9, repeat('0', 16))",
        "customer_organisation_id_fkey",
    ),
    ("update customer set email = 'jan@barasek.com' where cu_ref_no = {a}", "customer_email_key"),
    ("update customer set real_ip = '10.0.0.0/8'", "customer_real_ip_is_host"),
    (
        "update customer set deletion_reason = 'x' where cu_ref_no = {a}",
        "customer_deletion_reason_of_deleted",
    ),
    (
        "update customer set deleted_at = now(), deletion_reason = ' ' where cu_ref_no = {a}",
        "customer_deletion_reason_normal_form",
    ),
    ("update customer set merged_into_cu_ref_no = {b} where cu_ref_no = {a}", "customer_merged_is_deleted"),
    (
        "update customer set deleted_at = now(), merged_into_cu_ref_no = {a} where cu_ref_no = {a}",
        "customer_merged_into_another",
    ),
    (
        "update customer_match set deactivated_at = now(), updated_at = now();
         update customer set deleted_at = now(), merged_into_cu_ref_no = {c} where cu_ref_no = {a}",
        "customer_merged_into_fkey",
    ),
    // A ring of merges: at once, one after the other, and by deleting a customer that another was merged into.
    (
        "update customer set deleted_at = now(), merged_into_cu_ref_no = case when cu_ref_no = {d} then {e} else {d} end
         where cu_ref_no in ({d}, {e})",
        "customer_merged_into_fkey",
    ),
    (
        "update customer set deleted_at = now(), merged_into_cu_ref_no = {e} where cu_ref_no = {d};
         update customer set deleted_at = now(), merged_into_cu_ref_no = {d} where cu_ref_no = {e}",
        "customer_merged_into_fkey",
    ),
    (
        "update customer set deleted_at = now(), merged_into_cu_ref_no = {e} where cu_ref_no = {d};
         update customer set deleted_at = now() where cu_ref_no = {e}",
        "customer_merged_into_fkey",
    ),
    // Organisations, their keys, and the shares of their limits.
    ("insert into organisation (id, name) overriding system value values (1, 'x')", "organisation_pkey"),
    ("insert into organisation (name) values ('Acme')", "organisation_name_key"),
    ("update organisation set name = ' '", "organisation_name_not_blank"),
    (
        "insert into api_key (id, organisation_id, hash, kind, mask)
         overriding system value values (1, 1, sha256('x'), 'prod', '')",
        "api_key_pkey",
    ),
    ("update api_key set hash = 'x'", "api_key_hash_is_sha256"),
    ("update api_key set hash = sha256('x')", "api_key_hash_key"),
    ("update api_key set organisation_id = 9", "api_key_organisation_id_fkey"),
    ("update api_key set kind = 'test'", "api_key_kind"),
    ("update api_key set limit_per_minute = 0", "api_key_limit_is_positive"),
    ("update api_key set limit_per_minute = 4294967296", "api_key_limit_is_positive"),
    ("update api_key set scopes = '{customer.match,null}'", "api_key_scopes_is_list"),
    ("update api_key set scopes = '{{x},{y}}'", "api_key_scopes_is_list"),
    ("update api_key set kind = 'root', limit_per_minute = 1", "api_key_root_is_unlimited"),
    ("insert into cursor_key (secret) values (sha256('x'))", "cursor_key_pkey"),
    ("insert into cursor_key (id, secret) values (false, sha256('x'))", "cursor_key_is_one"),
    ("update cursor_key set secret = 'x'", "cursor_key_has_256_bits"),
    ("insert into change_origin (system_identifier) values (1), (2)", "change_origin_pkey"),
    ("insert into change_origin (id, system_identifier) values (false, 1)", "change_origin_is_one"),
    ("insert into organisation_change_origin values (1, 1, '1'), (1, 1, '1')", "organisation_change_origin_pkey"),
    ("insert into organisation_change_origin values (1, 1, '1', 'a', null)", "organisation_change_origin_pair"),
    ("update api_key set client_limit_per_minute = 0", "api_key_client_limit_is_positive"),
    ("update api_key set client_limit_per_minute = 4294967296", "api_key_client_limit_is_positive"),
    ("update api_key set allowed_origins = '{https://app.example,null}'", "api_key_allowed_origins_is_list"),
    ("update api_key set allowed_origins = '{{x},{y}}'", "api_key_allowed_origins_is_list"),
    ("update api_key set client_limit_per_minute = 1", "api_key_publishable_is_limited"),
    (
        "update api_key set allowed_origins = '{https://app.example}', scopes = '{customer.match}'",
        "api_key_publishable_is_limited",
    ),
    (
        "update api_key set kind = 'root', allowed_origins = '{https://app.example}', client_limit_per_minute = 1,
            scopes = '{customer.match}'",
        "api_key_publishable_is_limited",
    ),
    (
        "update api_key set allowed_origins = '{https://app.example}', client_limit_per_minute = 1",
        "api_key_publishable_scope",
    ),
    ("insert into write_receipt values (1, 0), (1, 0)", "write_receipt_pkey"),
    ("insert into server_instance values (1, now())", "server_instance_pkey"),
    ("insert into api_key_quota_lease values (1, 1, 0, 1, 0)", "api_key_quota_lease_pkey"),
    ("insert into api_key_quota_lease values (9, 1, 0, 1, 0)", "api_key_quota_lease_api_key_id_fkey"),
    ("insert into api_key_quota_lease values (2, 9, 0, 1, 0)", "api_key_quota_lease_server_id_fkey"),
    ("update api_key_quota_lease set calls = 6", "api_key_quota_lease_covers_calls"),
];

/// All of them.
fn illegal() -> Vec<(String, &'static str)> {
    let mut cases = vec![
        // The pair, doubled, mirrored, of one, of nobody.
        (relation("1, {a}, {b}, true, false, null"), "customer_match_pkey"),
        (relation("1, {b}, {a}, true, false, null"), "customer_match_canonical_order"),
        (relation("1, {a}, {a}, true, false, null"), "customer_match_canonical_order"),
        (relation("1, {a}, 'unknown000000000', true, false, null"), "customer_match_high_fkey"),
        // Across organisations, whichever the row claims to be of.
        (relation("1, {a}, {c}, true, false, null"), "customer_match_high_fkey"),
        (relation("2, {a}, {c}, true, false, null"), "customer_match_low_fkey"),
        (identity("1, sha256('x'), {b}"), "customer_identity_pkey"),
        (identity("1, 'x', {a}"), "customer_identity_hash_is_sha256"),
        (identity("1, sha256('y'), {c}"), "customer_identity_customer_fkey"),
    ];
    cases.extend(ILLEGAL.iter().map(|(text, constraint)| (sql(text), *constraint)));
    let references = [
        "",
        "1cGIHvFoQDGLAbc",
        "1cGIHvFoQDGLAbcAA",
        "1cGIHvFoQDGLAbc-",
        "1cGIHvFoQDGLAbcé",
        "1cGIHvFoQDGLAbcA\n",
    ];
    let reference = |text| format!("insert into customer (organisation_id, cu_ref_no) values (1, '{text}')");
    cases.extend(references.map(|text| (reference(text), "customer_cu_ref_no_format")));
    let long = format!("a@{}.co", "b".repeat(250));
    let long_label = format!("a@{}.co", "b".repeat(64));
    let long_local_part = format!("{}@c.co", "é".repeat(33));
    let addresses = [
        "",
        "Jan@barasek.com",
        "jan@Barasek.com",
        "jan",
        "@barasek.com",
        "jan@",
        "jan@localhost",
        "a b@c.co",
        "a@b@c.co",
        " a@c.co",
        "a@c.co\n",
        "a@bücher.de",
        "a@b_c.co",
        "a@.co",
        "a@b..co",
        "a@c.co.",
        // Another form than the normal one.
        "É@c.co",
        "ӘЛИӘ@c.kz",
        "İ@c.co",
        "e\u{301}@c.co",
        // No addresses.
        ".a@c.co",
        "a.@c.co",
        "a..b@c.co",
        "a@-b.com",
        "a@b-.com",
        "a@b.123",
        "a@127.0.0.1",
        "\"a\"@c.co",
        "a(x)@c.co",
        "a,b@c.co",
        "<a@c.co",
        "a\u{a0}b@c.co",
        "a\u{200b}@c.co",
        "a\u{ad}b@c.co",
        "a\u{202e}b@c.co",
        "a\u{fe0f}@c.co",
        &long_label,
        &long_local_part,
        &long,
    ];
    let address = |text| format!("update customer set email = '{text}' where cu_ref_no = '{MANAGER}'");
    cases.extend(addresses.map(|text| (address(text), "customer_email_normal_form")));
    let notices = [" a", "a ", "a\n", "\ta", "a\rb", "a\r\nb", "\u{a0}a", "a\u{3000}", "\u{2028}a", " "];
    let notice = |text| format!("update customer_match set notice = '{text}'");
    cases.extend(notices.map(|text| (notice(text), "customer_match_notice_normal_form")));
    let long_text = "x".repeat(201);
    let texts =
        ["", " ", " a", "a ", "a\u{a0}", "\u{3000}a", "a\nb", "a\u{85}b", "a\u{7f}", "\ta", &long_text];
    for column in [
        "first_name",
        "last_name",
        "company_name",
        "phone",
        "company_registration_number",
        "tax_identification_number",
    ] {
        let text = |text| format!("update customer set {column} = '{text}' where cu_ref_no = '{MANAGER}'");
        cases.extend(texts.map(|value| (text(value), "customer_profile_normal_form")));
    }
    cases
}

#[tokio::test]
async fn refuses_every_illegal_state() {
    let service = populated().await;
    let mut connection = service.pool.acquire().await.unwrap();
    for (sql, constraint) in illegal() {
        let mut transaction = connection.begin().await.unwrap();
        let Err(error) = sqlx::raw_sql(&sql).execute(&mut *transaction).await else {
            panic!("{sql} is taken")
        };
        let is_rejected = match service.database.layout() {
            Layout::Single => db::violates(&error, constraint),
            // No row changes its organisation there, and of several constraints another one may come first.
            Layout::Distributed => {
                let code = error.as_database_error().unwrap().code().unwrap();
                code == "0A000" || code.starts_with("23")
            }
        };
        assert!(is_rejected, "{error} in {sql}");
        transaction.rollback().await.unwrap();
    }
}

/// A new constraint comes with a statement that it rejects. The primary key of a customer rejects first whatever
/// `customer_living_key`, the target of foreign keys, would.
#[tokio::test]
async fn each_constraint_is_tried() {
    let service = Service::start().await;
    let constraints: Vec<String> = sqlx::query_scalar(
        "select conname::text from pg_constraint
         where connamespace = 'public'::regnamespace and contype <> 'n' and conrelid <> '_sqlx_migrations'::regclass
           and conname <> 'customer_living_key'
           -- Of a shard.
           and conname !~ '_[0-9]{6,}$'
         union
         select indexrelid::regclass::text from pg_index
         where indisunique and indexrelid <> 'customer_living_key'::regclass and indrelid::regclass::text in ('organisation', 'api_key', 'customer', 'customer_match', 'customer_identity')",
    )
    .fetch_all(&service.pool)
    .await
    .unwrap();
    let tried: BTreeSet<_> = illegal().into_iter().map(|(_, constraint)| constraint.to_owned()).collect();
    assert_eq!(constraints.into_iter().collect::<BTreeSet<_>>(), tried);
}

/// What the server takes for an address is one to the database: an address that passes the one and not the other would be a 500.
#[tokio::test]
async fn takes_every_normal_form() {
    let service = Service::start().await;
    let name =
        proptest::string::string_regex("[\\PC]{1,5}([.]?[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}){1,2}").unwrap();
    let tail = select(vec![
        "example.com",
        "BÜCHER.de",
        "例子.中国",
        "ｂ。com",
        "xn--bcher-kva.de",
        "डाटामेल.भारत",
        "a-b.c-d.co",
    ]);
    let strategy = (name, tail).prop_map(|(name, domain)| format!("{name}@{domain}"));
    let mut runner = TestRunner::default();
    let addresses = (0..5000).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let addresses: Vec<_> =
        addresses.filter_map(|text| Email::parse(&text).ok()).map(|email| email.to_string()).collect();
    assert!(addresses.len() > 1000, "only {} are addresses", addresses.len());
    sqlx::query(
        "insert into customer (organisation_id, cu_ref_no, email)
         select 1, lpad(number::text, 16, '0'), email from unnest($1::text[]) with ordinality as _ (email, number)
         on conflict do nothing",
    )
    .bind(addresses)
    .execute(&service.pool)
    .await
    .unwrap();
}
