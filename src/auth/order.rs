//! What the services of users order the workers to do.

use std::sync::Arc;

use actix::Message;

use super::revocation::Revocation;
use crate::model::Selector;

/// To each worker: act on the sockets that it has.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Close the sessions whose identity is revoked.
    Revoke(Arc<Revocation>),
    /// Close the sessions of the selected sockets, so that their clients connect again.
    Reconnect(Arc<Selector>),
}
