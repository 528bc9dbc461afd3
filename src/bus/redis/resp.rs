//! A RESP2 reader for subscription connections. Reads only when polled, so a slow consumer causes backpressure.
//!
//! Parses replies and pushed messages. A message above the limit is skipped without buffering it. Channel and payload
//! of a message share the read buffer.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Maximum length of a line in bytes; a longer one is a protocol error.
const LINE_LIMIT: usize = 64 * 1024;
/// Maximum number of array elements; pub/sub arrays have 3 or 4.
const ELEMENTS_LIMIT: usize = 8;
/// The response to `ROLE` of a master holds a list of its replicas, each of which is a list.
const NESTED_DEPTH: usize = 2;
const NESTED_LIMIT: i64 = 1024;
const READ_SIZE: usize = 64 * 1024;

/// A reply or pushed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A simple string, an integer or a bulk string.
    Text(Bytes),
    Error(String),
    /// The elements of an array; integers in their text form.
    Array(SmallVec<[Bytes; 4]>),
    /// A message above the limit was skipped; its length in bytes.
    TooLong(usize),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("connection closed by the server")]
    Closed,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the server does not speak RESP2")]
    Protocol,
}

#[derive(Debug)]
pub(super) struct ReplyReader<R> {
    source: R,
    buffer: BytesMut,
    message_limit: usize,
    /// Remaining bytes of a message that is being skipped.
    to_skip: usize,
}

impl<R: AsyncRead + Unpin> ReplyReader<R> {
    pub(super) fn new(source: R, message_limit: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            message_limit,
            to_skip: 0,
        }
    }

    /// Reads once from the server. Cancel safe.
    pub(super) async fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.reserve(READ_SIZE);
        match self.source.read_buf(&mut self.buffer).await? {
            0 => Err(ReadError::Closed),
            _ => Ok(()),
        }
    }

    /// The next complete reply in the buffer.
    pub(super) fn buffered(&mut self) -> Result<Option<Reply>, ReadError> {
        let skipped = self.to_skip.min(self.buffer.len());
        let _ = self.buffer.split_to(skipped);
        self.to_skip -= skipped;
        let Some(parsed) = parse(&self.buffer, self.message_limit)? else {
            return Ok(None);
        };
        if let Shape::TooLong(length) = parsed.shape {
            let there = parsed.end.min(self.buffer.len());
            let _ = self.buffer.split_to(there);
            self.to_skip = parsed.end - there;
            return Ok(Some(Reply::TooLong(length)));
        }
        let whole = self.buffer.split_to(parsed.end).freeze();
        Ok(Some(match parsed.shape {
            Shape::Text(range) => Reply::Text(whole.slice(range)),
            Shape::Error(range) => {
                Reply::Error(String::from_utf8_lossy(&whole[range]).into_owned())
            }
            Shape::Array(ranges) => {
                Reply::Array(ranges.into_iter().map(|range| whole.slice(range)).collect())
            }
            Shape::TooLong(length) => Reply::TooLong(length),
        }))
    }

    /// Waits for the next reply, without a timeout. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Reply, ReadError> {
        loop {
            if let Some(reply) = self.buffered()? {
                return Ok(reply);
            }
            self.fill().await?;
        }
    }
}

struct ParsedReply {
    shape: Shape,
    /// Offset of the next reply; beyond the end of the buffer only for `TooLong`.
    end: usize,
}

enum Shape {
    Text(Range<usize>),
    Error(Range<usize>),
    Array(SmallVec<[Range<usize>; 4]>),
    TooLong(usize),
}

/// An element of an array, or a reply that is not an array.
enum Element {
    Complete(Range<usize>, usize),
    TooLong { length: usize, end: usize },
}

/// Parses one reply; `None` if the buffer ends before it does.
fn parse(buffer: &[u8], limit: usize) -> Result<Option<ParsedReply>, ReadError> {
    let Some(kind) = buffer.first() else {
        return Ok(None);
    };
    if *kind != b'*' {
        let Some(element) = element(buffer, 0, limit, 0)? else {
            return Ok(None);
        };
        return Ok(Some(match element {
            Element::Complete(range, end) if *kind == b'-' => ParsedReply {
                shape: Shape::Error(range),
                end,
            },
            Element::Complete(range, end) => ParsedReply {
                shape: Shape::Text(range),
                end,
            },
            Element::TooLong { length, end } => too_long(length, end),
        }));
    }
    let Some((range, mut at)) = line(buffer, 1)? else {
        return Ok(None);
    };
    let count = usize::try_from(number(&buffer[range])?).map_err(|_| ReadError::Protocol)?;
    if count > ELEMENTS_LIMIT {
        return Err(ReadError::Protocol);
    }
    let mut ranges = SmallVec::new();
    for index in 0..count {
        match element(buffer, at, limit, NESTED_DEPTH)? {
            None => return Ok(None),
            Some(Element::Complete(range, end)) => {
                ranges.push(range);
                at = end;
            }
            // Only the last element, the payload, can be skipped.
            Some(Element::TooLong { length, end }) if index + 1 == count => {
                return Ok(Some(too_long(length, end)));
            }
            Some(Element::TooLong { .. }) => return Err(ReadError::Protocol),
        }
    }
    let shape = Shape::Array(ranges);
    Ok(Some(ParsedReply { shape, end: at }))
}

fn too_long(length: usize, end: usize) -> ParsedReply {
    ParsedReply {
        shape: Shape::TooLong(length),
        end,
    }
}

fn element(
    buffer: &[u8],
    at: usize,
    limit: usize,
    depth: usize,
) -> Result<Option<Element>, ReadError> {
    let Some(kind) = buffer.get(at) else {
        return Ok(None);
    };
    let Some((range, after)) = line(buffer, at + 1)? else {
        return Ok(None);
    };
    match kind {
        b'+' | b'-' | b':' => Ok(Some(Element::Complete(range, after))),
        b'$' => {
            let Ok(length) = usize::try_from(number(&buffer[range])?) else {
                return Ok(Some(Element::Complete(after..after, after)));
            };
            let end = after
                .checked_add(length)
                .and_then(|end| end.checked_add(2))
                .ok_or(ReadError::Protocol)?;
            if length > limit {
                return Ok(Some(Element::TooLong { length, end }));
            }
            let complete = buffer.len() >= end;
            Ok(complete.then_some(Element::Complete(after..after + length, end)))
        }
        b'*' if depth > 0 => {
            let count = number(&buffer[range])?;
            let end = nested(buffer, after, count, limit, depth - 1)?;
            Ok(end.map(|end| Element::Complete(at..end, end)))
        }
        _ => Err(ReadError::Protocol),
    }
}

/// The end of a nested array, as in the response to `ROLE`; it counts as one element.
fn nested(
    buffer: &[u8],
    mut at: usize,
    count: i64,
    limit: usize,
    depth: usize,
) -> Result<Option<usize>, ReadError> {
    if count > NESTED_LIMIT {
        return Err(ReadError::Protocol);
    }
    for _ in 0..count {
        match element(buffer, at, limit, depth)? {
            Some(Element::Complete(_, end)) => at = end,
            Some(Element::TooLong { .. }) => return Err(ReadError::Protocol),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The line that starts at `at`, and the offset of the next line.
fn line(buffer: &[u8], at: usize) -> Result<Option<(Range<usize>, usize)>, ReadError> {
    let rest = buffer.get(at..).unwrap_or_default();
    match rest.windows(2).position(|two| two == b"\r\n") {
        Some(length) => Ok(Some((at..at + length, at + length + 2))),
        None if rest.len() > LINE_LIMIT => Err(ReadError::Protocol),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, ReadError> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(ReadError::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(elements: &[&[u8]]) -> Reply {
        let elements = elements
            .iter()
            .map(|element| Bytes::copy_from_slice(element));
        Reply::Array(elements.collect())
    }

    /// All replies of a text received in pieces of `size` bytes.
    fn replies(text: &[u8], size: usize, limit: usize) -> Vec<Reply> {
        let mut reader = ReplyReader::new(tokio::io::empty(), limit);
        let mut replies = Vec::new();
        for piece in text.chunks(size) {
            reader.buffer.extend_from_slice(piece);
            while let Some(reply) = reader.buffered().unwrap() {
                replies.push(reply);
            }
        }
        assert!(reader.buffer.is_empty());
        replies
    }

    #[test]
    fn replies_are_parsed_from_pieces_of_any_size() {
        let text = b"+OK\r\n-ERR no\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\n\r\n\xff\0\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$12\r\n0123456789ab\r\n:5\r\n";
        let expected = [
            Reply::Text(Bytes::from_static(b"OK")),
            Reply::Error("ERR no".to_owned()),
            array(&[b"subscribe", b"a", b"1"]),
            array(&[b"message", b"a", b"\r\n\xff\0"]),
            array(&[b"unsubscribe", b"", b"0"]),
            Reply::TooLong(12),
            Reply::Text(Bytes::from_static(b"5")),
        ];
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(replies(text, size, 11), expected, "{size}");
        }
    }

    #[test]
    fn nested_arrays_are_one_element_each() {
        let replica = "*3\r\n$2\r\n::\r\n$4\r\n6379\r\n$1\r\n7\r\n";
        let list = format!("*2\r\n{replica}{replica}");
        let text = format!("*3\r\n$6\r\nmaster\r\n:7\r\n{list}+OK\r\n");
        let expected = [
            array(&[b"master", b"7", list.as_bytes()]),
            Reply::Text(Bytes::from_static(b"OK")),
        ];
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(replies(text.as_bytes(), size, 11), expected, "{size}");
        }
    }

    #[test]
    fn other_protocols_are_rejected() {
        for text in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"*9\r\n",
            b"*-1\r\n",
            b"*x\r\n",
            b"$9999999999999999999\r\n",
            b"*2\r\n$5\r\n01234\r\n:1\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n",
            &[b'+'; LINE_LIMIT + 2],
        ] {
            assert!(
                matches!(parse(text, 4), Err(ReadError::Protocol)),
                "{text:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(text in "[*$:+\\-0-9\r\na]{0,60}") {
            let mut reader = ReplyReader::new(tokio::io::empty(), 20);
            reader.buffer.extend_from_slice(text.as_bytes());
            while let Ok(Some(_)) = reader.buffered() {}
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_an_error() {
        let mut reader = ReplyReader::new(&b":1\r\n*1\r\n"[..], 10);
        assert_eq!(
            reader.next().await.unwrap(),
            Reply::Text(Bytes::from_static(b"1"))
        );
        assert!(matches!(reader.next().await, Err(ReadError::Closed)));
    }
}
