//! Orders of this module's services to the workers.

use std::sync::Arc;

use actix::Message;

use super::revocation::Revocation;
use crate::model::Selector;

/// Sent to every worker, which applies it to its own sockets.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Close the sessions whose identity is revoked.
    Revoke(Arc<Revocation>),
    /// Close the sessions of the selected sockets, so that their clients connect again.
    Reconnect(Arc<Selector>),
}
