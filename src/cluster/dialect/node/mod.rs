//! Socket.IO servers in Node on the same Redis, whose adapters connect them (docs/bus.md#other-adapters-of-nodejs).

mod exchange;
mod members;
mod message;
pub mod pubsub;
mod requester;
pub mod sharded;
mod socket_details;
pub mod streams;

use message::MalformedClusterMessage;

use super::DecodeError;
use crate::metrics::labels::BusDrop;

impl From<MalformedClusterMessage> for DecodeError {
    fn from(malformed: MalformedClusterMessage) -> Self {
        Self {
            reason: BusDrop::Unreadable,
            cause: Box::new(malformed),
        }
    }
}
