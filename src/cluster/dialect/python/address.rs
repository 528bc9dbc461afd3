//! Where the reply to an emit of a python-socketio process goes.

use bytes::Bytes;

use super::DIALECT;
use super::json::json_string;
use crate::model::{Namespace, ReplyTo};

/// What a process needs to find the callback of an emit. Nodes pass it on as a JSON array of three strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAddress {
    /// Identifies the process.
    pub host_id: String,
    /// The process registered the callback under this room and namespace.
    pub room: String,
    pub namespace: Namespace,
}

impl CallbackAddress {
    /// The recipient of replies.
    pub fn to_reply_to(&self) -> ReplyTo {
        let json = format!(
            "[{},{},{}]",
            json_string(&self.host_id),
            json_string(&self.room),
            json_string(&self.namespace)
        );
        ReplyTo::Foreign {
            dialect: DIALECT,
            address: Bytes::from(json),
        }
    }

    /// The address of a process; `None` if replies go to a node or another dialect.
    pub fn of(reply_to: &ReplyTo) -> Option<Self> {
        let ReplyTo::Foreign {
            dialect: DIALECT,
            address,
        } = reply_to
        else {
            return None;
        };
        let (host_id, room, namespace): (String, String, String) =
            serde_json::from_slice(address).ok()?;
        Some(Self {
            host_id,
            room,
            namespace: Namespace::from(namespace),
        })
    }
}
