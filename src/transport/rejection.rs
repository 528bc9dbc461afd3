//! The HTTP response to a rejected websocket request.

use tokio::io::AsyncWriteExt;

use super::handshake::RequestError;
use super::socket::ClientStream;
use crate::metrics::labels::RequestRejection;

/// A response instead of the opening handshake. The reference server responds 400 with the bare message
/// (docs/protocol.md#17-errors).
#[derive(Debug)]
pub(super) struct Rejection {
    status: &'static str,
    pub(super) reason: String,
    /// Seconds.
    retry_after: Option<u32>,
    pub(super) label: RequestRejection,
}

impl From<RequestError> for Rejection {
    fn from(error: RequestError) -> Self {
        let status = match error.status() {
            429 => "429 Too Many Requests",
            503 => "503 Service Unavailable",
            508 => "508 Loop Detected",
            _ => "400 Bad Request",
        };
        Self {
            status,
            retry_after: error.retry_after(),
            reason: error.message().to_owned(),
            label: error.label(),
        }
    }
}

impl Rejection {
    /// The response to a websocket request outside of the endpoint, which is at `path`.
    pub(super) fn no_endpoint(path: &str) -> Self {
        Self {
            status: "404 Not Found",
            reason: format!("no websocket endpoint here; it is at {path}/"),
            retry_after: None,
            label: RequestRejection::NoEndpoint,
        }
    }

    /// The bytes of the response.
    pub(super) fn response(&self) -> String {
        let Self {
            status,
            reason,
            retry_after,
            ..
        } = self;
        let retry_after = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
        let retry_after = retry_after.unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{retry_after}Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{reason}",
            reason.len()
        )
    }

    /// Sends the response and closes the connection.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn send(&self, mut stream: ClientStream) -> std::io::Result<()> {
        stream.write_all(self.response().as_bytes()).await?;
        stream.shutdown().await
    }
}
