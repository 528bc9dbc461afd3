//! Ids that do not depend on the node which sends a request.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::SocketId;

/// The id of what reports that a socket has disconnected; `prefix` distinguishes requests from notices. Two nodes that
/// both report it, because one of them was lost while it did, use the same id.
pub fn disconnect_id(prefix: &str, socket: SocketId) -> String {
    let digest = Sha256::digest(format!("disconnect {socket}"));
    let mut id = String::with_capacity(prefix.len() + 32);
    id.push_str(prefix);
    for byte in &digest[..16] {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    #[test]
    fn the_id_of_a_disconnect_depends_on_the_socket_alone() {
        let node = NodeId::random(&OsRandom);
        let [a, b] = [0; 2].map(|_| SocketId::random(node, Default::default(), &OsRandom));
        let id = disconnect_id("msg_", a);
        assert_eq!((id.len(), id.starts_with("msg_")), (36, true));
        assert_eq!(disconnect_id("msg_", a), id);
        assert_ne!(disconnect_id("msg_", b), id);
    }
}
