//! A minimal HTTP client: one connection per request, so that requests of one client reach every worker.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::tls;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self {
            method,
            target,
            headers: &[],
            body: b"",
        }
    }

    pub fn get(target: &'a str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &'a str, body: &'a [u8]) -> Self {
        Self {
            body,
            ..Self::new("POST", target)
        }
    }

    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// The bytes on the wire. `host` is sent unless the headers contain another one.
    pub fn encode(&self, host: &str) -> Vec<u8> {
        let Self {
            method,
            target,
            headers,
            body,
        } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in *headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if *method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Sends it on a separate connection.
    pub async fn send(self, address: &str) -> Response {
        let mut stream = tls::dial(address, false).await;
        stream
            .write_all(&self.encode(tls::host(address)))
            .await
            .unwrap();
        Response::read(&mut stream, &mut Vec::new()).await
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads a response; bytes after it stay in `buffer`.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Self {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let read = stream.read_buf(buffer).await.unwrap();
            assert_ne!(
                read,
                0,
                "the connection ended in the head: {:?}",
                String::from_utf8_lossy(buffer)
            );
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Self {
            status: status.unwrap(),
            headers,
            body: Vec::new(),
        };
        let length = response
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            let read = stream.read_buf(buffer).await.unwrap();
            assert_ne!(read, 0, "the connection ended in the body");
        }
        response.body = buffer.drain(..length).collect();
        response
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status and text.
    pub fn summary(&self) -> (u16, &str) {
        (self.status, self.text())
    }
}
