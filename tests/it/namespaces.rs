//! Namespaces: which exist, how many a connection may be in, and that they are apart.

use std::time::Duration;

use crate::support::{Frame, TestServer, field};

/// More than the second in which a CONNECT counts as sent before the answer to the one before.
const PAST_REPEATS: Duration = Duration::from_millis(1100);

#[actix_rt::test]
async fn only_the_configured_ones_exist() {
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
async fn a_connection_may_be_in_so_many_at_a_time() {
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
async fn connects_repeated_before_the_answer_are_all_answered_and_the_last_counts() {
    let server = TestServer::start().await;
    let mut member = server.member().await;
    let mut client = server.polling().await;
    client.send("40\u{1e}40").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = client.next().await;
        ids.push(field(answer.strip_prefix("40").unwrap(), "sid"));
    }
    assert_ne!(ids[0], ids[1]);
    // One socket is left, under the id that the client took last.
    member.emit(&ids[0], r#""to the first""#).await;
    member.emit(&ids[1], r#""to the last""#).await;
    client.expect(r#"42["to the last"]"#).await;
    // Much later it is an error of the client, as at the reference server.
    tokio::time::sleep(PAST_REPEATS).await;
    client.send("40").await;
    assert_eq!(client.next().await, "1", "the session is closed");
}

#[actix_rt::test]
async fn a_page_that_leaves_a_namespace_and_comes_back_at_once_keeps_its_connection() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let mut client = server.websocket().await;
    client.connect("/b").await;
    // The stock client sends this for connect, disconnect, connect; the second frame may come behind the first answer.
    let mut ids = Vec::new();
    for _ in 0..2 {
        client.send("40").await;
        let answer = client.text().await;
        ids.push(field(answer.strip_prefix("40").unwrap(), "sid"));
    }
    assert_ne!(ids[0], ids[1]);
    tokio::time::sleep(PAST_REPEATS).await;
    client.send("40").await;
    assert!(matches!(client.rest().await[..], [Frame::Close(..)]));
}

#[actix_rt::test]
async fn rooms_of_the_same_name_are_apart() {
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
    let answer = a.text().await;
    assert!(answer.starts_with(r#"43/b,5[{"#), "{answer}");
    b.send(r#"42/b,["roomwire:emit","r","in b"]"#).await;
    a.expect(r#"42/b,["in b"]"#).await;
    a.quiet().await;
}

#[actix_rt::test]
async fn leaving_one_leaves_the_others() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let mut client = server.websocket().await;
    client.connect("/b").await;
    client.connect("/").await;
    client.send("41/b,").await;
    client.quiet().await;
    // A packet for a namespace that was left breaks the rules.
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
async fn nothing_reaches_a_socket_before_its_connect_answer() {
    let server = TestServer::start().await;
    let mut sender = server.member().await;
    for _ in 0..20 {
        let mut client = server.websocket().await;
        // Join in the same breath as the connect: events are taken in order.
        client.send("40").await;
        client.send(r#"421["roomwire:join","r"]"#).await;
        assert!(client.text().await.starts_with("40{"));
        assert!(client.text().await.starts_with("431[{"));
        sender.emit("r", r#""e""#).await;
        client.expect(r#"42["e"]"#).await;
        client.send("1").await;
    }
}
