//! The limit of open files, which bounds the connections: each is a file descriptor.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// File descriptors for everything but clients: log, database, listeners.
const OTHER_FILES: u64 = 256;

/// Raises the soft limit to the hard one, as most systems start a process with 1,024, and warns if `--max-connections`
/// needs more.
pub(crate) fn raise_open_file_limit(limits: Limits) {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let wanted = u64::from(limits.connections) + OTHER_FILES;
    if setrlimit(Resource::Nofile, files).is_err() || files.maximum.is_some_and(|most| most < wanted) {
        tracing::warn!(
            wanted,
            allowed = files.maximum,
            "the limit of open files is lower than --max-connections"
        );
    }
}
