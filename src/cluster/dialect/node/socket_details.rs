//! Encodes sockets of this node for the responses that servers expect.
//!
//! Everything that servers and the Admin UI read of a socket must be present and have the right type: `handshake`, its
//! `headers` and `query`, and `data` are objects. A server that misses one of them fails with an unhandled rejection.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::model::{Handshake, SocketDetails};

/// A JSON list of sockets. Their handshakes have these headers, if the node has kept them.
pub(super) fn list(sockets: &[SocketDetails], headers: &[String]) -> String {
    let sockets = sockets.iter().map(|details| socket(details, headers));
    Value::from(sockets.collect::<Vec<_>>()).to_string()
}

fn socket(details: &SocketDetails, headers: &[String]) -> Value {
    let handshake = details.handshake.as_deref();
    let address = handshake.and_then(|handshake| handshake.address);
    let shown = handshake.map(|handshake| shown(handshake, headers));
    let shown = shown.unwrap_or_default();
    let is_cross_origin = shown.contains_key("origin");
    let id = details.socket.as_str();
    let rooms = details.rooms.iter().map(|room| Value::from(room.as_str()));
    let rooms: Vec<Value> = std::iter::once(Value::from(id)).chain(rooms).collect();
    json!({
        "id": id,
        "handshake": {
            "headers": shown,
            "time": time(details.connected_at),
            "address": address.map(|address| address.to_string()).unwrap_or_default(),
            "xdomain": is_cross_origin,
            "secure": handshake.is_some_and(|handshake| handshake.secure),
            "issued": details.connected_at.saturating_mul(1000),
            "url": "",
            "query": {},
            "auth": {},
        },
        "rooms": rooms,
        "data": {},
    })
}

/// The headers of a handshake with these names. Values of a repeated header are joined as Node does.
fn shown(handshake: &Handshake, names: &[String]) -> Map<String, Value> {
    let values = |name: &str| {
        let headers = handshake.headers.iter();
        let values = headers.filter(|(known, _)| *known == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let named = names.iter().map(|name| (name, values(name)));
    let present = named.filter(|(_, values)| !values.is_empty());
    present
        .map(|(name, values)| (name.clone(), Value::from(values.join(", "))))
        .collect()
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
            handshake: None,
        };
        let list: Value = serde_json::from_str(&list(&[details], &["origin".into()])).unwrap();
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

    #[test]
    fn handshakes_show_chosen_headers_and_neither_query_nor_cookies() {
        let handshake = Handshake {
            query: "EIO=4&token=secret".into(),
            headers: vec![
                ("x-team", "red".into()),
                ("authorization", "Bearer secret".into()),
                ("x-team", "blue".into()),
                ("origin", "https://a.example".into()),
            ],
            cookies: "session=secret".into(),
            address: Some([192, 0, 2, 7].into()),
            secure: true,
            revision: 4,
        };
        let node = NodeId::parse("abcd").unwrap();
        let details = SocketDetails {
            socket: SocketId::random(node, Default::default(), &OsRandom),
            connected_at: 1_700_000_000,
            rooms: Vec::new(),
            handshake: Some(handshake.into()),
        };
        let names = ["origin", "x-team", "x-absent"].map(String::from);
        let shown = list(&[details], &names);
        let list: Value = serde_json::from_str(&shown).unwrap();
        let handshake = &list[0]["handshake"];
        let headers = json!({"origin": "https://a.example", "x-team": "red, blue"});
        assert_eq!(handshake["headers"], headers);
        assert_eq!(handshake["address"], "192.0.2.7");
        assert_eq!(
            (&handshake["secure"], &handshake["xdomain"]),
            (&json!(true), &json!(true))
        );
        for name in ["query", "auth"] {
            assert_eq!(handshake[name], json!({}), "{name}");
        }
        assert!(!shown.contains("secret"), "{shown}");
    }
}
