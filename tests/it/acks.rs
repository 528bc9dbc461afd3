//! Acks of clients: `roomwire:ask`, which resolves to the first ack of another client.

use std::time::{Duration, Instant};

use crate::support::{TestCluster, TestServer, WebsocketClient};

/// The id and text of the next packet, which must be an event that requests an ack.
pub async fn event_with_ack(client: &mut WebsocketClient) -> (u32, String) {
    let text = client.text().await;
    let event = text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"));
    let bracket = event.find('[').unwrap();
    (
        event[..bracket].parse().unwrap(),
        event[bracket..].to_owned(),
    )
}

#[actix_rt::test]
async fn an_ask_resolves_to_the_ack_of_the_other_client() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    for (response, expected) in [
        (
            r#"["yes",{"n":1}]"#,
            r#"[{"ok":true,"answer":["yes",{"n":1}]}]"#,
        ),
        ("[]", r#"[{"ok":true,"answer":[]}]"#),
    ] {
        a.send(&format!(
            r#"427["roomwire:ask","{to}","question",{{"q":1}}]"#
        ))
        .await;
        let (id, event) = event_with_ack(&mut b).await;
        assert_eq!(event, r#"["question",{"q":1}]"#);
        b.send(&format!("43{id}{response}")).await;
        a.expect(&format!("437{expected}")).await;
        // A second ack of the same event is dropped.
        b.send(&format!(r#"43{id}["again"]"#)).await;
        b.quiet().await;
        a.quiet().await;
    }
}

#[actix_rt::test]
async fn the_first_ack_of_a_room_counts() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut c) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    b.join("r").await;
    c.join("r").await;
    a.send(r#"420["roomwire:ask","r","who"]"#).await;
    let (id_at_b, _) = event_with_ack(&mut b).await;
    let (id_at_c, _) = event_with_ack(&mut c).await;
    assert_eq!(id_at_b, id_at_c, "one packet serves the room");
    c.send(&format!(r#"43{id_at_c}["c"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["c"]}]"#).await;
    b.send(&format!(r#"43{id_at_b}["b"]"#)).await;
    b.quiet().await;
    a.quiet().await;
}

#[actix_rt::test]
async fn acks_of_a_client_that_received_no_event_are_dropped() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut intruder) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","secret"]"#))
        .await;
    let (id, _) = event_with_ack(&mut b).await;
    for wrong in [id, id + 1, 0, u32::MAX] {
        intruder.send(&format!(r#"43{wrong}["stolen"]"#)).await;
    }
    intruder
        .send(r#"4399999999999999999999["far too large"]"#)
        .await;
    intruder.quiet().await;
    b.send(&format!(r#"43{id}["mine"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["mine"]}]"#).await;
}

#[actix_rt::test]
async fn an_ack_may_have_attachments() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(
        r#"451-3["roomwire:ask","{to}","file",{{"_placeholder":true,"num":0}}]"#
    ))
    .await;
    a.send_binary(&[1, 2, 3]).await;
    let text = b.text().await;
    let id: u32 = text
        .strip_prefix("451-")
        .and_then(|rest| rest.split('[').next())
        .unwrap()
        .parse()
        .unwrap();
    b.expect_binary(&[1, 2, 3]).await;
    b.send(&format!(r#"461-{id}[{{"_placeholder":true,"num":0}}]"#))
        .await;
    b.send_binary(&[4, 5]).await;
    a.expect(r#"461-3[{"ok":true,"answer":[{"_placeholder":true,"num":0}]}]"#)
        .await;
    a.expect_binary(&[4, 5]).await;
}

#[actix_rt::test]
async fn acks_count_only_in_the_namespace_of_their_event() {
    let server = TestServer::with(&[("SOCKET__NAMESPACES", "/,/b")]).await;
    let (mut a, mut b) = (server.websocket().await, server.websocket().await);
    a.connect("/").await;
    a.connect("/b").await;
    let main = b.connect("/").await;
    let second = b.connect("/b").await;
    a.send(&format!(r#"420["roomwire:ask","{main}","in main"]"#))
        .await;
    a.send(&format!(r#"42/b,0["roomwire:ask","{second}","in b"]"#))
        .await;
    let (main_id, event) = event_with_ack(&mut b).await;
    assert_eq!(event, r#"["in main"]"#);
    let text = b.text().await;
    let second_id: u32 = text
        .strip_prefix("42/b,")
        .and_then(|rest| rest.strip_suffix(r#"["in b"]"#))
        .unwrap()
        .parse()
        .unwrap();
    // The right id in the wrong namespace is not an ack.
    b.send(&format!(r#"43/b,{main_id}["wrong"]"#)).await;
    b.send(&format!(r#"43/b,{second_id}["b"]"#)).await;
    a.expect(r#"43/b,0[{"ok":true,"answer":["b"]}]"#).await;
    b.send(&format!(r#"43{main_id}["main"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["main"]}]"#).await;
}

#[actix_rt::test]
async fn concurrent_asks_resolve_in_any_order() {
    let server = TestServer::start().await;
    let mut b = server.member().await;
    let to = b.socket.clone();
    let mut senders = Vec::new();
    let mut ids = Vec::new();
    for number in 0..20 {
        let mut sender = server.member().await;
        sender
            .send(&format!(r#"420["roomwire:ask","{to}","q",{number}]"#))
            .await;
        let (id, event) = event_with_ack(&mut b).await;
        assert_eq!(event, format!(r#"["q",{number}]"#));
        senders.push(sender);
        ids.push(id);
    }
    for (number, id) in ids.iter().enumerate().rev() {
        b.send(&format!("43{id}[{number}]")).await;
    }
    for (number, sender) in senders.iter_mut().enumerate() {
        sender
            .expect(&format!(r#"430[{{"ok":true,"answer":[{number}]}}]"#))
            .await;
    }
}

#[actix_rt::test]
async fn beyond_max_pending_acks_the_oldest_ack_is_dropped() {
    let server = TestServer::with(&[("SOCKET__MAX_PENDING_ACKS", "2")]).await;
    let mut b = server.member().await;
    let to = b.socket.clone();
    let mut senders = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut sender = server.member().await;
        sender
            .send(&format!(r#"420["roomwire:ask","{to}","q"]"#))
            .await;
        ids.push(event_with_ack(&mut b).await.0);
        senders.push(sender);
    }
    for id in &ids {
        b.send(&format!("43{id}[1]")).await;
    }
    for sender in &mut senders[1..] {
        sender.expect(r#"430[{"ok":true,"answer":[1]}]"#).await;
    }
    assert_eq!(server.metrics().acks_dropped_total.get(), 1);
}

#[actix_rt::test]
async fn later_events_are_acknowledged_before_a_pending_ask() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","q"]"#)).await;
    a.send(r#"421["roomwire:leave","x"]"#).await;
    a.emit(&to, r#""after""#).await;
    let (id, _) = event_with_ack(&mut b).await;
    a.expect(r#"431[{"ok":true,"room":"x"}]"#).await;
    b.expect(r#"42["after"]"#).await;
    b.send(&format!("43{id}[]")).await;
    a.expect(r#"430[{"ok":true,"answer":[]}]"#).await;
}

/// Emits `roomwire:ask` to a room, and checks that `no_answer` arrives before the deadline of 10 s.
async fn expect_no_answer(client: &mut WebsocketClient, room: &str) {
    let begun = Instant::now();
    let response = client
        .ask(&format!(r#"["roomwire:ask","{room}","q"]"#))
        .await;
    assert!(response.contains(r#""code":"no_answer""#), "{response}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{room}: after {:?}",
        begun.elapsed()
    );
}

#[actix_rt::test]
async fn an_ask_to_a_room_without_other_members_fails_at_once() {
    let server = TestServer::start().await;
    let (mut a, b) = (server.member().await, server.member().await);
    expect_no_answer(&mut a, "empty").await;
    a.join("alone").await;
    expect_no_answer(&mut a, "alone").await;
    let gone = b.socket.clone();
    drop(b);
    server.sessions(1).await;
    expect_no_answer(&mut a, &gone).await;
}

#[actix_rt::test]
async fn an_ask_to_a_room_without_other_members_in_the_cluster_fails_at_once() {
    let cluster = TestCluster::<3>::start().await;
    let [first, second, _] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    expect_no_answer(&mut a, "empty").await;
    a.join("r").await;
    expect_no_answer(&mut a, "r").await;
    // A member on another node receives the event, although this node has no member but the sender.
    b.join("r").await;
    a.send(r#"421["roomwire:ask","r","q"]"#).await;
    let (id, _) = event_with_ack(&mut b).await;
    b.send(&format!(r#"43{id}["b"]"#)).await;
    a.expect(r#"431[{"ok":true,"answer":["b"]}]"#).await;
    let gone = b.socket.clone();
    drop(b);
    second.sessions(0).await;
    expect_no_answer(&mut a, "r").await;
    expect_no_answer(&mut a, &gone).await;
}

#[actix_rt::test]
async fn events_do_not_wait_for_100_pending_asks() {
    let server = TestServer::start().await;
    let (mut a, mut silent) = (server.member().await, server.member().await);
    silent.join("r").await;
    for number in 0..100 {
        a.send(&format!(r#"42{number}["roomwire:ask","r","q"]"#))
            .await;
    }
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(event_with_ack(&mut silent).await.0);
    }
    a.join("other").await;
    a.quiet().await;
    for (number, id) in ids.into_iter().enumerate().rev() {
        silent.send(&format!(r#"43{id}[{number}]"#)).await;
        a.expect(&format!(r#"43{number}[{{"ok":true,"answer":[{number}]}}]"#))
            .await;
    }
}

#[actix_rt::test]
async fn events_wait_for_one_of_101_pending_asks() {
    let server = TestServer::start().await;
    let (mut a, mut silent) = (server.member().await, server.member().await);
    silent.join("r").await;
    for number in 0..101 {
        a.send(&format!(r#"42{number}["roomwire:ask","r","q"]"#))
            .await;
    }
    a.send(r#"42500["roomwire:leave","x"]"#).await;
    let mut last = 0;
    for _ in 0..101 {
        last = event_with_ack(&mut silent).await.0;
    }
    silent.send(&format!("43{last}[]")).await;
    a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    a.expect(r#"43500[{"ok":true,"room":"x"}]"#).await;
}
