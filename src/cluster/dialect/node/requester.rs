//! The server that waits for the responses of this node.

use bytes::Bytes;
use serde_json::json;

use crate::model::{DialectId, Namespace, ReplyTo};

/// A request of a server. Nodes pass it on as a JSON list of three texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requester {
    pub(super) namespace: Namespace,
    /// Identifies the server in its namespace.
    pub(super) uid: String,
    /// Identifies the request at that server.
    pub(super) request: String,
}

impl Requester {
    /// The recipient of responses in a dialect.
    pub(super) fn to_reply_to(&self, dialect: DialectId) -> ReplyTo {
        let Self {
            namespace,
            uid,
            request,
        } = self;
        let address = json!([namespace.as_str(), uid, request]).to_string();
        ReplyTo::Foreign {
            dialect,
            address: Bytes::from(address),
        }
    }

    /// The requester of a dialect; `None` if responses go to a node or another dialect.
    pub(super) fn of(reply_to: &ReplyTo, dialect: DialectId) -> Option<Self> {
        let ReplyTo::Foreign {
            dialect: named,
            address,
        } = reply_to
        else {
            return None;
        };
        if *named != dialect {
            return None;
        }
        let (namespace, uid, request): (String, String, String) =
            serde_json::from_slice(address).ok()?;
        Some(Self {
            namespace: Namespace::from(namespace),
            uid,
            request,
        })
    }
}
