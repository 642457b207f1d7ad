//! A stream of writes: lines in, answers out, at the same time.
//!
//! One task takes lines while the window, the answers that wait to be sent and the key allow it. It queues their writes, several at
//! once, and gets the results in any order. A client that does not read gets no results lost and blocks no other: its own lines are
//! not taken any more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answers::Answers;
use super::line::Write;
use super::pairs::{Pair, Pairs, Turn};
use super::{BatchAnswer, RejectedLine, Summary, WrittenLine};
use crate::domain::{Change, Match, Matched, Relation, Scope, Unmatch, Unmatched};
use crate::error::{ApiError, ErrorCode};
use crate::fair_budget::Share;
use crate::group_commit::{PendingWrite, Submitter, WriteError, WriteResult};
use crate::http::extract::{ApiLines, AuthenticatedCaller, Line, Lines, OngoingKey, Prefer};
use crate::http::request_context::StreamCounts;
use crate::http::routes::customer_match::{customer_field, match_error};
use crate::http::routes::customer_unmatch::unmatch_error;
use crate::http::state::AppState;

/// Before the next attempt to queue writes, when single calls of the organisation have filled its queue.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// How long the rest of a body is received after the answer's end.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Stream {
    app: Arc<AppState>,
    caller: AuthenticatedCaller,
    key: OngoingKey,
    prefer: Prefer,
    counts: Arc<StreamCounts>,
    /// The number of the last line that was taken.
    line: u64,
    /// Whether a line has been counted as a call. The first one is: with the call itself.
    has_admitted: bool,
    /// Taken, but there was no room for it in the window.
    next: Option<Line>,
    window_share: Option<Share<i64>>,
    /// Its pair may be named in another way by an unfinished line.
    stalled: Option<TakenLine>,
    pairs: Pairs<TakenLine>,
    /// Not queued yet.
    writes: VecDeque<PendingWrite>,
    in_flight: FuturesUnordered<InFlight>,
    answers: Answers,
    summary: Summary,
}

/// A line that has begun and not finished.
struct TakenLine {
    number: u64,
    pair: Pair,
    write: Write,
    share: Share<i64>,
}

/// What is waited for before another line can be taken.
#[derive(PartialEq)]
enum Wait {
    /// More of the body.
    Bytes,
    /// A place in the window while other streams of the organisation have it all.
    Window,
    /// A result, or the client's reading.
    Progress,
}

/// Why no more lines are taken.
enum End {
    /// The body has ended.
    Body,
    /// The rest of the body is not read.
    Error(ApiError),
}

impl Stream {
    pub(super) fn new<B>(
        app: Arc<AppState>,
        call: ApiLines<B>,
        prefer: Prefer,
        counts: Arc<StreamCounts>,
        answers: Answers,
    ) -> (Self, Lines) {
        let ApiLines { caller, key, lines, .. } = call;
        let stream = Self {
            app,
            caller,
            key,
            prefer,
            counts,
            line: 0,
            has_admitted: false,
            next: None,
            window_share: None,
            stalled: None,
            pairs: Pairs::default(),
            writes: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            answers,
            summary: Summary::default(),
        };
        (stream, lines)
    }

    /// Ends when the answer is complete or the client has left. What is in flight then may be written all the same.
    pub(super) async fn run(mut self, mut lines: Lines, output: mpsc::Sender<Bytes>) {
        self.app.group_commit.locate(self.caller.organisation_id).await;
        let Some(end) = self.write_lines(&mut lines, &output).await else { return };
        match &end {
            End::Body => {
                self.summary.lines = self.line;
                self.answers.finish(self.line, Some(BatchAnswer::Summary(self.summary)));
            }
            End::Error(error) => {
                // The line to go on from.
                let rejected = RejectedLine::new(self.line + 1, error);
                self.answers.finish(self.line + 1, Some(BatchAnswer::Rejected(rejected)));
                self.counts.end_with(error.code());
            }
        }
        while self.answers.are_ready() {
            let Ok(permit) = output.reserve().await else { return };
            permit.send(self.answers.take_ready());
        }
        drop(output);
        if let End::Error(_) = end {
            let _ = timeout(DISCARD_TIMEOUT, lines.discard()).await;
        }
    }

    /// Until each line that was taken has finished. `None`: the client has left.
    async fn write_lines(&mut self, lines: &mut Lines, output: &mpsc::Sender<Bytes>) -> Option<End> {
        let app = Arc::clone(&self.app);
        let body_timeout = app.timeouts.body;
        let mut receive_by = Instant::now() + body_timeout;
        let mut end = None;
        loop {
            let mut wait = Wait::Progress;
            // It has been taken, so also when no more lines are.
            if let Some(stalled) = self.stalled.take() {
                self.enter(stalled);
            }
            if end.is_none() {
                match self.take_lines(lines).await {
                    Ok(next) => wait = next,
                    Err(error) => end = Some(End::Error(error)),
                }
            }
            if !self.answers.count() && end.is_none() {
                end = Some(End::Error(ErrorCode::ServiceUnavailable.into()));
            }
            self.app.group_commit.push_many(&mut self.writes);
            if end.is_some() && self.answers.is_finished() {
                return end;
            }
            if wait != Wait::Bytes {
                receive_by = Instant::now() + body_timeout;
            }
            tokio::select! {
                biased;
                Some(done) = self.in_flight.next() => {
                    self.finish(done);
                    // The others of its batch.
                    while let Some(Some(done)) = self.in_flight.next().now_or_never() {
                        self.finish(done);
                    }
                }
                permit = output.reserve(), if self.answers.are_ready() => {
                    permit.ok()?.send(self.answers.take_ready());
                }
                () = output.closed() => return None,
                () = app.shutdown.cancelled(), if end.is_none() => {
                    let error = ApiError::unavailable("The server is about to stop. Please go on from this line.");
                    end = Some(End::Error(error));
                }
                received = timeout_at(receive_by, lines.receive()), if wait == Wait::Bytes => match received {
                    Ok(Ok(true)) => receive_by = Instant::now() + body_timeout,
                    // The last line needs no line feed.
                    Ok(Ok(false)) => match lines.next_received() {
                        Some(line) => self.next = Some(line),
                        None => end = Some(End::Body),
                    },
                    Ok(Err(error)) => end = Some(End::Error(error)),
                    Err(_) => end = Some(End::Error(ErrorCode::RequestTimeout.into())),
                },
                share = app.stream_window.take_one(self.caller.organisation_id), if wait == Wait::Window => {
                    self.window_share = Some(share);
                }
                () = sleep(FULL_QUEUE_PAUSE), if !self.writes.is_empty() => {}
            }
        }
    }

    /// Takes lines that have arrived.
    ///
    /// # Errors
    ///
    /// The key may not be used any more; the line was not taken.
    async fn take_lines(&mut self, lines: &mut Lines) -> Result<Wait, ApiError> {
        loop {
            if self.stalled.is_some() || !self.answers.have_capacity() {
                return Ok(Wait::Progress);
            }
            let Some(line) = self.next.take().or_else(|| lines.next_received()) else {
                return Ok(Wait::Bytes);
            };
            if matches!(&line, Line::Text(text) if text.trim_ascii().is_empty()) {
                self.line += 1;
                continue;
            }
            let share = self.window_share.take();
            let organisation_id = self.caller.organisation_id;
            let Some(share) = share.or_else(|| self.app.stream_window.try_take(organisation_id, 1)) else {
                self.next = Some(line);
                return Ok(if self.answers.is_finished() { Wait::Window } else { Wait::Progress });
            };
            if self.has_admitted {
                self.key.admit(&self.app).await?;
            }
            self.has_admitted = true;
            self.line += 1;
            self.counts.count_line();
            match line {
                Line::Text(text) => self.begin(&text, share),
                Line::TooLong => self.reject(self.line, &ApiError::line_too_large(Lines::MAX_LINE_BYTES)),
            }
        }
    }

    fn begin(&mut self, text: &[u8], share: Share<i64>) {
        let number = self.line;
        match Write::parse(text, self.prefer.strict) {
            Ok(write) => {
                let pair = match &write {
                    Write::Match(wanted) => self.pairs.of_match(wanted),
                    Write::Unmatch(unwanted) => self.pairs.of_unmatch(unwanted),
                };
                self.answers.begin(number);
                self.enter(TakenLine { number, pair, write, share });
            }
            Err(error) => self.reject(number, &error),
        }
    }

    fn enter(&mut self, line: TakenLine) {
        match self.pairs.enter(line.pair, line) {
            Turn::Now(line) => self.submit(line),
            Turn::Later => {}
            Turn::Stalled(line) => self.stalled = Some(line),
        }
    }

    fn submit(&mut self, line: TakenLine) {
        let TakenLine { number, pair, write, share } = line;
        let end = Instant::now() + self.app.timeouts.request;
        let submitter = Submitter::new(self.caller.organisation_id).ending_at(end);
        let (write, pending) = match write {
            Write::Match(wanted) => {
                let representation = self.prefer.representation;
                let wanted = Match { representation, ..wanted };
                let sent = (representation && !self.caller.may(Scope::Read)).then(|| wanted.clone());
                let customer_field = customer_field(&wanted.customer);
                let (write, result) = submitter.pending_match(wanted);
                (write, Pending::Match { result, customer_field, sent })
            }
            Write::Unmatch(unwanted) => {
                let unwanted = Unmatch { representation: self.prefer.representation, ..unwanted };
                let (write, result) = submitter.pending_unmatch(unwanted.clone());
                (write, Pending::Unmatch { result, unwanted, may_read: self.caller.may(Scope::Read) })
            }
        };
        self.writes.push_back(write);
        self.in_flight.push(InFlight { number, pair, pending, _share: share });
    }

    fn finish(&mut self, done: Done) {
        let Done { number, pair, written } = done;
        match written {
            Ok(written) => {
                self.count(&written);
                let answer = self
                    .prefer
                    .representation
                    .then(|| BatchAnswer::Written(WrittenLine::new(number, written)));
                self.answers.finish(number, answer);
            }
            Err(error) => self.reject(number, &error),
        }
        if let Some(next) = self.pairs.leave(pair) {
            self.submit(next);
        }
    }

    fn count(&mut self, written: &Written) {
        let count = match written {
            Written::Matched(matched, _) => {
                self.app.metrics.match_committed(self.caller.organisation_id, matched.change);
                match matched.change {
                    Change::Created => &mut self.summary.created,
                    Change::Updated => &mut self.summary.updated,
                    Change::Unchanged => &mut self.summary.unchanged,
                    Change::Reactivated => &mut self.summary.reactivated,
                }
            }
            Written::Ended(_) => &mut self.summary.ended,
        };
        *count += 1;
    }

    fn reject(&mut self, number: u64, error: &ApiError) {
        self.summary.rejected += 1;
        self.counts.count_rejected();
        self.answers.finish(number, Some(BatchAnswer::Rejected(RejectedLine::new(number, error))));
    }
}

/// A write that is queued or being written. Resolves to what came of it.
struct InFlight {
    number: u64,
    pair: Pair,
    pending: Pending,
    _share: Share<i64>,
}

enum Pending {
    Match {
        result: WriteResult<Matched>,
        customer_field: &'static str,
        /// If the key may not see more of the relation.
        sent: Option<Match>,
    },
    Unmatch {
        result: WriteResult<Unmatched>,
        unwanted: Unmatch,
        may_read: bool,
    },
}

struct Done {
    number: u64,
    pair: Pair,
    written: Result<Written, ApiError>,
}

/// What a line did.
pub(super) enum Written {
    /// With what the line sent, if the key may not see more of the relation.
    Matched(Matched, Option<Match>),
    /// The relation has ended, now or before. It is here if it was asked for.
    Ended(Option<Relation>),
}

impl Future for InFlight {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let written = match &mut self.pending {
            Pending::Match { result, customer_field, sent } => match ready!(poll(result, cx)) {
                Ok(matched) => Ok(Written::Matched(matched, sent.take())),
                Err(error) => Err(match_error(error, customer_field)),
            },
            Pending::Unmatch { result, unwanted, may_read } => match ready!(poll(result, cx)) {
                Ok(unmatched) => Ok(Written::Ended(unmatched.shown(*may_read))),
                Err(error) => Err(unmatch_error(error, unwanted)),
            },
        };
        Poll::Ready(Done { number: self.number, pair: self.pair, written })
    }
}

fn poll<T>(result: &mut WriteResult<T>, cx: &mut Context<'_>) -> Poll<Result<T, WriteError>> {
    // Without a writer nothing can be written; not reached while the server runs.
    Pin::new(result).poll(cx).map(|reply| reply.unwrap_or(Err(WriteError::Overloaded)))
}
