//! The tests that cannot hold on a cluster, each with its reason. Everything else passes there too.

use customer_match::db::Layout;

use super::TestDatabase;

const NO_TRIGGER: &str = "it observes statements by triggers, which distributed tables do not have";

const TESTS: [(&str, &str); 3] = [
    ("command_line::a_subcommand_logs_sentences", NO_TRIGGER),
    ("isolation_level::each_command_and_call_writes_in_read_committed", NO_TRIGGER),
    ("on_call::whether_the_disk_is_slow", NO_TRIGGER),
];

/// Whether this test of [`TESTS`] has to end at once, and says so.
pub fn skip(test: &str, database: &TestDatabase) -> bool {
    let (_, reason) = TESTS.iter().find(|(name, _)| *name == test).expect("the test is in the list");
    let is_on_cluster = database.layout() == Layout::Distributed;
    if is_on_cluster {
        eprintln!("{test} is skipped on a cluster: {reason}");
    }
    is_on_cluster
}
