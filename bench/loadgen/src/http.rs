//! The framing of HTTP/1.1 messages with a `Content-Length`, in both directions, without I/O.
//! Called by the load generator's `http_client` and by the HTTP backend.

use thiserror::Error;

const HEAD_END: &[u8] = b"\r\n\r\n";

#[derive(Debug, Error, PartialEq, Eq)]
pub enum HttpError {
    #[error("a message has no valid Content-Length")]
    Length,
    #[error("the status line is not valid")]
    Status,
}

/// The lengths of a message in bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Its first line and headers, with the empty line.
    pub head: usize,
    /// The whole message.
    pub total: usize,
}

impl Message {
    /// The message at the start of `bytes`; `None` if it is incomplete. Chunked messages are
    /// errors, as are those without a length: servers under test send none.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HttpError> {
        let Some(end) = bytes
            .windows(HEAD_END.len())
            .position(|four| four == HEAD_END)
        else {
            return Ok(None);
        };
        let head = end + HEAD_END.len();
        let lines = std::str::from_utf8(&bytes[..end]).map_err(|_| HttpError::Length)?;
        let length = lines
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .ok_or(HttpError::Length)?;
        let total = head + length;
        Ok((bytes.len() >= total).then_some(Self { head, total }))
    }
}

/// The status of a response.
pub fn status(response: &[u8]) -> Result<u16, HttpError> {
    response
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
        .ok_or(HttpError::Status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_complete_with_its_last_byte() {
        let text = b"POST / HTTP/1.1\r\nHost: h\r\ncontent-length: 4\r\n\r\nbodynext";
        let head = text.len() - "bodynext".len();
        let total = head + 4;
        for cut in 0..total {
            assert_eq!(Message::parse(&text[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(Message::parse(text), Ok(Some(Message { head, total })));
    }

    #[test]
    fn a_message_without_a_length_is_an_error() {
        for headers in [
            "",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: x\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            assert_eq!(Message::parse(text.as_bytes()), Err(HttpError::Length));
        }
    }

    #[test]
    fn the_status_is_read() {
        assert_eq!(status(b"HTTP/1.1 429 Too Many Requests"), Ok(429));
        for wrong in [&b"HTTP/1.0 200 OK"[..], b"HTTP/1.1 2", b"HTTP/1.1 abc"] {
            assert_eq!(status(wrong), Err(HttpError::Status));
        }
    }
}
