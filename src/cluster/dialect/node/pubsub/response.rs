//! Decodes responses of servers to emits and queries of this node. Every server receives the responses to the requests
//! of all others.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::malformed::MalformedPubSub;
use super::options::skip;
use super::packet::payload;
use super::request::kind;
use crate::cluster::dialect::node::server_sockets::reported;
use crate::model::{Attachments, Payload, ServerSocket};
use crate::msgpack::Reader;

/// The id of the request is among the first bytes of a response: what can be long follows it.
const HEAD: usize = 512;

/// A response to an emit or query of this node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerResponse {
    pub(super) request: String,
    pub(super) body: PubSubResponse,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PubSubResponse {
    /// The number of sockets that received the emit.
    Count(u64),
    /// The ack of one of them.
    Ack(Payload),
    /// The sockets of a server that a query selects.
    Sockets(Vec<ServerSocket>),
}

/// Whether the response can be to a request whose id begins with `prefix`.
pub(super) fn may_be_for(message: &[u8], prefix: &str) -> bool {
    let head = &message[..message.len().min(HEAD)];
    let mut windows = head.windows(prefix.len().max(1));
    windows.any(|window| window == prefix.as_bytes())
}

#[derive(Deserialize)]
struct JsonResponse<'a> {
    #[serde(rename = "type")]
    kind: Option<u64>,
    #[serde(rename = "requestId")]
    request: Option<String>,
    #[serde(rename = "clientCount")]
    clients: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
}

/// Decodes a response; `None` for those to requests that this node never sends. The JSON of an ack has up to `limit`
/// bytes.
pub(super) fn response(
    message: &Bytes,
    limit: usize,
) -> Result<Option<ServerResponse>, MalformedPubSub> {
    if !message.starts_with(b"{") {
        return ack(message, limit);
    }
    let fields: JsonResponse<'_> = serde_json::from_slice(message)?;
    let Some(request) = fields.request else {
        return Ok(None);
    };
    let body = match (fields.kind, fields.sockets) {
        (Some(kind::COUNT), _) => {
            let count = fields.clients;
            PubSubResponse::Count(count.ok_or(MalformedPubSub::Field("clientCount"))?)
        }
        (None, Some(sockets)) => PubSubResponse::Sockets(reported(sockets.get())?),
        _ => return Ok(None),
    };
    Ok(Some(ServerResponse { request, body }))
}

fn ack(message: &Bytes, limit: usize) -> Result<Option<ServerResponse>, MalformedPubSub> {
    let mut reader = Reader::lenient(message);
    let marker = reader.marker()?;
    let fields = reader.map_length(marker)?;
    let (mut request, mut kind) = (None, None);
    let (mut argument, mut attachments) = (Vec::new(), Attachments::new());
    for _ in 0..fields.ok_or(MalformedPubSub::Field("response"))? {
        let marker = reader.marker()?;
        let name = reader.text(marker)?;
        match name.ok_or(MalformedPubSub::Field("response"))? {
            "requestId" => {
                let marker = reader.marker()?;
                request = reader.text(marker)?.map(str::to_owned);
            }
            "type" => {
                let marker = reader.marker()?;
                kind = reader.integer(marker)?;
            }
            "packet" => {
                attachments.clear();
                argument = reader.json(&mut attachments, limit)?;
            }
            _ => skip(&mut reader)?,
        }
    }
    if !reader.is_at_end() {
        return Err(MalformedPubSub::TrailingBytes);
    }
    let (Some(request), true) = (request, kind == Some(i128::from(kind::ACK))) else {
        return Ok(None);
    };
    // Servers send the first argument alone.
    let list = [b"[", argument.as_slice(), b"]"].concat();
    let body = PubSubResponse::Ack(payload(list, attachments)?);
    Ok(Some(ServerResponse { request, body }))
}
