//! The lines of a body, as they arrive.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

use super::json_body::MAX_BYTES;
use crate::error::{ApiError, ErrorCode};
use crate::fair_budget::Share;

/// A line without its line feed.
pub(crate) enum Line {
    Text(Bytes),
    /// It has more bytes than the body of a single call may have.
    TooLong,
}

impl Line {
    pub(super) fn of(text: Bytes) -> Self {
        if text.len() > MAX_BYTES { Self::TooLong } else { Self::Text(text) }
    }
}

pub(crate) struct BodyLines {
    body: Body,
    /// What has arrived and was not taken.
    received: Bytes,
    /// The beginning of the line that `received` goes on with.
    begun: Vec<u8>,
    /// That line is too long: its beginning was dropped.
    too_long: bool,
    ended: bool,
    /// Of the budget of bodies; it grows with the longest line.
    share: Share<Option<IpAddr>>,
    counted: usize,
}

impl BodyLines {
    pub(super) fn new(body: Body, share: Share<Option<IpAddr>>) -> Self {
        let (received, begun) = (Bytes::new(), Vec::new());
        Self { body, received, begun, too_long: false, ended: false, share, counted: 0 }
    }

    /// The next line, if it has arrived to its end.
    pub(super) fn next_received(&mut self) -> Option<Line> {
        match self.received.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.received.split_to(end);
                let _line_feed = self.received.split_to(1);
                Some(self.complete(line))
            }
            // The last line needs no line feed.
            None if self.ended && (self.too_long || !self.begun.is_empty()) => {
                Some(self.complete(Bytes::new()))
            }
            None => None,
        }
    }

    fn complete(&mut self, end: Bytes) -> Line {
        let begun = std::mem::take(&mut self.begun);
        if std::mem::take(&mut self.too_long) {
            Line::TooLong
        } else if begun.is_empty() {
            Line::of(end)
        } else {
            Line::of([&begun[..], &end].concat().into())
        }
    }

    /// Waits for more of the body; false at its end. Call it when no line is left; it may be cancelled.
    ///
    /// # Errors
    ///
    /// The body was cut off, or the client holds too much of the budget of bodies.
    pub(super) async fn receive(&mut self) -> Result<bool, ApiError> {
        if !self.received.is_empty() {
            self.begin_line()?;
        }
        if self.ended {
            return Ok(false);
        }
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|_| ApiError::not_json("The body was cut off before its end."))?;
            if let Ok(data) = frame.into_data() {
                self.received = data;
                return Ok(true);
            }
        }
        self.ended = true;
        Ok(false)
    }

    /// Copies the beginning of a line, because a piece of a few bytes may keep a buffer of hyper.
    fn begin_line(&mut self) -> Result<(), ApiError> {
        let received = std::mem::take(&mut self.received);
        if self.too_long || self.begun.len() + received.len() > MAX_BYTES {
            self.too_long = true;
            self.begun = Vec::new();
            return Ok(());
        }
        let length = self.begun.len() + received.len();
        if length > self.counted {
            if !self.share.grow((length - self.counted) as u64) {
                return Err(ErrorCode::ServiceUnavailable.into());
            }
            self.counted = length;
        }
        self.begun.extend_from_slice(&received);
        Ok(())
    }

    /// Receives and drops the rest, so that the client, which may still be sending, can read the end of the answer.
    pub(super) async fn discard(mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::fair_budget::FairBudget;

    async fn lines(frames: Vec<Vec<u8>>) -> Vec<Option<Vec<u8>>> {
        let share = FairBudget::new(1 << 30).try_take(None, 0).unwrap();
        let body = Body::from_stream(stream::iter(frames.into_iter().map(Ok::<_, Infallible>)));
        let (mut body, mut lines) = (BodyLines::new(body, share), Vec::new());
        loop {
            while let Some(line) = body.next_received() {
                lines.push(match line {
                    Line::Text(text) => Some(text.to_vec()),
                    Line::TooLong => None,
                });
            }
            if body.ended {
                return lines;
            }
            body.receive().await.unwrap();
        }
    }

    fn run(frames: Vec<Vec<u8>>) -> Vec<Option<Vec<u8>>> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lines(frames))
    }

    proptest! {
        /// However a body is cut into pieces, it has the lines that it has as one text; a line feed at its end begins no line.
        #[test]
        fn are_those_of_the_text(frames in vec(vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(0xff)], 0..9), 0..9)) {
            let text = frames.concat();
            let mut expected: Vec<_> = text.split(|byte| *byte == b'\n').map(|line| Some(line.to_vec())).collect();
            if text.is_empty() || text.ends_with(b"\n") {
                expected.pop();
            }
            prop_assert_eq!(run(frames), expected);
        }
    }

    #[test]
    fn one_that_is_too_long_is_not_kept() {
        let long = |bytes| vec![b'x'; bytes];
        for pieces in [1, 2, 7] {
            for over in [0, 1] {
                let mut text = long(MAX_BYTES + over);
                text.extend(b"\nshort\n");
                text.extend(long(MAX_BYTES + over));
                let frames = text.chunks(text.len().div_ceil(pieces)).map(<[u8]>::to_vec).collect();
                let kept = (over == 0).then(|| long(MAX_BYTES));
                assert_eq!(run(frames), [kept.clone(), Some(b"short".to_vec()), kept]);
            }
        }
    }
}
