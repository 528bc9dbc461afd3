//! Sockets of this node as servers expect them in responses.
//!
//! What servers and the admin UI read of a socket must have the right type: `handshake` with `headers` and `query`, and
//! `data` are objects; an access to a missing one is an unhandled rejection there.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::model::SocketDetails;

/// A JSON list of sockets. Their handshakes have no headers: nodes do not keep them, and every server that fetches sockets
/// could read their cookies.
pub(super) fn list(sockets: &[SocketDetails]) -> String {
    let sockets: Vec<Value> = sockets.iter().map(socket).collect();
    Value::from(sockets).to_string()
}

fn socket(details: &SocketDetails) -> Value {
    let id = details.socket.as_str();
    let rooms = details.rooms.iter().map(|room| Value::from(room.as_str()));
    let rooms: Vec<Value> = std::iter::once(Value::from(id)).chain(rooms).collect();
    json!({
        "id": id,
        "handshake": {
            "headers": {},
            "time": time(details.connected_at),
            "address": "",
            "xdomain": false,
            "secure": false,
            "issued": details.connected_at.saturating_mul(1000),
            "url": "",
            "query": {},
            "auth": {},
        },
        "rooms": rooms,
        "data": {},
    })
}

/// A time as `Date.prototype.toString` writes it.
fn time(unix: u64) -> String {
    let time = i64::try_from(unix).ok();
    let Some(time) = time.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
    else {
        return String::new();
    };
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    format!(
        "{weekday:.3} {month:.3} {:02} {} {:02}:{:02}:{:02} GMT+0000 (Coordinated Universal Time)",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::OsRandom;
    use crate::model::{NodeId, Room, SocketId};

    #[test]
    fn sockets_have_what_servers_and_the_admin_ui_read() {
        let node = NodeId::parse("abcd").unwrap();
        let socket = SocketId::random(node, Default::default(), &OsRandom);
        let details = SocketDetails {
            socket,
            connected_at: 1_700_000_000,
            rooms: vec![Room::from("r1")],
        };
        let list: Value = serde_json::from_str(&list(&[details])).unwrap();
        let first = &list[0];
        assert_eq!(first["id"], socket.as_str());
        assert_eq!(first["rooms"], json!([socket.as_str(), "r1"]));
        assert_eq!(first["data"], json!({}));
        let handshake = &first["handshake"];
        assert_eq!(handshake["issued"], 1_700_000_000_000_u64);
        let time = "Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(handshake["time"], time);
        for name in ["headers", "query", "auth"] {
            assert_eq!(handshake[name], json!({}), "{name}");
        }
    }
}
