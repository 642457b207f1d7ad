//! HTTP/2 by hand, for clients that do what no library does.

/// The preface and the client's settings: answers may be sent only as far as it allows them on each stream.
pub fn preface_without_a_window() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])[..]].concat()
}

/// A GET without a body.
pub fn get(stream: u32, uri: &str) -> Vec<u8> {
    // GET and http from the static table, then the path and the authority as literals.
    let headers = [&[0x82, 0x86][..], &literal(4, uri), &literal(1, "h")].concat();
    frame(1, 5, stream, &headers)
}

/// The headers of a POST and the first bytes of its body.
pub fn begin_post(stream: u32, uri: &str, body: &[u8]) -> Vec<u8> {
    let headers = [&[0x83, 0x86][..], &literal(4, uri), &literal(1, "h")].concat();
    [frame(1, 4, stream, &headers), frame(0, 0, stream, body)].concat()
}

/// Lets the server send so many bytes on a stream; on the whole connection with stream 0.
pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(8, 0, stream, &bytes.to_be_bytes())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field without indexing (RFC 7541, 6.2.2), its name from the static table.
fn literal(name: u8, value: &str) -> Vec<u8> {
    let mut bytes = vec![name];
    match u8::try_from(value.len()) {
        Ok(length @ ..127) => bytes.push(length),
        _ => bytes.extend([127, u8::try_from(value.len() - 127).unwrap()]),
    }
    assert!(value.len() < 127 + 128);
    [&bytes[..], value.as_bytes()].concat()
}
