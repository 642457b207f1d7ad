//! SIGTERM and Ctrl-C of subcommands that stop in order.

use std::io;
use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// As a shell reports a process that SIGINT ended.
pub(super) const EXIT_INTERRUPTED: u8 = 130;

/// The command was ended by a signal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// Cancelled by the first SIGTERM or SIGINT, after `announce`. The second ends the process at once; a private Postgres then stops
/// by itself.
pub(super) fn cancelled_by_signal(announce: impl FnOnce() + Send + 'static) -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let cancelled = CancellationToken::new();
    let token = cancelled.clone();
    tokio::spawn(async move {
        next().await;
        announce();
        token.cancel();
        next().await;
        process::exit(EXIT_INTERRUPTED.into());
    });
    Ok(cancelled)
}
