//! The tests that cannot hold on a cluster, each with its reason. Everything else passes there too.

use customer_match::db::Layout;

use super::TestDatabase;

const NO_TRIGGER: &str = "it observes statements by triggers, which distributed tables do not have";

const BOTH_WAYS: &str = "it compares the two ways to read, or moves rows as if there were a cluster";

const NUMBERS: &str = "its own SQL draws change numbers on the coordinator";

const NO_CLOCK: &str = "it puts a clock before that of one Postgres, and each worker has its own";

const TESTS: [(&str, &str); 15] = [
    ("command_line::a_subcommand_logs_sentences", NO_TRIGGER),
    ("delegated_reads::lists_of_customers_are_the_same", BOTH_WAYS),
    ("delegated_reads::lists_of_matched_customers_are_the_same", BOTH_WAYS),
    ("delegated_reads::single_customers_and_relations_are_the_same", BOTH_WAYS),
    (
        "distributable::each_key_of_a_table_of_tenants_contains_the_organisation",
        "the breaches that it plants are rejected",
    ),
    ("exactly_once::a_clock_that_is_set_does_not_let_a_late_attempt_in", NO_CLOCK),
    ("exactly_once::writers_go_on_when_the_clock_is_set", NO_CLOCK),
    ("isolation_level::each_command_and_call_writes_in_read_committed", NO_TRIGGER),
    ("match_changes::readers_miss_nothing_of_writers_that_commit_out_of_order", NUMBERS),
    ("match_changes_distributed::an_organisation_that_was_moved_is_numbered_anew", BOTH_WAYS),
    ("match_changes_distributed::pages_are_those_of_one_postgres", BOTH_WAYS),
    ("match_changes_distributed::renumbering_goes_on_where_it_ended_and_begins_anew_after_a_move", BOTH_WAYS),
    ("match_changes_distributed::several_servers_renumber_at_the_same_time", BOTH_WAYS),
    ("match_changes_distributed::the_last_changes_are_those_of_one_postgres", BOTH_WAYS),
    ("on_call::whether_the_disk_is_slow", NO_TRIGGER),
];

/// Whether this test of [`TESTS`] has to end at once, and says so.
pub fn skip(test: &str, database: &TestDatabase) -> bool {
    let Some((_, reason)) = TESTS.iter().find(|(name, _)| *name == test) else {
        panic!("{test} is not in the list");
    };
    let is_on_cluster = database.layout() == Layout::Distributed;
    if is_on_cluster {
        eprintln!("{test} is skipped on a cluster: {reason}");
    }
    is_on_cluster
}
