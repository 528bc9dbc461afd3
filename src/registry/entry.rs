//! A socket as the store has it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Namespace, NodeId};

/// What other nodes must know of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredSocket {
    pub namespace: Namespace,
    /// Its user; `None` as long as none is known.
    pub user: Option<String>,
    /// Unix time in seconds.
    pub connected_at: u64,
}

/// The JSON of a socket. Later versions may add members.
#[derive(Serialize, Deserialize)]
struct SocketJson<'a> {
    namespace: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<std::borrow::Cow<'a, str>>,
    connected_at: u64,
}

impl RegisteredSocket {
    /// The value of its field.
    pub(super) fn encode(&self) -> Bytes {
        let encoded = SocketJson {
            namespace: self.namespace.as_str().into(),
            user: self.user.as_deref().map(Into::into),
            connected_at: self.connected_at,
        };
        // Encoding into memory does not fail: all keys are strings.
        serde_json::to_vec(&encoded).unwrap_or_default().into()
    }

    /// Reads the value of a field; `None` if it has another format.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let encoded: SocketJson<'_> = serde_json::from_slice(value).ok()?;
        Some(Self {
            namespace: Namespace::from(&*encoded.namespace),
            user: encoded.user.map(std::borrow::Cow::into_owned),
            connected_at: encoded.connected_at,
        })
    }
}

/// The keys of the registry in the store.
#[derive(Debug, Clone)]
pub(super) struct RegistryKeys {
    prefix: String,
}

impl RegistryKeys {
    /// Those of the cluster with this `bus.channel_prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}:registry"),
        }
    }

    /// A hash with a field for each node that has a registry.
    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// A hash with a field for each socket of a node.
    pub(super) fn sockets(&self, node: NodeId) -> String {
        format!("{}:{node}:sockets", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_as_it_was_written_and_unknown_members_are_ignored() {
        for user in [None, Some("a \"b\" \u{1f600}".to_owned())] {
            let socket = RegisteredSocket {
                namespace: Namespace::from("/chat"),
                user,
                connected_at: 1_700_000_000,
            };
            assert_eq!(RegisteredSocket::decode(&socket.encode()), Some(socket));
        }
        let later = br#"{"namespace":"/","connected_at":7,"generation":3}"#;
        let read = RegisteredSocket::decode(later).unwrap();
        assert_eq!((read.user, read.connected_at), (None, 7));
        for broken in [&b""[..], b"{}", b"[]", b"\xff"] {
            assert_eq!(RegisteredSocket::decode(broken), None);
        }
    }
}
