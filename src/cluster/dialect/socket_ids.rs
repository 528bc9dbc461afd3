//! The ids of sockets of foreign servers.

use crate::model::SocketId;

/// Whether a room may be that of a socket, of this cluster or a foreign server: 20 characters of `[A-Za-z0-9_-]`, at
/// least one of them a capital. The last characters of ids of stock servers are a counter that begins with `AAAA`.
pub(in crate::cluster) fn may_be_socket(room: &str) -> bool {
    let bytes = room.as_bytes();
    let is_id_character = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_foreign = bytes.len() == 20
        && bytes.iter().all(is_id_character)
        && bytes.iter().any(u8::is_ascii_uppercase);
    is_foreign || SocketId::parse(room).is_some()
}
