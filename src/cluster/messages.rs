//! Messages of the bridge other than those of the broker: for sessions on other nodes, and for observers.

use std::sync::{Arc, OnceLock};

use actix::{Message, Recipient};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::NodeId;

/// To the bridge: an opaque message for a worker of another node.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forward {
    pub to: NodeId,
    /// The first byte is the worker's number.
    pub body: Bytes,
    /// Fires at once if the node does not exist or the bus is down.
    pub unreachable: Option<oneshot::Sender<()>>,
}

impl Forward {
    /// Reports that it cannot be sent.
    pub(super) fn report_unreachable(self) {
        if let Some(unreachable) = self.unreachable {
            // The request may have ended.
            let _ = unreachable.send(());
        }
    }
}

/// From the bridge: a [`Forward`] of another node.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Forwarded {
    pub from: NodeId,
    pub body: Bytes,
}

/// To the bridge: the node stops. The bridge ends, and its link with it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave;

/// The recipients of [`Forwarded`] messages, by worker; complete before the first connection.
pub type RouterAddresses = Arc<OnceLock<Box<[Recipient<Forwarded>]>>>;
