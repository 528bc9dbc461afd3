//! Decodes broadcasts.

use bytes::Bytes;

use super::malformed::MalformedPubSub;
use super::options::{Options, skip};
use super::packet::Packet;
use crate::cluster::dialect::node::members::ClusterMembers;
use crate::model::{Emit, Namespace};
use crate::msgpack::Reader;

/// What a broadcast means for this node.
pub(super) enum Broadcast {
    Emit(Emit),
    /// A node of the cluster published it in this dialect too.
    Own,
    /// It is for another namespace than its channel, or for rooms that no socket is in.
    Nobody,
}

/// Decodes an emit that was published for `namespace`, or for any namespace if `namespace` is `None`.
pub(super) fn broadcast(
    message: &Bytes,
    namespace: Option<&str>,
    members: &ClusterMembers,
    limit: usize,
) -> Result<Broadcast, MalformedPubSub> {
    let mut reader = Reader::lenient(message);
    let marker = reader.marker()?;
    match reader.array_length(marker)? {
        Some(3) if sender(message).is_some_and(|uid| members.node_of(uid).is_some()) => {
            return Ok(Broadcast::Own);
        }
        // The first element identifies the sender.
        Some(3) => skip(&mut reader)?,
        // Of the first emitters.
        Some(2) => {}
        _ => return Err(MalformedPubSub::List),
    }
    let packet = Packet::read(&mut reader, limit)?;
    let options = Options::read(&mut reader)?;
    if !reader.is_at_end() {
        return Err(MalformedPubSub::TrailingBytes);
    }
    if namespace.is_some_and(|published| published != packet.namespace) {
        return Ok(Broadcast::Nobody);
    }
    let Some(to) = options.selector(&Namespace::from(packet.namespace))? else {
        return Ok(Broadcast::Nobody);
    };
    Ok(Broadcast::Emit(Emit {
        to,
        payload: packet.payload,
        volatile: options.is_volatile(),
        ack: None,
        conflate: None,
    }))
}

/// The first element, which identifies the sender; `None` if it is not a text.
pub(super) fn sender(message: &Bytes) -> Option<&str> {
    let mut reader = Reader::lenient(message);
    let list = reader.marker().ok()?;
    reader.array_length(list).ok()??;
    let marker = reader.marker().ok()?;
    reader.text(marker).ok()?
}
