//! A writer that buffers log events and writes them to its output in batches, from a thread of its own.
//!
//! A request only appends to the buffer. Handing every event to the thread would cost a request more than formatting it;
//! writing from the request would make requests wait for each other and for the reader of the output. So the thread wakes
//! up once for all events of a [`FLUSH_INTERVAL`]. The buffer is bounded: an event that does not fit is dropped and counted.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long the thread waits for more events after the first.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);
/// How long the process waits at its end until the output has taken everything.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Capacity that the buffers keep after a burst, in bytes.
const RETAINED_CAPACITY: usize = 1 << 16;

pub(super) struct BatchingWriter {
    pending: Mutex<Pending>,
    changed: Condvar,
    /// The most bytes that may be pending.
    max_buffered: usize,
    dropped: AtomicU64,
}

struct Pending {
    bytes: Vec<u8>,
    closed: bool,
}

impl BatchingWriter {
    pub(super) const fn new(max_buffered: usize) -> Self {
        let pending = Mutex::new(Pending { bytes: Vec::new(), closed: false });
        Self { pending, changed: Condvar::new(), max_buffered, dropped: AtomicU64::new(0) }
    }

    /// The number of events that did not fit into the buffer.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Starts the thread that writes to `output`. An event that `output` does not take is lost.
    pub(super) fn start(&'static self, mut output: impl Write + Send + 'static) -> io::Result<FlushGuard> {
        let (running, stopped) = channel();
        thread::Builder::new().name("log".into()).spawn(move || {
            let mut batch = Vec::new();
            while self.next_batch(&mut batch) {
                let _ = output.write_all(&batch).and_then(|()| output.flush());
                batch.clear();
                batch.shrink_to(RETAINED_CAPACITY);
            }
            drop(running);
        })?;
        Ok(FlushGuard { writer: self, stopped })
    }

    /// Waits for an event and then for [`FLUSH_INTERVAL`]. Returns false once the writer is closed and empty.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let idle = |pending: &mut Pending| pending.bytes.is_empty() && !pending.closed;
        let pending = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let (mut pending, _) = self
            .changed
            .wait_timeout_while(pending, FLUSH_INTERVAL, |pending| !pending.closed)
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut pending.bytes, batch);
        !batch.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one whole event a call, as tracing-subscriber writes them, so that a dropped event never leaves half a line.
impl Write for &BatchingWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut pending = self.lock();
        if pending.bytes.len() + event.len() > self.max_buffered {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            let first = pending.bytes.is_empty();
            pending.bytes.extend_from_slice(event);
            drop(pending);
            if first {
                self.changed.notify_one();
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Dropping it closes the writer and waits until all pending events are written.
pub(crate) struct FlushGuard {
    writer: &'static BatchingWriter,
    stopped: Receiver<()>,
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.writer.lock().closed = true;
        self.writer.changed.notify_one();
        // The thread sends nothing: it drops its end of the channel, which ends the wait with an error.
        let _ = self.stopped.recv_timeout(FINAL_FLUSH_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_all_pending_events_at_the_end_and_counts_dropped_ones() {
        let writer: &'static BatchingWriter = Box::leak(Box::new(BatchingWriter::new(10)));
        for event in [b"one\n", b"two\n", b"six\n"] {
            (&*writer).write_all(event).unwrap();
        }
        let output = Output::default();
        drop(writer.start(output.clone()).unwrap());
        assert_eq!(*output.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(writer.dropped(), 1);
    }
}
