//! The rooms of users: joined with the CONNECT, and closed to requests of clients.

use roomwire::bus::memory::Hub;
use roomwire::metrics::labels::Origin;
use roomwire::model::{Command, Emit, Payload};

use crate::support::cluster::room;
use crate::support::server::{config, config_with_file};
use crate::support::user_gate::users;
use crate::support::{TestCluster, TestServer};

#[actix_rt::test]
async fn a_user_is_reached_on_every_node_by_the_room_of_the_user() {
    let cluster = TestCluster::<2>::extended(&config(&[]), Hub::default(), &users()).await;
    let [first, second] = &cluster.nodes;
    let mut phone = first.user("alice").await;
    let mut desktop = second.user("alice").await;
    let mut other = second.user("bob").await;
    let mut anonymous = second.member().await;
    // The subscription of a room is confirmed after the CONNECT response.
    phone.join("r").await;
    desktop.join("r").await;
    let emit = Command::Emit(Emit {
        to: room("user:alice"),
        payload: Payload::text(r#"["for alice"]"#),
        volatile: false,
        ack: None,
        conflate: None,
    });
    first.server.ingress().dispatch(emit, Origin::Local);
    phone.expect(r#"42["for alice"]"#).await;
    desktop.expect(r#"42["for alice"]"#).await;
    other.join("r").await;
    anonymous.join("r").await;
}

#[actix_rt::test]
async fn a_client_reaches_the_room_of_a_user_only_by_an_entry_and_can_neither_join_nor_leave_it() {
    let settings = [("AUTH__USER_ROOM", "{user}@users")];
    let entry = "[[app.relay.rooms]]\npattern = \"bob@users\"\npublish = \"anyone\"\n";
    let config = config_with_file(&settings, Some(entry));
    let node = TestServer::extended(config, None, users()).await;
    let mut alice = node.user("alice").await;
    let mut bob = node.user("bob").await;
    for request in [
        r#"["roomwire:join","alice@users"]"#,
        r#"["roomwire:join","bob@users"]"#,
        r#"["roomwire:leave","bob@users"]"#,
        r#"["roomwire:emit","alice@users","hi"]"#,
        r#"["roomwire:ask","alice@users","hi"]"#,
        r#"["roomwire:members","alice@users"]"#,
    ] {
        let response = bob.ask(request).await;
        assert!(response.contains(r#""code":"room_reserved""#), "{response}");
    }
    bob.join("user:alice").await;
    alice.emit("bob@users", r#""still there""#).await;
    bob.expect(r#"42["still there"]"#).await;
}

#[actix_rt::test]
async fn rooms_like_those_of_users_are_ordinary_without_gates() {
    let node = TestServer::start().await;
    let mut client = node.member().await;
    client.join("user:alice").await;
    let response = client.ask(r#"["roomwire:leave","user:alice"]"#).await;
    assert_eq!(response, r#"[{"ok":true,"room":"user:alice"}]"#);
}
