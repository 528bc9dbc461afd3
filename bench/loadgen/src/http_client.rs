//! One HTTP/1.1 connection that stays open and sends POST requests, one after the other,
//! without I/O. Driven by `fleet`, like `client`.

use std::rc::Rc;

use roomwire_loadgen::http::{self, Message};

use crate::client::{ClientError, ClientEvent, Stage};

/// What all requests of a connection have in common.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(crate) path: Rc<str>,
    /// Header lines, each with its CRLF; may be empty.
    pub(crate) headers: Rc<str>,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct HttpClient {
    pub(crate) stage: Stage,
    /// Bytes for the server that are not yet written to the socket.
    pub(crate) unsent: Vec<u8>,
    /// The start of an incomplete response.
    held: Vec<u8>,
    requests: Requests,
    /// Request line and headers up to the length of the body.
    head: String,
}

impl HttpClient {
    pub(crate) fn new(requests: Requests) -> Self {
        Self {
            stage: Stage::Connecting,
            unsent: Vec::new(),
            held: Vec::new(),
            requests,
            head: String::new(),
        }
    }

    /// Called when TCP is connected.
    pub(crate) fn connected(&mut self, host: &str) {
        self.stage = Stage::Ready;
        let Requests { path, headers } = &self.requests;
        self.head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: "
        );
    }

    /// Queues a request with this body.
    pub(crate) fn send(&mut self, body: &str) {
        self.unsent.extend_from_slice(self.head.as_bytes());
        let rest = format!("{}\r\n\r\n{body}", body.len());
        self.unsent.extend_from_slice(rest.as_bytes());
    }

    /// Decodes bytes from the server and calls `on_event` for each response in them.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        self.held.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(message) = Message::parse(&self.held[used..])? {
            let status = http::status(&self.held[used..])?;
            let body = &self.held[used + message.head..used + message.total];
            on_event(ClientEvent::Response(
                status,
                &String::from_utf8_lossy(body),
            ));
            used += message.total;
        }
        self.held.drain(..used);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_sent_and_responses_reported_however_they_are_split() {
        let responses = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
            HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
        for cut in 0..responses.len() {
            let mut client = HttpClient::new(Requests {
                path: "/api/v1/emit".into(),
                headers: "X-API-Key: k\r\n".into(),
            });
            client.connected("h:1");
            client.send("{\"a\":1}");
            assert_eq!(
                String::from_utf8_lossy(&client.unsent),
                "POST /api/v1/emit HTTP/1.1\r\nHost: h:1\r\nX-API-Key: k\r\n\
                 Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}"
            );
            let mut reported = Vec::new();
            for part in [&responses[..cut], &responses[cut..]] {
                client
                    .receive(part, &mut |event| reported.push(format!("{event:?}")))
                    .unwrap();
            }
            let expected = [
                format!("{:?}", ClientEvent::Response(200, "{}")),
                format!("{:?}", ClientEvent::Response(503, "busy")),
            ];
            assert_eq!(reported, expected, "{cut}");
        }
    }
}
