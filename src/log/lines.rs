//! Lines on their way out: gathered for a moment and written together.
//!
//! Handing each line to a thread costs a request more than formatting it, and writing it from the request makes requests
//! wait for each other and for whoever reads. So the thread is woken once for all lines of a moment.

use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a line waits for company.
const MOMENT: Duration = Duration::from_millis(10);
/// How long the end of the process waits for somebody who reads.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// What the buffers keep of their size after a burst, in octets.
const KEPT: usize = 1 << 16;

/// Where lines are written to.
pub(super) struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Octets that may wait.
    room: usize,
    lost: AtomicU64,
}

struct Waiting {
    octets: Vec<u8>,
    ended: bool,
}

impl Lines {
    pub(super) const fn new(room: usize) -> Self {
        let waiting = Mutex::new(Waiting { octets: Vec::new(), ended: false });
        Self { waiting, changed: Condvar::new(), room, lost: AtomicU64::new(0) }
    }

    /// Lines for which there was no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// From here on what waits is written. What cannot be written is lost.
    pub(super) fn write_to(&'static self, mut out: impl Write + Send + 'static) -> io::Result<Guard> {
        let (end, ended) = channel();
        thread::Builder::new().name("log".into()).spawn(move || {
            let mut lines = Vec::new();
            while self.take(&mut lines) {
                let _ = out.write_all(&lines).and_then(|()| out.flush());
                lines.clear();
                lines.shrink_to(KEPT);
            }
            drop(end);
        })?;
        Ok(Guard { lines: self, ended })
    }

    /// Waits for lines, and a moment for more. `false`: no more will come.
    fn take(&self, lines: &mut Vec<u8>) -> bool {
        let nothing = |waiting: &mut Waiting| waiting.octets.is_empty() && !waiting.ended;
        let waiting = self.changed.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, MOMENT, |waiting| !waiting.ended)
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut waiting.octets, lines);
        !lines.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes whole lines.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.lock();
        if waiting.octets.len() + line.len() > self.room {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            let first = waiting.octets.is_empty();
            waiting.octets.extend_from_slice(line);
            drop(waiting);
            if first {
                self.changed.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When it is dropped, all lines are written.
pub struct Guard {
    lines: &'static Lines,
    ended: Receiver<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.lines.lock().ended = true;
        self.lines.changed.notify_one();
        // An error is what is waited for: the thread has let go of its end.
        let _ = self.ended.recv_timeout(LAST_MOMENT);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_at_the_end_and_those_without_room_counted() {
        let lines: &'static Lines = Box::leak(Box::new(Lines::new(10)));
        for line in [b"one\n", b"two\n", b"six\n"] {
            (&*lines).write_all(line).unwrap();
        }
        let out = Out::default();
        drop(lines.write_to(out.clone()).unwrap());
        assert_eq!(*out.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(lines.lost(), 1);
    }
}
