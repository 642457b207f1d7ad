//! As much of HTTP/1.1 as the endpoints' answers need, and strict about it.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::str;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pairs::{Pair, cu_ref_no};
use crate::reads::Read;

/// The status of a relation that is durable, and of a read.
pub const OK: u16 = 200;
/// The status of a match that names no customer.
pub const REJECTED: u16 = 422;

/// What comes with a match that is [`OK`], to the letter.
const SUCCESS: &str = r#"{"success":true}"#;
/// Of a page of 500 items.
const LONGEST_ANSWER: usize = 1 << 20;

pub enum Request<'a> {
    Match(&'a Pair),
    /// As long as a match, but it names no customer.
    Rejected(&'a Pair),
    Read(&'a Read),
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    /// The host, for the header.
    address: SocketAddr,
    output: Vec<u8>,
    body: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, output: Vec::new(), body: Vec::new(), input: vec![0; 4096] })
    }

    /// Sends a request and returns the status. A 200 with another body than the expected one is an error.
    pub async fn call(&mut self, request: Request<'_>) -> io::Result<u16> {
        self.write_request(&request)?;
        self.stream.write_all(&self.output).await?;
        let mut filled = 0;
        loop {
            if filled == self.input.len() {
                if filled == LONGEST_ANSWER {
                    return Err(broken("an answer is too long"));
                }
                self.input.resize(filled * 2, 0);
            }
            let read = self.stream.read(&mut self.input[filled..]).await?;
            if read == 0 {
                return Err(broken("closed"));
            }
            filled += read;
            if let Some((status, body)) = parse(&self.input[..filled])? {
                return match fault(&request, status, body) {
                    Some(fault) => Err(broken(fault)),
                    None => Ok(status),
                };
            }
        }
    }

    fn write_request(&mut self, request: &Request<'_>) -> io::Result<()> {
        self.output.clear();
        let (pair, customer_field) = match request {
            Request::Match(pair) => (pair, "customerCuRefNo"),
            // Unknown fields are ignored.
            Request::Rejected(pair) => (pair, "nobodysCuRefNo_"),
            Request::Read(read) => {
                return write!(self.output, "GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", read.target, self.address);
            }
        };
        self.body.clear();
        write_match(&mut self.body, pair, customer_field)?;
        write!(
            self.output,
            "POST /api/v1/customer/customer-match-customer?apiKey={} HTTP/1.1\r\n\
             host: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            key(pair.organisation),
            self.address,
            self.body.len()
        )?;
        self.output.extend_from_slice(&self.body);
        Ok(())
    }
}

/// By `sql/seed.sql`.
pub fn key(organisation: u32) -> String {
    format!("PRODbenchmarkOrganisation{organisation:07}")
}

pub fn write_match(body: &mut Vec<u8>, pair: &Pair, customer_field: &str) -> io::Result<()> {
    write!(
        body,
        r#"{{"managerCuRefNo":"{}","{customer_field}":"{}","notice":"Met on the course, {}"}}"#,
        cu_ref_no(pair.manager),
        cu_ref_no(pair.customer),
        pair.number
    )
}

fn fault(request: &Request<'_>, status: u16, body: &str) -> Option<&'static str> {
    match request {
        _ if status != OK => None,
        Request::Read(read) => read.fault(body),
        Request::Match(_) | Request::Rejected(_) => {
            (body != SUCCESS).then_some("200, but not {\"success\":true}")
        }
    }
}

/// Status and body, once the answer is complete.
fn parse(input: &[u8]) -> io::Result<Option<(u16, &str)>> {
    let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head = str::from_utf8(&input[..end]).map_err(|_| broken("a header is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3)?.parse::<u16>().ok())
        .ok_or_else(|| broken("no status line"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| broken("no content-length"))?;
    let body = &input[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    if body.len() > length {
        return Err(broken("more than one answer to a request"));
    }
    let body = str::from_utf8(body).map_err(|_| broken("a body is not text"))?;
    Ok(Some((status, body)))
}

fn broken(message: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_whole_answer_only() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"success\":true}";
        assert_eq!(parse(answer).ok(), Some(Some((OK, SUCCESS))));
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]).ok(), Some(None), "{cut} bytes");
        }
    }

    #[test]
    fn rejects_what_is_not_http() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}HTTP/1.1",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}",
        ] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_match_has_the_documented_body() {
        let pair = Pair { number: 1, organisation: 1, manager: 1, customer: 2 };
        assert_eq!(fault(&Request::Match(&pair), OK, SUCCESS), None);
        assert!(fault(&Request::Match(&pair), OK, "{\"success\":false}").is_some());
    }
}
