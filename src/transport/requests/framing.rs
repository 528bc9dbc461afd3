//! Finds where the requests of an HTTP/1 connection begin and end. A value without I/O: bytes in, the length that may
//! be passed on out.
//!
//! Follows the rules by which actix-http parses the same bytes. Bytes that are not a request by these rules are passed
//! on unchanged, for actix-http to reject.

use httparse::Status;

use super::head::{BodyFraming, read_head};

/// Maximum length of a head in bytes. actix-http accepts 128 KiB, which even an idle connection could hold until its
/// deadline; other servers accept 8 to 32 KiB.
const MAX_HEAD: usize = 32 * 1024;
/// Maximum length of a line before or after the data of a chunk, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// The part of a request to which the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// A body, or if `chunked` the data of a chunk, with `left` bytes to come.
    Data {
        left: u64,
        chunked: bool,
    },
    ChunkSize,
    /// The line break after the data of a chunk.
    ChunkEnd,
    Trailers,
    /// No HTTP requests any more, or not parseable here.
    Opaque,
    /// The connection ends with the response to the last request.
    Over,
    Malformed,
    /// A head is longer than [`MAX_HEAD`].
    TooLarge,
}

/// The requests of a connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// Whether the connection ends with the current request.
    closes: bool,
    /// Number of heads seen.
    heads: u64,
    /// Number of heads that may be passed on so far.
    allowed: u64,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self {
            state: State::Head,
            closes: false,
            heads: 0,
            allowed: u64::MAX,
        }
    }

    /// Passes on this many heads in total; further ones wait.
    pub(super) fn allow(&mut self, heads: u64) {
        self.allowed = heads;
    }

    /// Whether the next head waits until it is allowed.
    pub(super) fn is_held(&self) -> bool {
        self.state == State::Head && self.heads >= self.allowed
    }

    /// The number of heads that have been passed on.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the last request closes the connection, so that nothing after it is parsed as a request.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether a body is malformed or a head too large: nothing more is read.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.state, State::Malformed | State::TooLarge)
    }

    /// Whether a head is too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.state == State::TooLarge
    }

    /// Takes the next bytes; returns how many of them may be passed on. The others must be offered again, followed by
    /// more.
    pub(super) fn advance(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let before = self.state;
            let taken = self.step(&mut bytes[done..]);
            if taken == 0 && self.state == before {
                break;
            }
            done += taken;
        }
        done
    }

    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match self.state {
            State::Head if self.is_held() => 0,
            State::Head => self.head(bytes),
            State::Data { left, chunked } => {
                let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - taken as u64;
                match (left, chunked) {
                    (0, true) => self.state = State::ChunkEnd,
                    (0, false) => self.finish(),
                    _ => self.state = State::Data { left, chunked },
                }
                taken
            }
            State::ChunkSize => self.chunk_size(bytes),
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkSize;
                    2
                }
                [b'\r'] => 0,
                _ => self.malformed(),
            },
            State::Trailers => self.trailer(bytes),
            State::Opaque => bytes.len(),
            State::Over | State::Malformed | State::TooLarge => 0,
        }
    }

    fn head(&mut self, bytes: &mut [u8]) -> usize {
        match read_head(bytes) {
            None if bytes.len() < MAX_HEAD => 0,
            Some(Ok(head)) if head.length <= MAX_HEAD => {
                for range in head.idle_upgrades {
                    bytes[range].fill(b' ');
                }
                self.heads += 1;
                self.closes = head.closes;
                match head.content {
                    BodyFraming::None => self.finish(),
                    BodyFraming::Length(left) => {
                        self.state = State::Data {
                            left,
                            chunked: false,
                        };
                    }
                    BodyFraming::Chunks => self.state = State::ChunkSize,
                    BodyFraming::Opaque => self.state = State::Opaque,
                }
                head.length
            }
            None | Some(Ok(_)) => {
                self.state = State::TooLarge;
                0
            }
            Some(Err(())) => {
                self.state = State::Opaque;
                0
            }
        }
    }

    /// The current request is complete.
    fn finish(&mut self) {
        self.state = if self.closes {
            State::Over
        } else {
            State::Head
        };
    }

    fn malformed(&mut self) -> usize {
        self.state = State::Malformed;
        0
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> usize {
        // `httparse` parses an empty line as a size of 0.
        if !bytes[0].is_ascii_hexdigit() {
            return self.malformed();
        }
        match httparse::parse_chunk_size(bytes) {
            Ok(Status::Complete((length, size))) => {
                self.state = match size {
                    0 => State::Trailers,
                    left => State::Data {
                        left,
                        chunked: true,
                    },
                };
                length
            }
            Ok(Status::Partial) if bytes.len() < MAX_LINE => 0,
            Ok(Status::Partial) | Err(_) => self.malformed(),
        }
    }

    fn trailer(&mut self, bytes: &[u8]) -> usize {
        match bytes.windows(2).position(|pair| pair == b"\r\n") {
            Some(0) => {
                self.finish();
                2
            }
            Some(end) => end + 2,
            None if bytes.len() < MAX_LINE => 0,
            None => self.malformed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    /// The bytes passed on of a stream that arrives in pieces of `size` bytes.
    fn pass(stream: &str, size: usize) -> (String, Framing) {
        let mut framing = Framing::new();
        let (mut passed, mut kept) = (Vec::new(), Vec::new());
        for piece in stream.as_bytes().chunks(size) {
            kept.extend_from_slice(piece);
            let taken = framing.advance(&mut kept);
            passed.extend(kept.drain(..taken));
        }
        (String::from_utf8(passed).unwrap(), framing)
    }

    /// In pieces of every size up to the whole.
    fn passes(stream: &str, expected: &str) -> Framing {
        for size in 1..stream.len() {
            let (passed, _) = pass(stream, size);
            assert_eq!(passed, expected, "in pieces of {size}");
        }
        let (passed, framing) = pass(stream, stream.len());
        assert_eq!(passed, expected);
        framing
    }

    #[test]
    fn requests_pass_unchanged_one_after_the_other() {
        let stream = format!(
            "{GET}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nclose{GET}\
             POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;x=y\r\nhello\r\n00b\r\n\r\n0\r\n\r\nabcd\r\n0\r\nTrailer: x\r\n\r\n{GET}"
        );
        let framing = passes(&stream, &stream);
        assert_eq!((framing.heads(), framing.state), (5, State::Head));
    }

    #[test]
    fn an_upgrade_option_without_a_websocket_is_blanked() {
        let head = |connection: &str, rest: &str| {
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n{rest}\r\n")
        };
        let cases = [
            ("upgrade", "       ", ""),
            (
                "Upgrade, HTTP2-Settings",
                "       , HTTP2-Settings",
                "Upgrade: h2c\r\n",
            ),
            (
                "keep-alive,UPGRADE",
                "keep-alive,       ",
                "BodyFraming-Length: 0\r\n",
            ),
        ];
        for (sent, blanked, rest) in cases {
            let stream = format!("{}{GET}", head(sent, rest));
            passes(&stream, &format!("{}{GET}", head(blanked, rest)));
        }
        // Not in a body.
        let post =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\nConnection: upgrade\r\n";
        passes(post, post);
    }

    #[test]
    fn a_websocket_request_and_the_bytes_after_it_pass_unchanged() {
        let stream = format!(
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n\0{LAST}{GET}"
        );
        assert_eq!(passes(&stream, &stream).state, State::Opaque);
    }

    #[test]
    fn nothing_follows_a_request_that_closes() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n40";
        let old = "GET / HTTP/1.0\r\n\r\n";
        for last in [LAST, post, old] {
            let framing = passes(&format!("{GET}{last}{GET}{GET}"), &format!("{GET}{last}"));
            assert!(framing.is_over());
        }
        let kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        passes(&format!("{kept}{GET}"), &format!("{kept}{GET}"));
    }

    #[test]
    fn a_malformed_chunk_ends_the_stream() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (good, bad) in [
            ("", "zz\r\n"),
            ("", "\r\n"),
            ("3\r\nabc\r\n", "zz\r\n"),
            ("3\r\nabc", "d\r\n"),
            ("", "fffffffffffffffff\r\n"),
        ] {
            let framing = passes(&format!("{head}{good}{bad}{GET}"), &format!("{head}{good}"));
            assert!(framing.is_broken(), "{bad:?}");
        }
        let (_, framing) = pass(&format!("{head}1;{}", "x".repeat(MAX_LINE)), 4096);
        assert!(framing.is_broken());
    }

    #[test]
    fn a_request_waits_until_it_is_allowed() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40";
        let mut stream = format!("{post}{GET}{GET}").into_bytes();
        let mut framing = Framing::new();
        framing.allow(1);
        let mut rest = &mut stream[..];
        for (heads, expected) in [(1, post), (2, GET), (2, ""), (3, GET)] {
            framing.allow(heads);
            let taken = framing.advance(rest);
            assert_eq!(taken, expected.len());
            assert!(framing.is_held());
            rest = &mut rest[taken..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_head_that_is_too_large_ends_the_stream() {
        let head = |size: usize| {
            let rest = size - "GET / HTTP/1.1\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(rest))
        };
        let (whole, larger) = (head(MAX_HEAD), head(MAX_HEAD + 1));
        for size in [1000, MAX_HEAD, 3 * MAX_HEAD] {
            let (passed, framing) = pass(&format!("{whole}{GET}"), size);
            assert_eq!(passed.len(), whole.len() + GET.len());
            assert!(!framing.is_too_large());
            let (passed, framing) = pass(&format!("{GET}{larger}{GET}"), size);
            assert_eq!(passed, GET);
            assert!(framing.is_too_large(), "in pieces of {size}");
        }
    }

    #[test]
    fn bytes_that_are_not_a_request_are_passed_on() {
        for stream in [
            "\u{16}\u{3}\u{1} hello",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nxx",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nxx",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nxx",
            "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\nxx",
        ] {
            assert_eq!(passes(stream, stream).state, State::Opaque, "{stream:?}");
        }
    }

    proptest! {
        /// Random sequences of valid and invalid pieces of requests: no panic, and the same result however they arrive.
        #[test]
        fn pieces_of_any_size_are_read_alike(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("GET / HTTP/1.1\r\n".to_owned()),
                    Just("POST / HTTP/1.0\r\n".to_owned()),
                    Just("BodyFraming-Length: 5\r\n".to_owned()),
                    Just("Transfer-Encoding: chunked\r\n".to_owned()),
                    Just("Connection: upgrade, close\r\n".to_owned()),
                    Just("Upgrade: websocket\r\n".to_owned()),
                    Just("\r\n".to_owned()),
                    Just("5\r\nhello\r\n".to_owned()),
                    Just("0\r\n\r\n".to_owned()),
                    "[ -~\r\n]{0,12}",
                ],
                0..12,
            ),
            size in 1_usize..40,
        ) {
            let stream = parts.concat();
            let (whole, _) = pass(&stream, stream.len().max(1));
            let (pieces, _) = pass(&stream, size);
            prop_assert_eq!(&pieces, &whole);
            prop_assert!(whole.len() <= stream.len());
        }
    }
}
