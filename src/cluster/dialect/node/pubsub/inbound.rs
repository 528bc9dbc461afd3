//! Converts requests of servers to what this node executes.

use std::time::Duration;

use super::DIALECT;
use crate::cluster::dialect::Inbound;
use crate::cluster::dialect::node::requester::Requester;
use crate::model::{AckToken, Emit, Query, Selector};

/// The token with which acks are returned to a server. The server identifies its emit by the request id alone.
pub(super) fn token(requester: &Requester) -> AckToken {
    AckToken {
        reply_to: requester.to_reply_to(DIALECT),
        id: 0,
    }
}

pub(super) fn ids_query(selector: Selector, requester: &Requester) -> Inbound {
    Inbound::ForeignQuery {
        reply_to: requester.to_reply_to(DIALECT),
        query: Query::Sockets {
            selector,
            limit: u32::MAX,
        },
    }
}

pub(super) fn details_query(selector: Selector, requester: &Requester) -> Inbound {
    Inbound::ForeignQuery {
        reply_to: requester.to_reply_to(DIALECT),
        query: Query::Details {
            selector,
            limit: u32::MAX,
        },
    }
}

pub(super) fn fetch_of_nobody(requester: &Requester) -> Inbound {
    Inbound::FetchOfNobody {
        reply_to: requester.to_reply_to(DIALECT),
    }
}

pub(super) fn counted_emit(emit: Emit, token: AckToken, timeout: Option<Duration>) -> Inbound {
    Inbound::CountedEmit {
        emit: Emit {
            ack: Some(token),
            ..emit
        },
        timeout,
    }
}
