//! The database refuses every illegal state by itself, whatever the code does.

use rstest::rstest;

use crate::support::Service;

/// Organisation 1 with the customers of ids 1 and 2 (see `Service`), organisation 2 with the customer of id 3, and the
/// relation of 1 and 2.
async fn populated() -> Service {
    let service = Service::start().await;
    let (other, _) = service.add_organisation("Other").await;
    service.add_customer_of(other, "customerOfOther1", None).await;
    service.execute(&insert("1, 1, 2, true, false, null")).await;
    service
}

fn insert(values: &str) -> String {
    format!(
        "insert into customer_match
            (organisation_id, low_id, high_id, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at)
         values ({values}, now(), now(), now())"
    )
}

fn identity(hash_and_customer: &str) -> String {
    format!(
        "insert into customer_identity (organisation_id, hash, customer_id, created_at, expires_at)
         values (1, {hash_and_customer}, now(), now())"
    )
}

#[rstest]
#[case::doubled_pair(insert("1, 1, 2, true, false, null"), "customer_match_pkey")]
#[case::mirrored_pair(insert("1, 2, 1, true, false, null"), "customer_match_canonical_order")]
#[case::self_match(insert("1, 1, 1, true, false, null"), "customer_match_canonical_order")]
#[case::nobody_manages("update customer_match set low_is_manager = false", "customer_match_has_manager")]
#[case::across_organisations(insert("1, 1, 3, true, false, null"), "customer_match_high_fkey")]
#[case::of_a_foreign_organisation(insert("2, 1, 3, true, false, null"), "customer_match_low_fkey")]
#[case::long_notice("update customer_match set notice = repeat('x', 10001)", "customer_match_notice_length")]
#[case::customer_gone("delete from customer where id = 1", "customer_match_low_fkey")]
#[case::customer_moved("update customer set organisation_id = 2 where id = 1", "customer_match_low_fkey")]
#[case::short_reference(
    "update customer set cu_ref_no = '1cGIHvFoQDGLAbc' where id = 1",
    "customer_cu_ref_no_format"
)]
#[case::doubled_reference(
    "update customer set cu_ref_no = '5CmsaVNgAQqRqoen' where id = 1",
    "customer_cu_ref_no_key"
)]
#[case::upper_case_address(
    "update customer set email = 'Jan@barasek.com' where id = 1",
    "customer_email_normal_form"
)]
#[case::address_of_one_label(
    "update customer set email = 'a@localhost' where id = 1",
    "customer_email_normal_form"
)]
#[case::address_with_white_space(
    "update customer set email = 'a b@c.co' where id = 1",
    "customer_email_normal_form"
)]
#[case::doubled_address("update customer set email = 'jan@barasek.com' where id = 1", "customer_email_key")]
#[case::network_as_address(
    "update customer set real_ip = '10.0.0.0/8' where id = 1",
    "customer_real_ip_is_host"
)]
#[case::short_identity_hash(identity("'x', 1"), "customer_identity_hash_is_sha256")]
#[case::identity_of_a_foreign_customer(identity("sha256('x'), 3"), "customer_identity_customer_fkey")]
#[case::reason_of_a_living_customer(
    "update customer set deletion_reason = 'x' where id = 1",
    "customer_deletion_reason_of_deleted"
)]
#[case::blank_reason(
    "update customer set deleted_at = now(), deletion_reason = ' ' where id = 1",
    "customer_deletion_reason_not_blank"
)]
#[case::merged_and_alive("update customer set merged_into_id = 2 where id = 1", "customer_merged_is_deleted")]
#[case::merged_into_itself(
    "update customer set deleted_at = now(), merged_into_id = 1 where id = 1",
    "customer_merged_into_another"
)]
#[case::merged_across_organisations(
    "update customer set deleted_at = now(), merged_into_id = 3 where id = 1",
    "customer_merged_into_fkey"
)]
#[case::short_hash("update api_key set hash = 'x'", "api_key_hash_is_sha256")]
#[case::unknown_kind("update api_key set kind = 'test'", "api_key_kind")]
#[case::limit_of_nothing("update api_key set limit_per_minute = 0", "api_key_limit_is_positive")]
#[case::limited_root("update api_key set kind = 'root', limit_per_minute = 1", "api_key_root_is_unlimited")]
#[case::share_below_its_calls(
    "insert into running_server values (1, now()); insert into api_key_share values (1, 1, 2, 1, 0)",
    "api_key_share_covers_calls"
)]
#[case::blank_name("update organisation set name = ' '", "organisation_name_not_blank")]
#[tokio::test]
async fn refuses(#[case] sql: impl AsRef<str>, #[case] constraint: &str) {
    let service = populated().await;
    let error = sqlx::raw_sql(sql.as_ref()).execute(&service.pool).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().constraint(), Some(constraint), "{error}");
}
