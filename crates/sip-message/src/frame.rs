//! Messages out of datagrams and streams (RFC 3261 §7.5, §18.3, RFC 5626 §3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::chars;
use crate::index::Index;
use crate::message::Read;
use crate::{HeaderName, Limits, Malformed, ParseError, Request, Response, StatusCode};

/// What a datagram or the next part of a stream holds.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // it is matched at once, never stored
pub enum Framed {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
    /// A message that cannot be used; answer it if it says how, else drop it.
    Malformed(Malformed),
    /// CRLF CRLF: a keep-alive that wants CRLF back on a stream (RFC 5626 §3.5.1).
    Ping,
    /// A single CRLF: the answer to a keep-alive, or padding (§7.5).
    Pong,
}

impl From<Read> for Framed {
    fn from(read: Read) -> Self {
        match read {
            Read::Request(request) => Self::Request(request),
            Read::Response(response) => Self::Response(response),
            Read::Malformed(malformed) => Self::Malformed(malformed),
        }
    }
}

impl Framed {
    /// Reads a datagram: octets beyond Content-Length are discarded, fewer are a fault, none given means the rest. The
    /// same rules hold for a WebSocket message (RFC 7118 §5.3).
    pub fn datagram(bytes: Bytes, limits: &Limits) -> Self {
        let padding = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if padding == bytes.len() {
            return if padding >= 4 { Self::Ping } else { Self::Pong };
        }
        // Keep-alives that are neither (a NUL, a blank) are as harmless: telephones send them.
        if bytes.iter().all(|&b| chars::is_lws(b) || b == 0) {
            return Self::Pong;
        }
        Read::message(bytes.slice(padding..), limits).into()
    }
}

/// Cuts a stream into messages by Content-Length. Holds at most one message's worth of octets.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// How far the end of the header fields was looked for: nothing is scanned twice.
    scanned: usize,
    /// The whole length of the message at the front, once its header fields are complete.
    needed: Option<usize>,
}

impl StreamFramer {
    /// Adds octets as they were read.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets that wait for the rest of their message.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The next message, if one is complete.
    ///
    /// # Errors
    /// If the stream can no longer be framed: Content-Length is missing (§18.3: it must be used with streams; taking
    /// it for 0 would let a body be read as the next request), contradicts itself, or a limit is passed. Answer,
    /// then close.
    #[allow(clippy::should_implement_trait)] // the limits are the caller's
    pub fn next(&mut self, limits: &Limits) -> Result<Option<Framed>, Malformed> {
        let needed = match self.needed {
            Some(needed) => needed,
            None => match self.front(limits)? {
                Front::KeepAlive(framed) => return Ok(Some(framed)),
                Front::Incomplete => return Ok(None),
                Front::Message { bytes } => bytes,
            },
        };
        if self.buffer.len() < needed {
            self.needed = Some(needed);
            return Ok(None);
        }
        self.needed = None;
        self.scanned = 0;
        let message = self.buffer.split_to(needed);
        // What is kept of a message must not keep the rest of the stream's buffer alive.
        Ok(Some(Read::message(Bytes::copy_from_slice(&message), limits).into()))
    }

    fn front(&mut self, limits: &Limits) -> Result<Front, Malformed> {
        match &*self.buffer {
            [] | [b'\r'] | [b'\r', b'\n', b'\r'] => return Ok(Front::Incomplete),
            [b'\r', b'\n', b'\r', b'\n', ..] => return Ok(self.keep_alive(4, Framed::Ping)),
            [b'\r', b'\n', ..] => return Ok(self.keep_alive(2, Framed::Pong)),
            [b'\n', ..] => return Ok(self.keep_alive(1, Framed::Pong)),
            _ => {}
        }
        match self.head_end() {
            Some(head) => Ok(Front::Message { bytes: self.whole_length(head, limits)? }),
            None if self.buffer.len() > limits.message_bytes_max => Err(self.refuse(limits, too_large())),
            None => Ok(Front::Incomplete),
        }
    }

    fn keep_alive(&mut self, octets: usize, framed: Framed) -> Front {
        self.buffer.advance(octets);
        self.scanned = 0;
        Front::KeepAlive(framed)
    }

    /// Where the empty line ends.
    fn head_end(&mut self) -> Option<usize> {
        while let Some(length) = memchr::memchr(b'\n', self.buffer.get(self.scanned..)?) {
            let line_feed = self.scanned + length;
            match self.buffer.get(line_feed + 1..) {
                Some([b'\n', ..]) => return Some(line_feed + 2),
                Some([b'\r', b'\n', ..]) => return Some(line_feed + 3),
                // The octets that decide are not there yet.
                Some([] | [b'\r']) => {
                    self.scanned = line_feed;
                    return None;
                }
                _ => self.scanned = line_feed + 1,
            }
        }
        self.scanned = self.buffer.len();
        None
    }

    fn whole_length(&mut self, head: usize, limits: &Limits) -> Result<usize, Malformed> {
        let index = Index::of(self.buffer.get(..head).unwrap_or(&[]), limits);
        let length = match index.content_length(&self.buffer) {
            Some(Ok(length)) => length,
            Some(Err(error)) => return Err(self.refuse(limits, error)),
            None => {
                let name = HeaderName::ContentLength.as_str();
                return Err(
                    self.refuse(limits, ParseError::bad_request(name, "the header field, on a stream"))
                );
            }
        };
        match head.checked_add(length).filter(|whole| *whole <= limits.message_bytes_max) {
            Some(whole) => Ok(whole),
            None => Err(self.refuse(limits, too_large())),
        }
    }

    /// The fault, with the request at the front as far as it is there, so that it can be answered before the close.
    fn refuse(&mut self, limits: &Limits, error: ParseError) -> Malformed {
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        self.scanned = 0;
        let request = match Read::message(bytes, limits) {
            Read::Request(request) => Some(Box::new(request)),
            Read::Malformed(malformed) => malformed.request,
            Read::Response(_) => None,
        };
        Malformed { error, request }
    }
}

/// What stands at the front of the stream.
#[allow(clippy::large_enum_variant)] // it is matched at once, never stored
enum Front {
    KeepAlive(Framed),
    Incomplete,
    /// Complete header fields; the whole message has this length.
    Message {
        bytes: usize,
    },
}

fn too_large() -> ParseError {
    ParseError {
        header: "",
        what: "a message of at most message_bytes_max octets",
        code: StatusCode::MESSAGE_TOO_LARGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n\
        To: <sip:a@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 5\r\n\r\nhello";

    fn names(framer: &mut StreamFramer) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(framed) = framer.next(&Limits::default()).expect("framed") {
            out.push(match framed {
                Framed::Request(r) => format!("{} {}", r.method(), String::from_utf8_lossy(r.body())),
                Framed::Response(r) => r.status().to_string(),
                Framed::Malformed(m) => m.to_string(),
                Framed::Ping => "ping".into(),
                Framed::Pong => "pong".into(),
            });
        }
        out
    }

    // RFC 3261 §18.3, RFC 5626 §3.5.1.
    #[test]
    fn a_stream_split_at_every_octet_gives_the_same_messages() {
        let stream = format!("{OPTIONS}\r\n\r\n{OPTIONS}{OPTIONS}");
        let mut whole = StreamFramer::default();
        whole.push(stream.as_bytes());
        let expected = names(&mut whole);
        assert_eq!(expected, ["OPTIONS hello", "ping", "OPTIONS hello", "OPTIONS hello"]);
        for split in 1..stream.len() {
            let (a, b) = stream.as_bytes().split_at(split);
            let mut framer = StreamFramer::default();
            framer.push(a);
            let mut found = names(&mut framer);
            framer.push(b);
            found.extend(names(&mut framer));
            found.retain(|name| name != "pong");
            if found.iter().any(|name| name == "ping") {
                assert_eq!(found, expected, "split at {split}");
            }
        }
        let mut framer = StreamFramer::default();
        let mut requests = 0;
        for octet in stream.as_bytes() {
            framer.push(&[*octet]);
            requests += names(&mut framer).iter().filter(|name| name.starts_with("OPTIONS")).count();
        }
        assert_eq!(requests, 3);
    }

    // RFC 3261 §18.3, §20.14; RFC 4475 §3.1.2.2, §3.1.2.3, §3.3.9.
    #[test]
    fn a_stream_that_cannot_be_framed_is_refused() {
        for (from, to) in [
            ("Content-Length: 5\r\n", ""),
            ("Content-Length: 5", "Content-Length: -5"),
            ("Content-Length: 5", "Content-Length: 5\r\nl: 6"),
            ("Content-Length: 5", "Content-Length: 99999999999999999999"),
        ] {
            let mut framer = StreamFramer::default();
            framer.push(OPTIONS.replace(from, to).as_bytes());
            let refused = framer.next(&Limits::default()).expect_err("refused");
            assert!(refused.request.is_some(), "{to}: it can be answered");
        }
    }

    #[test]
    fn a_header_without_end_is_refused_at_the_limit() {
        let mut framer = StreamFramer::default();
        framer.push(b"OPTIONS sip:a@h SIP/2.0\r\n");
        framer.push(&[b'x'; 70_000]);
        let refused = framer.next(&Limits::default()).expect_err("refused");
        assert_eq!(refused.error.code, StatusCode::MESSAGE_TOO_LARGE);
    }

    // RFC 3261 §18.3; RFC 4475 §3.1.1.8: what follows the body of a datagram is discarded.
    #[test]
    fn datagrams() {
        let read = |text: &str| Framed::datagram(Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
        assert!(matches!(read(&format!("{OPTIONS} and more")), Framed::Request(r) if r.body() == b"hello"));
        assert!(matches!(read(&format!("\r\n{OPTIONS}")), Framed::Request(_)));
        let rest = OPTIONS.replace("Content-Length: 5\r\n", "");
        assert!(matches!(read(&rest), Framed::Request(r) if r.body() == b"hello"));
        assert!(matches!(read(&OPTIONS.replace(": 5", ": 6")), Framed::Malformed(m) if m.request.is_some()));
        assert!(matches!(read("\r\n\r\n"), Framed::Ping));
        assert!(matches!(read("\r\n"), Framed::Pong));
        assert!(matches!(read("\0"), Framed::Pong));
        assert!(matches!(read(""), Framed::Pong));
    }
}
