//! Namespaces: which exist, how many a session may connect to, and that they are separate.

use std::time::Duration;

use crate::support::{Frame, TestServer, field};

/// More than the second within which a repeated CONNECT counts as sent before the response to the previous one.
const PAST_REPEATS: Duration = Duration::from_millis(1100);

#[actix_rt::test]
async fn only_configured_namespaces_exist() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/chat,/team-*")]).await;
    let mut client = server.websocket().await;
    for name in ["/", "/chat", "/team-red", "/team-"] {
        client.connect(name).await;
    }
    for name in ["/other", "/chat2", "/teams", "/chat/x"] {
        client.send(&format!("40{name},")).await;
        client
            .expect(&format!(r#"44{name},{{"message":"Invalid namespace"}}"#))
            .await;
    }
    client.quiet().await;
}

#[actix_rt::test]
async fn a_session_connects_to_max_namespaces_at_a_time() {
    let server = TestServer::with(&[
        ("SOCKET__NAMESPACES", "/*"),
        ("SOCKET__MAX_NAMESPACES", "3"),
    ])
    .await;
    let mut client = server.websocket().await;
    for name in ["/1", "/2", "/3"] {
        client.connect(name).await;
    }
    client.send("40/4,").await;
    client
        .expect(r#"44/4,{"message":"Too many namespaces","data":{"code":"too_many_namespaces","key":"socket.max_namespaces"}}"#)
        .await;
    client.send("41/2,").await;
    client.connect("/4").await;
}

#[actix_rt::test]
async fn each_connect_repeated_before_the_response_gets_a_response_and_the_last_one_counts() {
    let server = TestServer::start().await;
    let mut member = server.member().await;
    let mut client = server.polling().await;
    client.send("40\u{1e}40").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response = client.next().await;
        ids.push(field(response.strip_prefix("40").unwrap(), "sid"));
    }
    assert_ne!(ids[0], ids[1]);
    // One socket is left, with the id of the last response.
    member.emit(&ids[0], r#""to the first""#).await;
    member.emit(&ids[1], r#""to the last""#).await;
    client.expect(r#"42["to the last"]"#).await;
    // Much later, a repeated CONNECT is a protocol error, as in the reference server.
    tokio::time::sleep(PAST_REPEATS).await;
    client.send("40").await;
    assert_eq!(client.next().await, "1", "the session is closed");
}

#[actix_rt::test]
async fn a_client_may_reconnect_to_a_namespace_at_once() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let mut client = server.websocket().await;
    client.connect("/b").await;
    // The stock client sends this for connect, disconnect, connect; the second packet may arrive after the first response.
    let mut ids = Vec::new();
    for _ in 0..2 {
        client.send("40").await;
        let response = client.text().await;
        ids.push(field(response.strip_prefix("40").unwrap(), "sid"));
    }
    assert_ne!(ids[0], ids[1]);
    tokio::time::sleep(PAST_REPEATS).await;
    client.send("40").await;
    assert!(matches!(client.rest().await[..], [Frame::Close(..)]));
}

#[actix_rt::test]
async fn rooms_of_the_same_name_in_two_namespaces_are_separate() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let (mut a, mut b) = (server.websocket().await, server.websocket().await);
    for client in [&mut a, &mut b] {
        client.connect("/b").await;
        client.connect("/").await;
    }
    a.join("r").await;
    b.send(r#"42/b,["roomwire:emit","r","in b"]"#).await;
    b.send(r#"42["roomwire:emit","r","in main"]"#).await;
    a.expect(r#"42["in main"]"#).await;
    a.send(r#"42/b,5["roomwire:join","r"]"#).await;
    let response = a.text().await;
    assert!(response.starts_with(r#"43/b,5[{"#), "{response}");
    b.send(r#"42/b,["roomwire:emit","r","in b"]"#).await;
    a.expect(r#"42/b,["in b"]"#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn disconnecting_from_a_namespace_does_not_affect_the_others() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let mut client = server.websocket().await;
    client.connect("/b").await;
    client.connect("/").await;
    client.send("41/b,").await;
    client.quiet().await;
    // A packet for a namespace that the client has left is a protocol error.
    client.send(r#"42/b,["e"]"#).await;
    assert!(matches!(client.rest().await[..], [Frame::Close(..)]));
}

#[actix_rt::test]
async fn auth_must_be_an_object_or_absent() {
    let server = TestServer::start().await;
    let mut client = server.websocket().await;
    client.send(r#"40{"token":"abc"}"#).await;
    assert!(client.text().await.starts_with(r#"40{"sid":""#));
    for auth in ["[]", "true", r#""text""#] {
        let mut client = server.websocket().await;
        client.send(&format!("40{auth}")).await;
        let seen = client.rest().await;
        assert!(matches!(seen[..], [Frame::Close(..)]), "{auth}: {seen:?}");
    }
}

#[actix_rt::test]
async fn no_event_reaches_a_socket_before_its_connect_response() {
    let server = TestServer::start().await;
    let mut sender = server.member().await;
    for _ in 0..20 {
        let mut client = server.websocket().await;
        // Joins together with the CONNECT: packets are handled in order.
        client.send("40").await;
        client.send(r#"421["roomwire:join","r"]"#).await;
        assert!(client.text().await.starts_with("40{"));
        assert!(client.text().await.starts_with("431[{"));
        sender.emit("r", r#""e""#).await;
        client.expect(r#"42["e"]"#).await;
        client.send("1").await;
    }
}
