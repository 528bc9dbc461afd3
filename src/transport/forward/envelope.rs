//! The messages between the node that holds a client's connection (the edge) and the one that owns its session.
//!
//! One fixed head for all: worker, kind, exchange, session, argument; the rest is the body. Pure.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{EngineId, WorkerIndex};

const HEAD_LENGTH: usize = 1 + 1 + 8 + 20 + 4;

/// Argument of [`Kind::PostAborted`]: the body is incomplete or malformed.
pub const BROKE_OFF: u32 = 0;
/// Argument of [`Kind::PostAborted`]: the body is rejected as a whole.
pub const REJECTED: u32 = 1;

/// What a message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Edge: the client waits for a batch; argument 0 = polling, else websocket frames of about so many bytes.
    Pull = 1,
    /// Edge: the client gave up waiting.
    PullAborted = 2,
    /// Edge: the client starts a POST. Acknowledged at once, so that no body is sent to an owner without this session;
    /// answered if the session ends before the body is complete.
    PostStarted = 3,
    /// Edge: the body of an acknowledged post.
    Post = 4,
    /// Edge: the body is not delivered; argument is [`BROKE_OFF`] or [`REJECTED`].
    PostAborted = 5,
    /// Edge: a websocket wants to take the session over.
    Probe = 6,
    /// Edge: it said `2probe` and was answered.
    Probed = 7,
    /// Edge: it is gone or said something else.
    ProbeFailed = 8,
    /// Edge: it said `5` and carries the session.
    Upgraded = 9,
    /// Edge: a text message came over it.
    Text = 10,
    /// Edge: a binary message came over it.
    Binary = 11,
    /// Edge: it is gone; or, where the argument is above 0, it will be: the session may take so many milliseconds to
    /// settle what is under way.
    Detached = 12,
    /// Owner: the answer; argument is an [`Outcome`].
    Answer = 13,
    /// Edge or owner: checks that the other node is still on the bus, by the number of receivers. An owner also
    /// acknowledges it, unless the exchange is 0.
    AreYouThere = 14,
    /// Owner: the request has arrived, its answer follows.
    Accepted = 15,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        use Kind::{
            Accepted, Answer, AreYouThere, Binary, Detached, Post, PostAborted, PostStarted, Probe,
            ProbeFailed, Probed, Pull, PullAborted, Text, Upgraded,
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
            Answer,
            AreYouThere,
            Accepted,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The owner has no such session.
    Gone = 0,
    /// Done; the body is the batch, if one was asked for.
    Done = 1,
    /// Done, and nothing will follow.
    Last = 2,
    TransportMismatch = 3,
    Duplicate = 4,
    Malformed = 5,
    /// The websocket may not take the session over.
    Declined = 6,
}

impl Outcome {
    /// Reads an argument; anything unknown counts as gone.
    pub fn parse(argument: u32) -> Self {
        use Outcome::{Declined, Done, Duplicate, Gone, Last, Malformed, TransportMismatch};
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
    /// Ties an answer to its question; names the asking worker, see [`Envelope::asking_worker`].
    pub exchange: u64,
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
        bytes.put_u64(self.exchange);
        bytes.put_slice(self.session.as_str().as_bytes());
        bytes.put_u32(self.argument);
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Reads a message; `None` if it is none.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let head = bytes.get(..HEAD_LENGTH)?;
        Some(Self {
            worker: WorkerIndex::new(usize::from(head[0]))?,
            kind: Kind::parse(head[1])?,
            exchange: u64::from_be_bytes(head[2..10].try_into().ok()?),
            session: EngineId::parse(std::str::from_utf8(&head[10..30]).ok()?)?,
            argument: u32::from_be_bytes(head[30..HEAD_LENGTH].try_into().ok()?),
            body: bytes.slice(HEAD_LENGTH..),
        })
    }

    /// The worker that asked, by the number of the exchange.
    pub fn asking_worker(&self) -> WorkerIndex {
        WorkerIndex::new((self.exchange % WorkerIndex::LIMIT as u64) as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_bus() {
        for kind in (0..=255).filter_map(Kind::parse) {
            let envelope = Envelope {
                worker: WorkerIndex::new(3).unwrap(),
                kind,
                exchange: 64 * 77 + 5,
                session: EngineId::parse("abcdefghijklmnopqrst").unwrap(),
                argument: Outcome::Last as u32,
                body: Bytes::from_static(b"body"),
            };
            let encoded = envelope.encode();
            assert_eq!(Envelope::decode(&encoded), Some(envelope.clone()));
            assert_eq!(envelope.asking_worker().get(), 5);
            for cut in 0..HEAD_LENGTH {
                assert_eq!(Envelope::decode(&encoded.slice(..cut)), None);
            }
        }
        assert_eq!(Outcome::parse(2), Outcome::Last);
        assert_eq!(Outcome::parse(99), Outcome::Gone);
    }
}
