//! Socket.IO servers in Node on the same Redis, whose adapters connect them (docs/node-servers.md).

mod exchange;
mod members;
mod message;
pub mod pubsub;
mod requester;
mod selection;
mod server_sockets;
pub mod sharded;
mod socket_details;
pub mod streams;

use message::MalformedClusterMessage;

use super::DecodeError;
use crate::metrics::labels::BusDrop;

/// Maximum length of the ids of servers and requests, in bytes; those of stock servers have 6 and 16. They are kept until
/// all acks have arrived, and are part of the names of channels.
const MAX_ID: usize = 256;

impl From<MalformedClusterMessage> for DecodeError {
    fn from(malformed: MalformedClusterMessage) -> Self {
        Self {
            reason: match malformed.unfit() {
                Some(_) => BusDrop::Unfit,
                None => BusDrop::Unreadable,
            },
            cause: Box::new(malformed),
        }
    }
}
