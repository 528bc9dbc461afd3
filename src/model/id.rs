//! Engine.IO and Socket.IO ids whose first characters name their owner.
//!
//! Every id is exactly 20 characters of `[A-Za-z0-9_-]`, as stock tools expect (`docs/protocol.md#12-handshake`): 4 for
//! the node, 1 for the worker thread, the rest random. So a request that reaches another node is forwarded to the owner
//! without a lookup.
//!
//! The id of a socket is also the name of a room, so its remaining characters are not all random: `_`, 10 random
//! characters (60 bits) and a checksum of 4 distinguish it from ids that applications use as room names.

use std::borrow::Cow;
use std::fmt;

use super::Random;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ID_LENGTH: usize = 20;
const NODE_LENGTH: usize = 4;
const LOG_LENGTH: usize = 10;
/// Separates the owner from the random part of a socket id. Ids of letters and digits alone never contain it.
const SOCKET_MARK: u8 = b'_';
const MARK_AT: usize = NODE_LENGTH + 1;
const CHECKSUM_LENGTH: usize = 4;
const CHECKSUM_AT: usize = ID_LENGTH - CHECKSUM_LENGTH;

/// Number of a worker thread of one node, 0 to 63.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerIndex(u8);

impl WorkerIndex {
    /// Maximum number of workers of a node: one character of an id names the worker.
    pub const LIMIT: usize = ALPHABET.len();

    /// `None` at 64 and above.
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::LIMIT).then_some(Self(index as u8))
    }

    /// The number as an index into a list of workers.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// Name of a node: 4 characters of the id alphabet, unique in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; NODE_LENGTH]);

impl NodeId {
    /// A random name of 24 bits. A lease in the store keeps it unique in the cluster (`store::lease`).
    pub fn random(random: &dyn Random) -> Self {
        let mut name = [0; NODE_LENGTH];
        fill_from_alphabet(&mut name, random);
        Self(name)
    }

    /// Parses a name; `None` unless it is 4 characters of the alphabet.
    pub fn parse(text: &str) -> Option<Self> {
        let name: [u8; NODE_LENGTH] = text.as_bytes().try_into().ok()?;
        name.iter().all(is_id_character).then_some(Self(name))
    }

    /// The 4 characters.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

macro_rules! owned_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_LENGTH]);

        impl $name {
            /// The node that owns the session.
            pub fn node(&self) -> NodeId {
                let mut name = [0; NODE_LENGTH];
                name.copy_from_slice(&self.0[..NODE_LENGTH]);
                NodeId(name)
            }

            /// The worker of that node on which the session lives.
            pub fn worker(&self) -> WorkerIndex {
                WorkerIndex(value_of(self.0[NODE_LENGTH]))
            }

            /// The 20 characters.
            pub fn as_str(&self) -> &str {
                ascii(&self.0)
            }
        }
    };
}

owned_id! {
    /// Id of an Engine.IO session. A secret of its client: it is enough to take over the session.
    EngineId
}

owned_id! {
    /// Id of a Socket.IO socket (one per namespace of a session); public, and the name of the socket's own room.
    SocketId
}

impl EngineId {
    /// A fresh id owned by `worker` of `node`.
    pub fn random(node: NodeId, worker: WorkerIndex, random: &dyn Random) -> Self {
        Self(random_id(node, worker, random))
    }

    /// Parses an id; `None` unless it is 20 characters of `[A-Za-z0-9_-]`.
    pub fn parse(text: &str) -> Option<Self> {
        read_id(text).map(Self)
    }

    /// The id of a session that has the same id as its socket, which is thus public
    /// (`docs/protocol.md#28-socketio-2-clients`).
    pub fn of_socket(socket: SocketId) -> Self {
        Self(socket.0)
    }

    /// The first characters: enough to distinguish sessions in the log, too few to take one over.
    pub fn log_name(&self) -> &str {
        &self.as_str()[..LOG_LENGTH]
    }
}

impl SocketId {
    /// A fresh id owned by `worker` of `node`.
    pub fn random(node: NodeId, worker: WorkerIndex, random: &dyn Random) -> Self {
        let mut id = random_id(node, worker, random);
        id[MARK_AT] = SOCKET_MARK;
        let checksum = checksum(&id);
        id[CHECKSUM_AT..].copy_from_slice(&checksum);
        Self(id)
    }

    /// The id of the socket with the same id as its session; `None` if the session has none.
    pub fn of_session(session: EngineId) -> Option<Self> {
        Self::parse(session.as_str())
    }

    /// Parses an id; `None` for any other text, including ids of 20 such characters that databases generate.
    pub fn parse(text: &str) -> Option<Self> {
        let id = read_id(text)?;
        (id[MARK_AT] == SOCKET_MARK && id[CHECKSUM_AT..] == checksum(&id)).then_some(Self(id))
    }

    /// The first 10 characters, for the log: a client of Socket.IO 2 has the id of its session, which is a secret
    /// (`docs/protocol.md#28-socketio-2-clients`).
    pub fn log_name(&self) -> &str {
        &self.as_str()[..LOG_LENGTH]
    }

    /// Whether a room receives what is meant for one socket: it is named by the id, or, as clients of Socket.IO 2 name their
    /// sockets, by `/namespace#id` (`docs/protocol.md#28-socketio-2-clients`).
    pub fn has_room(room: &str) -> bool {
        let id = match room.starts_with('/') {
            true => room.rsplit_once('#').map(|(_, id)| id),
            false => Some(room),
        };
        id.is_some_and(|id| Self::parse(id).is_some())
    }
}

/// A text for the log, such as the name of a room or channel, with each id of a socket in it cut as by
/// [`SocketId::log_name`].
pub fn shorten_ids(text: &str) -> Cow<'_, str> {
    let mut shortened = String::new();
    let mut copied = 0;
    let mut start = 0;
    for run in text.split(|c: char| !u8::try_from(c).is_ok_and(|byte| is_id_character(&byte))) {
        if SocketId::parse(run).is_some() {
            shortened.push_str(&text[copied..start + LOG_LENGTH]);
            copied = start + ID_LENGTH;
        }
        start += run.len();
        start += text[start..].chars().next().map_or(0, char::len_utf8);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    shortened.push_str(&text[copied..]);
    Cow::Owned(shortened)
}

impl fmt::Debug for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.log_name())
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn random_id(node: NodeId, worker: WorkerIndex, random: &dyn Random) -> [u8; ID_LENGTH] {
    let mut id = [0; ID_LENGTH];
    id[..NODE_LENGTH].copy_from_slice(&node.0);
    id[NODE_LENGTH] = ALPHABET[worker.get()];
    fill_from_alphabet(&mut id[NODE_LENGTH + 1..], random);
    id
}

fn read_id(text: &str) -> Option<[u8; ID_LENGTH]> {
    let id: [u8; ID_LENGTH] = text.as_bytes().try_into().ok()?;
    id.iter().all(is_id_character).then_some(id)
}

/// FNV-1a of everything before the checksum, folded to 24 bits. All nodes of a cluster must agree on it.
fn checksum(id: &[u8; ID_LENGTH]) -> [u8; CHECKSUM_LENGTH] {
    let hash = id[..CHECKSUM_AT]
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    let folded = hash ^ (hash >> 24);
    [0, 6, 12, 18].map(|shift| ALPHABET[(folded >> shift) as usize & 0x3f])
}

/// 6 of each random byte's 8 bits choose one of 64 characters, so all are equally likely.
fn fill_from_alphabet(characters: &mut [u8], random: &dyn Random) {
    random.fill(characters);
    for character in characters {
        *character = ALPHABET[usize::from(*character & 0x3f)];
    }
}

fn is_id_character(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_'
}

fn value_of(character: u8) -> u8 {
    ALPHABET.iter().position(|&c| c == character).unwrap_or(0) as u8
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::random::OsRandom;
    use super::*;

    #[test]
    fn ids_of_sockets_are_shortened_for_the_log() {
        let id = SocketId::random(NodeId::random(&OsRandom), WorkerIndex::default(), &OsRandom);
        let name = id.log_name();
        assert_eq!(name, &id.as_str()[..10]);
        let general = "general-announcement";
        for (text, expected) in [
            (id.to_string(), name.to_owned()),
            (format!("/admin#{id}"), format!("/admin#{name}")),
            (
                format!("socket.io#/é#{id}#"),
                format!("socket.io#/é#{name}#"),
            ),
            (
                format!("{id},{general},{id}é"),
                format!("{name},{general},{name}é"),
            ),
            (general.to_owned(), general.to_owned()),
            (format!("x{id}"), format!("x{id}")),
            (String::new(), String::new()),
        ] {
            assert_eq!(shorten_ids(&text), expected, "{text}");
        }
    }

    #[test]
    fn an_id_contains_its_owner() {
        let node = NodeId::random(&OsRandom);
        for index in [0, 1, 37, 63] {
            let worker = WorkerIndex::new(index).unwrap();
            let id = EngineId::random(node, worker, &OsRandom);
            let read = EngineId::parse(id.as_str()).unwrap();
            assert_eq!((read, read.node(), read.worker()), (id, node, worker));
            assert_eq!(id.as_str().len(), 20);
        }
        assert!(WorkerIndex::new(64).is_none());
    }

    #[test]
    fn rooms_of_sockets_are_named_by_their_ids_with_and_without_a_namespace() {
        let node = NodeId::random(&OsRandom);
        let id = SocketId::random(node, Default::default(), &OsRandom);
        for (room, expected) in [
            (format!("{id}"), true),
            (format!("/chat#{id}"), true),
            (format!("/a#b#{id}"), true),
            (format!("chat#{id}"), false),
            (format!("/chat{id}"), false),
            (format!("/chat#{id}x"), false),
            ("/chat#9hXUJ8XOaibBZPrfAAAA".to_owned(), false),
            ("/".to_owned(), false),
        ] {
            assert_eq!(SocketId::has_room(&room), expected, "{room}");
        }
    }

    #[test]
    fn a_socket_id_is_parsed_and_any_change_to_it_is_detected() {
        let node = NodeId::parse("nod1").unwrap();
        let worker = WorkerIndex::new(37).unwrap();
        for _ in 0..1000 {
            let id = SocketId::random(node, worker, &OsRandom);
            let read = SocketId::parse(id.as_str()).unwrap();
            assert_eq!((read, read.node(), read.worker()), (id, node, worker));
            // An Engine.IO id is 20 random characters: 1 in 2^30 would pass.
            let other = EngineId::random(node, worker, &OsRandom);
            assert_eq!(SocketId::parse(other.as_str()), None, "{other:?}");
            let mut typo = id.as_str().to_owned();
            let last = if typo.pop() == Some('a') { 'b' } else { 'a' };
            typo.push(last);
            assert_eq!(SocketId::parse(&typo), None, "{typo}");
        }
    }

    #[test]
    fn other_names_of_20_characters_are_not_socket_ids() {
        for name in [
            "general-announcement",
            "general_announcement",
            "team_room_of_support",
            "8IUSAeBqd5TlwiIwdmqT", // Firestore
            "-NqPcVbJ5yGd8kD1xY_a", // Firebase push id
            "cq5h0s2s6lfc73f9u9vg", // xid
            "00000000000000000000",
            "____________________",
        ] {
            assert_eq!(name.len(), 20);
            assert_eq!(SocketId::parse(name), None, "{name}");
        }
    }

    #[test]
    fn other_text_is_not_an_id() {
        for text in [
            "",
            "short",
            "aaaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaa+",
            "ääääääääää",
        ] {
            assert_eq!(SocketId::parse(text), None, "{text}");
        }
        assert!(NodeId::parse("ab c").is_none());
    }
}
