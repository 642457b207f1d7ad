//! As much of HTTP/1.1 as the endpoint's answers need, and strict about it.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pairs::{Pair, cu_ref_no};

/// The status of a relation that is durable.
pub const MATCHED: u16 = 200;
/// The status of a request that names no customer.
pub const REFUSED: u16 = 422;

/// What comes with [`MATCHED`], to the letter.
const SUCCESS: &[u8] = br#"{"success":true}"#;

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    /// The host, for the header.
    address: SocketAddr,
    output: Vec<u8>,
    body: Vec<u8>,
    input: [u8; 4096],
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, output: Vec::new(), body: Vec::new(), input: [0; 4096] })
    }

    /// Posts a pair and returns the status. A 200 with anything but the documented body is an error.
    pub async fn post(&mut self, pair: &Pair, refused: bool) -> io::Result<u16> {
        self.write_request(pair, refused)?;
        self.stream.write_all(&self.output).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.input[filled..]).await?;
            if read == 0 {
                return Err(broken(if filled == self.input.len() {
                    "an answer is too long"
                } else {
                    "closed"
                }));
            }
            filled += read;
            if let Some(status) = parse(&self.input[..filled])? {
                return Ok(status);
            }
        }
    }

    fn write_request(&mut self, pair: &Pair, refused: bool) -> io::Result<()> {
        self.body.clear();
        // Unknown fields are ignored: the refused request is as long as the other.
        let customer_field = if refused { "nobodysCuRefNo_" } else { "customerCuRefNo" };
        write!(
            self.body,
            r#"{{"managerCuRefNo":"{}","{customer_field}":"{}","notice":"Met on the course, {}"}}"#,
            cu_ref_no(pair.manager),
            cu_ref_no(pair.customer),
            pair.number
        )?;
        self.output.clear();
        write!(
            self.output,
            "POST /api/v1/customer/customer-match-customer?apiKey=PRODbenchmarkOrganisation{:07} HTTP/1.1\r\n\
             host: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            pair.organisation,
            self.address,
            self.body.len()
        )?;
        self.output.extend_from_slice(&self.body);
        Ok(())
    }
}

/// The status, once the answer is complete.
fn parse(input: &[u8]) -> io::Result<Option<u16>> {
    let Some(end) = input.windows(4).position(|octets| octets == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).map_err(|_| broken("a header is not text"))?;
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
    if status == MATCHED && body != SUCCESS {
        return Err(broken("200, but not {\"success\":true}"));
    }
    Ok(Some(status))
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
        assert_eq!(parse(answer).ok(), Some(Some(MATCHED)));
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]).ok(), Some(None), "{cut} octets");
        }
    }

    #[test]
    fn refuses_what_is_not_the_contract() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"success\":false}",
            "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}HTTP/1.1",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}",
        ] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
