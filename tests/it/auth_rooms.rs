//! Rooms that a token puts its user into.

use roomwire::bus::memory::Hub;
use serde_json::json;

use crate::support::server::config;
use crate::support::tokens::{SETTING, token};
use crate::support::{TestCluster, TestServer};

#[actix_rt::test]
async fn a_socket_is_in_the_rooms_of_its_token_before_its_connect_response() {
    let node = TestServer::with(&[SETTING, ("SOCKET__MAX_ROOMS", "4")]).await;
    let mut sender = node.websocket().await;
    sender
        .send(&format!(
            r#"40{{"token":"{}"}}"#,
            token(json!({"sub": "bob", "roomwire": {"can": {"*": ["emit"]}}}))
        ))
        .await;
    sender.text().await;
    let rooms = json!({"roomwire": {"rooms": ["team:1", "team:1", "news", "beyond", "limit"]}});
    let mut member = node.websocket().await;
    member
        .send(&format!(r#"40{{"token":"{}"}}"#, token(rooms)))
        .await;
    assert!(member.text().await.starts_with("40{"));
    for room in ["team:1", "news", "limit", "beyond"] {
        let event = format!(r#"["roomwire:emit","{room}","said","{room}"]"#);
        sender.ask(&event).await;
    }
    member.expect(r#"42["said","team:1"]"#).await;
    member.expect(r#"42["said","news"]"#).await;
    // With the room of the user, the next one is beyond socket.max_rooms.
    member.expect(r#"42["said","beyond"]"#).await;
    member.quiet().await;
}

#[actix_rt::test]
async fn the_connect_response_waits_until_the_bus_delivers_to_the_rooms() {
    let cluster = TestCluster::<2>::configured(&config(&[SETTING]), Hub::default()).await;
    let [near, far] = &cluster.nodes;
    let mut sender = far.websocket().await;
    sender
        .send(&format!(
            r#"40{{"token":"{}"}}"#,
            token(json!({"roomwire": {"can": {"*": ["emit"]}}}))
        ))
        .await;
    sender.text().await;
    // Repeated, because only the first member of a room needs a subscription.
    for round in 0..20 {
        let room = format!("room:{round}");
        let mut member = near.websocket().await;
        let rooms = json!({"roomwire": {"rooms": [room]}});
        member
            .send(&format!(r#"40{{"token":"{}"}}"#, token(rooms)))
            .await;
        assert!(member.text().await.starts_with("40{"));
        sender
            .ask(&format!(r#"["roomwire:emit","{room}","said",{round}]"#))
            .await;
        member.expect(&format!(r#"42["said",{round}]"#)).await;
    }
}

#[actix_rt::test]
async fn a_client_with_rooms_connects_while_the_bus_is_away_and_leaves_no_subscription() {
    let cluster = TestCluster::<2>::configured(&config(&[SETTING]), Hub::default()).await;
    let [near, _] = &cluster.nodes;
    let rooms = json!({"roomwire": {"rooms": ["a", "b"]}});
    let connect = format!(r#"40{{"token":"{}"}}"#, token(rooms));
    cluster.cut(0);
    let mut member = near.websocket().await;
    member.send(&connect).await;
    assert!(member.text().await.starts_with("40{"));
    cluster.heal(0);
    near.readyz("bus: up").await;
    let mut other = near.websocket().await;
    other.send(&connect).await;
    assert!(other.text().await.starts_with("40{"));
    // Leaves at once, perhaps before it is connected.
    let mut hasty = near.websocket().await;
    hasty.send(&connect).await;
    drop((member, other, hasty));
    near.sessions(0).await;
    crate::support::eventually("no room is left", || near.metrics().rooms.get() == 0).await;
}
