//! What the bridge exchanges with the transports: messages between the nodes that concern one session.

use std::sync::{Arc, OnceLock};

use actix::{Message, Recipient};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::model::{Command, NodeId};

/// To another node: an opaque message for one of its workers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forward {
    pub to: NodeId,
    /// The first byte is the worker's number.
    pub body: Bytes,
    /// Fires at once if the node does not exist or the bus is away.
    pub unreachable: Option<oneshot::Sender<()>>,
}

impl Forward {
    /// It cannot be sent: whoever waits for an answer need not.
    pub(super) fn give_up(self) {
        if let Some(unreachable) = self.unreachable {
            // Whoever asked may have given up as well.
            let _ = unreachable.send(());
        }
    }
}

/// From another node: the counterpart of [`Forward`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Forwarded {
    pub from: NodeId,
    pub body: Bytes,
}

/// Hears every command of others in passing; must be cheap, and never wait.
pub type Overhear = Box<dyn Fn(&Command) + Send + Sync>;

/// The node stops: nothing more is said or heard. The bridge ends, and its link with it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave;

/// Who takes [`Forwarded`] messages, by worker; filled before the node listens.
pub type RouterAddresses = Arc<OnceLock<Box<[Recipient<Forwarded>]>>>;
