//! One stream of matches: lines as fast as the server takes them. Its answer must be a summary without a rejected line.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::pairs::{Pair, Pairs};
use crate::record::{self, Record};
use crate::{ANSWER_TIMEOUT, client};

/// Lines that are sent at once.
const LINES: usize = 128;
/// Little, so that a line counts as sent not long before the server reads it.
const SEND_BUFFER: u32 = 64 * 1024;

/// Sends lines of the organisation for as long as that, and returns a record of each. What was sent has no time of its own: a line
/// counts as answered when it was sent, but only if the summary says in the end that each was written.
pub async fn send(
    address: SocketAddr,
    organisation: u32,
    mut pairs: Pairs,
    length: Duration,
) -> io::Result<Vec<Record>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    let mut stream = socket.connect(address).await?;
    let head = format!(
        "POST /api/v1/customer/customer-match-customer-batch?apiKey={} HTTP/1.1\r\nhost: {address}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        client::key(organisation)
    );
    stream.write_all(head.as_bytes()).await?;
    let mut sent = Vec::new();
    let start = Instant::now();
    let (mut lines, mut chunk) = (Vec::new(), Vec::new());
    while start.elapsed() < length {
        lines.clear();
        let first = sent.len();
        for _ in 0..LINES {
            let pair = pairs.next_pair();
            client::write_match(&mut lines, &pair, "customerCuRefNo")?;
            lines.push(b'\n');
            sent.push((pair, start));
        }
        chunk.clear();
        write!(chunk, "{:x}\r\n", lines.len())?;
        chunk.extend_from_slice(&lines);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).await?;
        let now = Instant::now();
        sent[first..].iter_mut().for_each(|(_, at)| *at = now);
    }
    stream.write_all(b"0\r\n\r\n").await?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, read(stream)).await;
    let status = match answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
        Ok(answer) if is_whole(&answer, sent.len()) => client::OK,
        Ok(answer) => {
            eprintln!("the stream was answered {}", answer.chars().take(1000).collect::<String>());
            record::NO_ANSWER
        }
        Err(error) => {
            eprintln!("the stream ended: {error}");
            record::NO_ANSWER
        }
    };
    let record = |(pair, at): (Pair, Instant)| Record {
        pair: Some(pair),
        status,
        sent: at,
        answered: at,
        streamed: true,
    };
    Ok(sent.into_iter().map(record).collect())
}

async fn read(mut stream: TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// 200, and the summary is the only line.
fn is_whole(answer: &str, lines: usize) -> bool {
    let summary = format!("{{\"lines\":{lines},");
    answer.starts_with("HTTP/1.1 200 ")
        && answer.split_once("\r\n\r\n").is_some_and(|(_, body)| {
            let mut texts = body.lines().filter(|line| line.starts_with('{'));
            texts.next().is_some_and(|text| text.starts_with(&summary) && text.ends_with("\"rejected\":0}"))
                && texts.next().is_none()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_summary_without_a_rejected_line_counts() {
        let answer =
            |body: &str| format!("HTTP/1.1 200 OK\r\n\r\n{:x}\r\n{body}\n\r\n0\r\n\r\n", body.len() + 1);
        let summary = r#"{"lines":7,"created":7,"ended":0,"rejected":0}"#;
        assert!(is_whole(&answer(summary), 7));
        assert!(!is_whole(&answer(summary), 8));
        assert!(!is_whole(&answer(&summary.replace("\"rejected\":0", "\"rejected\":1")), 7));
        assert!(!is_whole(&answer(&format!("{{\"line\":1}}\n{summary}")), 7));
        assert!(!is_whole(&answer(r#"{"line":7,"error":{}}"#), 7));
        assert!(!is_whole("HTTP/1.1 503 Service Unavailable\r\n\r\n", 0));
    }
}
