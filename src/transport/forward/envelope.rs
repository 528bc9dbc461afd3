//! The messages between the node that holds the connection of a client (the edge) and the node that owns its session
//! (docs/bus.md#sessions-on-other-nodes).
//!
//! All have one fixed head: worker, kind, request number, session, argument. The rest is the body. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{EngineId, WorkerIndex};

const HEAD_LENGTH: usize = 1 + 1 + 8 + 20 + 4;

/// Argument of [`Kind::PostAborted`]: the body is incomplete or malformed.
pub const BROKE_OFF: u32 = 0;
/// Argument of [`Kind::PostAborted`]: the body is rejected as a whole.
pub const REJECTED: u32 = 1;

/// Argument of [`Kind::Upgraded`]: the websocket accepts no compressed messages.
pub const UNCOMPRESSED: u32 = 0;
/// Argument of [`Kind::Upgraded`]: the websocket accepts messages compressed by permessage-deflate.
pub const DEFLATE: u32 = 1;

/// The kinds of messages, by the side that sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Edge: the client waits for a batch; argument 0 = polling, else the approximate size in bytes of a batch of websocket frames.
    Pull = 1,
    /// Edge: the client no longer waits.
    PullAborted = 2,
    /// Edge: the client starts a POST. Acknowledged at once, so that no body is sent to an owner without this session.
    /// The response follows early if the session ends before the body is complete.
    PostStarted = 3,
    /// Edge: the body of an acknowledged POST.
    Post = 4,
    /// Edge: the body is not delivered; argument is [`BROKE_OFF`] or [`REJECTED`].
    PostAborted = 5,
    /// Edge: a websocket requests to take over the session; argument 1 = its client receives binary messages as base64.
    Probe = 6,
    /// Edge: the websocket sent `2probe` and received the response.
    Probed = 7,
    /// Edge: the probe failed, or its websocket is closed.
    ProbeFailed = 8,
    /// Edge: the websocket sent `5` and carries the session; argument is [`UNCOMPRESSED`] or [`DEFLATE`].
    Upgraded = 9,
    /// Edge: the websocket received a text message, decompressed.
    Text = 10,
    /// Edge: the websocket received a binary message.
    Binary = 11,
    /// Edge: the websocket is closed; or, if the argument is not 0, it will be: the session may take so many
    /// milliseconds to settle pending acks and events.
    Detached = 12,
    /// Owner: the response; argument is an [`ForwardOutcome`].
    Response = 13,
    /// Edge or owner: checks that the other node is still on the bus, by the number of receivers. An owner also
    /// acknowledges it, unless the request number is 0.
    NodeCheck = 14,
    /// Owner: the request has arrived, its response follows.
    Accepted = 15,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        use Kind::{
            Accepted, Binary, Detached, NodeCheck, Post, PostAborted, PostStarted, Probe,
            ProbeFailed, Probed, Pull, PullAborted, Response, Text, Upgraded,
        };
        let all = [
            Pull,
            PullAborted,
            PostStarted,
            Post,
            PostAborted,
            Probe,
            Probed,
            ProbeFailed,
            Upgraded,
            Text,
            Binary,
            Detached,
            Response,
            NodeCheck,
            Accepted,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ForwardOutcome {
    /// The owner has no such session.
    Gone = 0,
    /// Done; the body is the batch, if one was requested.
    Done = 1,
    /// Done, and nothing will follow.
    Last = 2,
    TransportMismatch = 3,
    Duplicate = 4,
    Malformed = 5,
    /// The websocket may not take over the session.
    Declined = 6,
}

impl ForwardOutcome {
    /// Reads an argument; unknown values count as [`ForwardOutcome::Gone`].
    pub fn parse(argument: u32) -> Self {
        use ForwardOutcome::{Declined, Done, Duplicate, Gone, Last, Malformed, TransportMismatch};
        let all = [
            Gone,
            Done,
            Last,
            TransportMismatch,
            Duplicate,
            Malformed,
            Declined,
        ];
        all.into_iter()
            .find(|outcome| *outcome as u32 == argument)
            .unwrap_or(Gone)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The worker of the receiving node.
    pub worker: WorkerIndex,
    pub kind: Kind,
    /// Number of the request, which ties its messages together and contains the requesting worker, see
    /// [`Envelope::requesting_worker`].
    pub request: u64,
    pub session: EngineId,
    pub argument: u32,
    pub body: Bytes,
}

impl Envelope {
    /// The bytes on the bus.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_LENGTH + self.body.len());
        bytes.put_u8(self.worker.get() as u8);
        bytes.put_u8(self.kind as u8);
        bytes.put_u64(self.request);
        bytes.put_slice(self.session.as_str().as_bytes());
        bytes.put_u32(self.argument);
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Decodes a message; `None` if it is malformed.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let head = bytes.get(..HEAD_LENGTH)?;
        Some(Self {
            worker: WorkerIndex::new(usize::from(head[0]))?,
            kind: Kind::parse(head[1])?,
            request: u64::from_be_bytes(head[2..10].try_into().ok()?),
            session: EngineId::parse(std::str::from_utf8(&head[10..30]).ok()?)?,
            argument: u32::from_be_bytes(head[30..HEAD_LENGTH].try_into().ok()?),
            body: bytes.slice(HEAD_LENGTH..),
        })
    }

    /// The worker that sent the request.
    pub fn requesting_worker(&self) -> WorkerIndex {
        WorkerIndex::new((self.request % WorkerIndex::LIMIT as u64) as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_decoded_as_encoded() {
        for kind in (0..=255).filter_map(Kind::parse) {
            let envelope = Envelope {
                worker: WorkerIndex::new(3).unwrap(),
                kind,
                request: 64 * 77 + 5,
                session: EngineId::parse("abcdefghijklmnopqrst").unwrap(),
                argument: ForwardOutcome::Last as u32,
                body: Bytes::from_static(b"body"),
            };
            let encoded = envelope.encode();
            assert_eq!(Envelope::decode(&encoded), Some(envelope.clone()));
            assert_eq!(envelope.requesting_worker().get(), 5);
            for cut in 0..HEAD_LENGTH {
                assert_eq!(Envelope::decode(&encoded.slice(..cut)), None);
            }
        }
        assert_eq!(ForwardOutcome::parse(2), ForwardOutcome::Last);
        assert_eq!(ForwardOutcome::parse(99), ForwardOutcome::Gone);
    }
}
