//! Decodes the sockets in responses of servers to queries of this node.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::model::{Room, ServerSocket};

/// A socket as servers report it, or only its id. All other members are skipped.
#[derive(Deserialize)]
#[serde(untagged)]
enum ReportedSocket<'a> {
    Id(#[serde(borrow)] Cow<'a, str>),
    Details {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(default)]
        rooms: Vec<RoomName>,
        #[serde(default)]
        handshake: ReportedHandshake,
    },
}

/// The name of a room, which can be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum RoomName {
    Text(String),
    Number(serde_json::Number),
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReportedHandshake {
    /// Unix time of the connect in milliseconds.
    issued: Value,
}

/// Decodes a JSON list of sockets.
pub(super) fn reported(list: &str) -> Result<Vec<ServerSocket>, serde_json::Error> {
    let sockets: Vec<ReportedSocket<'_>> = serde_json::from_str(list)?;
    Ok(sockets.into_iter().map(socket).collect())
}

fn socket(reported: ReportedSocket<'_>) -> ServerSocket {
    let (id, rooms, handshake) = match reported {
        ReportedSocket::Id(id) => (id, Vec::new(), ReportedHandshake::default()),
        ReportedSocket::Details {
            id,
            rooms,
            handshake,
        } => (id, rooms, handshake),
    };
    let rooms = rooms.into_iter().filter_map(|room| match room {
        RoomName::Text(name) => Some(Room::from(name)),
        RoomName::Number(number) => Some(Room::from(number.to_string())),
        RoomName::Other(_) => None,
    });
    ServerSocket {
        rooms: rooms.filter(|room| **room != *id).collect(),
        id: Room::from(&*id),
        connected_at: handshake
            .issued
            .as_u64()
            .map(|milliseconds| milliseconds / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(id: &str, connected_at: Option<u64>, rooms: &[&str]) -> ServerSocket {
        ServerSocket {
            id: Room::from(id),
            connected_at,
            rooms: rooms.iter().map(|room| Room::from(*room)).collect(),
        }
    }

    #[test]
    fn sockets_of_servers_are_decoded_with_their_rooms_or_from_their_ids() {
        let list = r#"[
            "id-1",
            {"id":"id\u002d2","handshake":{"headers":{"cookie":"c"},"issued":1700000000123,"auth":{}},
             "rooms":["id-2","r1",7,null,"\u00e9"],"data":{"any":["thing"]}},
            {"id":"id-3"},
            {"id":"id-4","handshake":{"issued":"never"},"rooms":[]}
        ]"#;
        let sockets = [
            expected("id-1", None, &[]),
            expected("id-2", Some(1_700_000_000), &["r1", "7", "\u{e9}"]),
            expected("id-3", None, &[]),
            expected("id-4", None, &[]),
        ];
        assert_eq!(reported(list).unwrap(), sockets);
        for malformed in [
            "{}",
            "[1]",
            "[{}]",
            r#"[{"id":1}]"#,
            r#"[{"id":"a","rooms":"r"}]"#,
        ] {
            assert!(reported(malformed).is_err(), "{malformed}");
        }
    }
}
