//! Publishes responses of this node to other members. A response over `bus.message_limit` is shortened instead of
//! dropped, because the member would otherwise wait for it until its timeout.

use log::warn;

use super::dialect::{EncodeError, Outbound};
use super::publish::Publisher;
use crate::logging::Burst;
use crate::metrics::labels::BusDrop;
use crate::model::{AckReply, AckToken, Payload, QueryAnswer, QueryResponse, ReplyTo};

/// The ack that replaces one that is too large.
const EMPTY_ACK: &str = "[]";
/// The answer to an event for servers that replaces one that is too large.
const EMPTY_ANSWER: &str = "null";

/// A response and its recipient.
enum BusResponse<'a> {
    QueryAnswer(QueryResponse),
    Reply(AckReply),
    ForeignAnswer {
        reply_to: &'a ReplyTo,
        answer: QueryAnswer,
    },
    ServerEventAnswer {
        reply_to: &'a ReplyTo,
        answer: &'a str,
    },
    /// A response of a few bytes, which is always within the limit.
    Short {
        recipient: &'a ReplyTo,
        outbound: Outbound<'a>,
    },
}

/// The message is over `bus.message_limit`, or a part of it exceeds the limits of its format.
struct Oversized {
    /// Bytes of the message, if it can be encoded.
    bytes: Option<usize>,
    cause: String,
}

impl BusResponse<'_> {
    fn recipient(&self) -> ReplyTo {
        match self {
            Self::QueryAnswer(response) => ReplyTo::Node(response.to),
            Self::Reply(reply) => reply.token.reply_to.clone(),
            Self::ForeignAnswer { reply_to, .. } | Self::ServerEventAnswer { reply_to, .. } => {
                (*reply_to).clone()
            }
            Self::Short { recipient, .. } => (*recipient).clone(),
        }
    }

    fn outbound(&self) -> Outbound<'_> {
        match self {
            Self::QueryAnswer(response) => Outbound::QueryAnswer(response),
            Self::Reply(reply) => Outbound::Reply(reply),
            Self::ForeignAnswer { reply_to, answer } => {
                Outbound::ForeignAnswer { reply_to, answer }
            }
            Self::ServerEventAnswer { reply_to, answer } => {
                Outbound::ServerEventAnswer { reply_to, answer }
            }
            Self::Short { outbound, .. } => *outbound,
        }
    }

    /// A shorter response, which may still exceed `limit` bytes; `None` if nothing more can be left out.
    fn shortened(self, oversized: &Oversized, limit: usize) -> Option<Self> {
        let shorten = |answer: QueryAnswer| match oversized.bytes {
            // 10% less than the average size of items suggests, because they differ in size.
            Some(bytes) => answer.shortened(limit / 10 * 9, bytes),
            None => answer.shortened(1, 2),
        };
        match self {
            Self::QueryAnswer(response) => Some(Self::QueryAnswer(QueryResponse {
                answer: shorten(response.answer)?,
                is_shortened: true,
                ..response
            })),
            Self::Reply(reply) if reply.payload.size() > EMPTY_ACK.len() => {
                let payload = Payload::text(EMPTY_ACK);
                Some(Self::Reply(AckReply { payload, ..reply }))
            }
            Self::ForeignAnswer { reply_to, answer } => {
                let answer = shorten(answer)?;
                Some(Self::ForeignAnswer { reply_to, answer })
            }
            Self::ServerEventAnswer { reply_to, answer } if answer != EMPTY_ANSWER => {
                let answer = EMPTY_ANSWER;
                Some(Self::ServerEventAnswer { reply_to, answer })
            }
            Self::Reply(_) | Self::ServerEventAnswer { .. } | Self::Short { .. } => None,
        }
    }
}

impl Publisher {
    /// Publishes the answer of this node to a query of another node.
    pub(super) fn publish_query_answer(&self, response: QueryResponse) {
        self.respond(BusResponse::QueryAnswer(response));
    }

    /// Publishes the reply of a client of this node in the dialect of the member that requested it.
    pub(super) fn publish_reply(&self, reply: AckReply) {
        self.respond(BusResponse::Reply(reply));
    }

    /// Reports to a foreign member how many sockets of this node received its emit.
    pub(super) fn publish_reached(&self, token: &AckToken, sockets: u64) {
        self.respond(BusResponse::Short {
            recipient: &token.reply_to,
            outbound: Outbound::Reached { token, sockets },
        });
    }

    /// Publishes the answer of this node to a query of a foreign member.
    pub(super) fn publish_foreign_answer(&self, reply_to: &ReplyTo, answer: QueryAnswer) {
        self.respond(BusResponse::ForeignAnswer { reply_to, answer });
    }

    /// Responds without sockets to a query that a node of the cluster sent to servers. That node receives the sockets
    /// of this one in response to its query in the first dialect.
    pub(super) fn publish_no_sockets(&self, reply_to: &ReplyTo) {
        let answer = QueryAnswer::Details {
            total: 0,
            sockets: Vec::new(),
            of_servers: Vec::new(),
        };
        self.publish_foreign_answer(reply_to, answer);
    }

    /// Reports to a foreign member that the change which it requested is complete.
    pub(super) fn publish_foreign_change_done(&self, reply_to: &ReplyTo) {
        self.respond(BusResponse::Short {
            recipient: reply_to,
            outbound: Outbound::ForeignChangeDone { reply_to },
        });
    }

    /// Publishes the answer of this node to an event for servers.
    pub(super) fn publish_server_event_answer(&self, reply_to: &ReplyTo, answer: &str) {
        self.respond(BusResponse::ServerEventAnswer { reply_to, answer });
    }

    /// Publishes a response, shortened if it is too large.
    fn respond(&self, response: BusResponse<'_>) {
        let Err(oversized) = self.try_respond(&response) else {
            return;
        };
        let (mut response, mut last) = (response, oversized);
        let cause = last.cause.clone();
        loop {
            let Some(shorter) = response.shortened(&last, self.message_limit) else {
                return self.reject_oversized(&cause);
            };
            match self.try_respond(&shorter) {
                Ok(()) => return self.report_shortened(&cause),
                Err(oversized) => (response, last) = (shorter, oversized),
            }
        }
    }

    /// Publishes a response in the dialect of its recipient, unless it is too large.
    fn try_respond(&self, response: &BusResponse<'_>) -> Result<(), Oversized> {
        let dialect = match response.recipient() {
            ReplyTo::Node(_) => self.dialects.first(),
            ReplyTo::Foreign { dialect, .. } => self.dialects.iter().find(|d| d.id() == dialect),
        };
        let Some(dialect) = dialect else {
            return Ok(());
        };
        let messages = match dialect.encode(&response.outbound()) {
            Ok(messages) => messages,
            Err(EncodeError::TooLong(cause)) => {
                let cause = cause.to_string();
                return Err(Oversized { bytes: None, cause });
            }
            Err(EncodeError::Unsupported(error)) => {
                warn!(error:%; "response not published");
                return Ok(());
            }
        };
        let largest = messages.iter().map(|message| message.payload.len()).max();
        let (bytes, limit) = (largest.unwrap_or_default(), self.message_limit);
        if bytes > limit {
            return Err(Oversized {
                bytes: Some(bytes),
                cause: format!("{bytes} bytes are over bus.message_limit={limit}"),
            });
        }
        self.publish(messages);
        Ok(())
    }

    fn report_shortened(&self, cause: &str) {
        let dropped = &self.directory.metrics().bus_dropped_total;
        dropped.of(BusDrop::Shortened).increment();
        static BURST: Burst = Burst::new();
        if let Some(others) = BURST.note() {
            warn!(others; "response shortened: {cause}");
        }
    }
}
