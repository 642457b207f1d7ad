//! The reads of a distributed database answer as those of one Postgres, which has their functions too: both are asked for the same
//! lists, page by page.

use std::time::Duration;

use customer_match::db::matched_customer::{self, List, Owner};
use customer_match::db::{Layout, customer, customer_identity, customer_list, customer_match as relation};
use customer_match::domain::{CuRefNo, IdentityId, SearchTerm};
use sqlx::PgConnection;

use crate::support::{TestDatabase, skip};

/// Longer than the statements may take together, so that no list depends on it.
const INDEX_TIMEOUT: Duration = Duration::from_secs(60);

/// Two organisations with the same references. In each, customers 1 to 90 have relations with each other, some of the same moment,
/// ended ones, and notices of all kinds; some are deleted. Customer 91 has 60 relations with large notices, 92 has 700, and 93, in the
/// first organisation, more than are counted.
const ROWS: &str = "
    create function reference(number int8) returns text language sql immutable
        return translate(left(md5('customer ' || number), 16), '01234567', 'AbCdXyZz');
    insert into organisation (name) values ('one'), ('other');
    insert into customer (organisation_id, cu_ref_no, email, first_name, last_name, company_name, phone, created_at, updated_at, deleted_at)
    select
        organisation.id, reference(i), case when i % 5 > 0 then 'user' || i || '@example.com' end,
        (array['Jan', 'Žofie', 'Anna%', null])[1 + i % 4], (array['Novák', 'O''Brien', 'Svobodová'])[1 + i * 7 % 3] || i % 97,
        case when i % 11 = 0 then 'Company_' || organisation.id end, case when i % 3 = 0 then '1' end, '2026-01-01', '2026-02-01',
        case when i <= 90 and i % 13 = 0 or i > 10700 then timestamptz '2026-03-01' end
    from organisation, generate_series(1, case name when 'one' then 12000 else 1000 end) as i;
    insert into customer_match (
        organisation_id, low_cu_ref_no, high_cu_ref_no, low_is_manager, high_is_manager, notice, created_at, matched_at, updated_at,
        deactivated_at
    )
    select
        id, least(reference(a), reference(b)), greatest(reference(a), reference(b)), (a + b) % 3 > 0, (a + b) % 3 <> 1,
        case when a = 91 then repeat('𝄞', 10000) else (array['', 'a \"quoted\" one', E'two\nlines', null])[1 + (a + b) % 4] end,
        at, at, at + interval '1 day', case when a % 13 = 0 or b <= 90 and b % 13 = 0 or (a + b) % 17 = 0 then at + interval '1 hour' end
    from organisation, (
        select a, b from generate_series(1, 90) as a, generate_series(1, 90) as b where a < b and a * b % 7 = 1
        union all select 91, b from generate_series(100, 159) as b
        union all select 92, b from generate_series(200, 899) as b
        union all select 93, b from generate_series(94, 10500) as b
    ) as pair, lateral (select timestamptz '2026-01-02 00:00:00.000001+00' + (a * b + a) % 41 * interval '1 minute' as at) as time
    where a < 93 or name = 'one';
    insert into customer_identity (organisation_id, hash, cu_ref_no, created_at, expires_at, revoked_at)
    select
        id, sha256(convert_to(lpad(i::text, 32, '0'), 'UTF8')), reference(i), now() - interval '2 hours',
        now() + case when i = 3 then interval '-1 hour' else interval '1 hour' end, case when i = 4 then now() - interval '1 hour' end
    from organisation, unnest('{1,2,3,4,13,92}'::int8[]) as i;
    analyze;
";

/// With the rows, unless this test is skipped.
async fn database(test: &str) -> Option<(TestDatabase, PgConnection)> {
    let database = TestDatabase::create().await;
    if skip(test, &database) {
        return None;
    }
    let mut db = database.connect().await;
    sqlx::raw_sql(ROWS).execute(&mut db).await.unwrap();
    Some((database, db))
}

async fn reference(db: &mut PgConnection, number: i64) -> CuRefNo {
    let reference: String =
        sqlx::query_scalar("select reference($1)").bind(number).fetch_one(db).await.unwrap();
    CuRefNo::parse(reference).unwrap()
}

fn identity(number: i64) -> IdentityId {
    IdentityId::parse(&format!("{number:032}")).unwrap()
}

fn terms() -> impl Iterator<Item = Option<SearchTerm>> {
    // Frequent, too short for trigrams, of nobody, rare, of one customer, with the signs of patterns, of nobody.
    let terms = ["novak", "a", "qq", "svobodova61", "user10055@example", "anna%", "_", "nobody at all"];
    [None].into_iter().chain(terms.into_iter().map(|term| Some(SearchTerm::parse(term).unwrap())))
}

#[tokio::test]
async fn lists_of_matched_customers_are_the_same() {
    let Some((_database, mut db)) =
        database("delegated_reads::lists_of_matched_customers_are_the_same").await
    else {
        return;
    };
    let mut owners = vec![Owner::CuRefNo(CuRefNo::parse("0000000000000000").unwrap())];
    for number in [1, 2, 13, 11000, 91, 92, 93] {
        owners.push(Owner::CuRefNo(reference(&mut db, number).await));
    }
    owners.extend([1, 2, 3, 4, 5, 13, 92].map(|number| Owner::Identity(identity(number))));
    let (mut lists, mut pages) = (0, 0);
    for owner in &owners {
        for (limit, organisation_id) in [(1, 1), (7, 2), (500, 1)] {
            for term in terms() {
                let mut after = None;
                // Of a long list as much as makes a difference.
                for _ in 0..4 {
                    let mut answers = Vec::new();
                    for layout in [Layout::Single, Layout::Distributed] {
                        let (term, after) = (term.as_ref(), after.as_ref());
                        let list = List { layout, organisation_id, owner, term, after, limit };
                        answers.push(matched_customer::page(&mut db, &list, INDEX_TIMEOUT).await.unwrap());
                    }
                    let texts = answers.iter().map(|answer| format!("{answer:?}")).collect::<Vec<_>>();
                    assert!(
                        texts[0] == texts[1],
                        "{limit}, {term:?}, {after:?}:\n{}\n{}",
                        texts[0],
                        texts[1]
                    );
                    lists += usize::from(after.is_none());
                    let page = answers.swap_remove(0);
                    pages += usize::from(page.as_ref().is_some_and(|page| !page.items.is_empty()));
                    after = page.and_then(|page| page.next_cursor);
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(lists, owners.len() * 3 * terms().count());
    assert!(pages > 100, "{pages}");
}

#[tokio::test]
async fn lists_of_customers_are_the_same() {
    let Some((_database, mut db)) = database("delegated_reads::lists_of_customers_are_the_same").await else {
        return;
    };
    let mut pages = 0;
    for (limit, organisation_id) in [(1, 1), (33, 2), (500, 1)] {
        for term in terms() {
            for start in [None, Some(CuRefNo::parse("f000000000000000").unwrap())] {
                let mut after = start;
                for _ in 0..5 {
                    let mut answers = Vec::new();
                    for layout in [Layout::Single, Layout::Distributed] {
                        let (term, after) = (term.as_ref(), after.as_ref());
                        let page = customer_list::page(
                            &mut db,
                            layout,
                            organisation_id,
                            term,
                            after,
                            limit,
                            INDEX_TIMEOUT,
                        );
                        answers.push(page.await.unwrap());
                    }
                    let texts = answers.iter().map(|answer| format!("{answer:?}")).collect::<Vec<_>>();
                    assert!(
                        texts[0] == texts[1],
                        "{limit}, {term:?}, {after:?}:\n{}\n{}",
                        texts[0],
                        texts[1]
                    );
                    pages += usize::from(!answers[0].items.is_empty());
                    after = answers.swap_remove(0).next_cursor;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
    }
    assert!(pages > 50, "{pages}");
}

#[tokio::test]
async fn single_customers_and_relations_are_the_same() {
    let Some((_database, mut db)) =
        database("delegated_reads::single_customers_and_relations_are_the_same").await
    else {
        return;
    };
    let mut references = vec![CuRefNo::parse("0000000000000000").unwrap()];
    for number in (1..=30).chain([92, 200, 11000]) {
        references.push(reference(&mut db, number).await);
    }
    let (mut seen, mut relations) = (0, 0);
    for number in [1, 2, 3, 4, 5, 13, 92] {
        let identity = identity(number);
        let mut found = Vec::new();
        for layout in [Layout::Single, Layout::Distributed] {
            found.push(customer_identity::find(&mut db, layout, 1, &identity).await.unwrap());
        }
        assert_eq!(found[0], found[1], "{number}");
        for wanted in [None].into_iter().chain(references.iter().map(Some)) {
            let mut answers = Vec::new();
            for layout in [Layout::Single, Layout::Distributed] {
                let answer =
                    customer::find_for_identity(&mut db, layout, 1, &identity, wanted).await.unwrap();
                answers
                    .push(format!("{:?}", answer.map(|seen| seen.map(|seen| (seen.customer, seen.is_own)))));
            }
            assert_eq!(answers[0], answers[1], "{number}, {wanted:?}");
            seen += usize::from(answers[0].starts_with("Some(Some"));
        }
    }
    for manager in &references {
        for matched in &references {
            let mut answers = Vec::new();
            for layout in [Layout::Single, Layout::Distributed] {
                let answer = relation::find(&mut db, layout, 2, manager, matched).await.unwrap();
                answers.push(format!("{answer:?}"));
            }
            assert_eq!(answers[0], answers[1], "{manager}, {matched}");
            relations += usize::from(answers[0] != "None");
        }
    }
    assert!(seen > 5 && relations > 50, "{seen}, {relations}");
}
