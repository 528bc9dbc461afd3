//! Questions to clients and their answers.

use std::time::{Duration, Instant};

use crate::support::{TestCluster, TestServer, WebsocketClient};

/// The next packet must be an event that wants an ack; its id and the event.
pub async fn asked(client: &mut WebsocketClient) -> (u32, String) {
    let text = client.text().await;
    let event = text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"));
    let bracket = event.find('[').unwrap();
    (
        event[..bracket].parse().unwrap(),
        event[bracket..].to_owned(),
    )
}

#[actix_rt::test]
async fn a_client_asks_another() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    for (answer, expected) in [
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
        let (id, event) = asked(&mut b).await;
        assert_eq!(event, r#"["question",{"q":1}]"#);
        b.send(&format!("43{id}{answer}")).await;
        a.expect(&format!("437{expected}")).await;
        // A second answer to the same question is nobody's.
        b.send(&format!(r#"43{id}["again"]"#)).await;
        b.quiet().await;
        a.quiet().await;
    }
}

#[actix_rt::test]
async fn of_a_room_the_first_answer_counts() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut c) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    b.join("r").await;
    c.join("r").await;
    a.send(r#"420["roomwire:ask","r","who"]"#).await;
    let (of_b, _) = asked(&mut b).await;
    let (of_c, _) = asked(&mut c).await;
    assert_eq!(of_b, of_c, "one packet serves the room");
    c.send(&format!(r#"43{of_c}["c"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["c"]}]"#).await;
    b.send(&format!(r#"43{of_b}["b"]"#)).await;
    b.quiet().await;
    a.quiet().await;
}

#[actix_rt::test]
async fn who_was_not_asked_cannot_answer() {
    let server = TestServer::start().await;
    let (mut a, mut b, mut thief) = (
        server.member().await,
        server.member().await,
        server.member().await,
    );
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","secret"]"#))
        .await;
    let (id, _) = asked(&mut b).await;
    for wrong in [id, id + 1, 0, u32::MAX] {
        thief.send(&format!(r#"43{wrong}["stolen"]"#)).await;
    }
    thief
        .send(r#"4399999999999999999999["far too large"]"#)
        .await;
    thief.quiet().await;
    b.send(&format!(r#"43{id}["mine"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["mine"]}]"#).await;
}

#[actix_rt::test]
async fn answers_may_carry_bytes() {
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
async fn questions_of_two_namespaces_do_not_mix() {
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
    let (main_id, event) = asked(&mut b).await;
    assert_eq!(event, r#"["in main"]"#);
    let text = b.text().await;
    let second_id: u32 = text
        .strip_prefix("42/b,")
        .and_then(|rest| rest.strip_suffix(r#"["in b"]"#))
        .unwrap()
        .parse()
        .unwrap();
    // In the wrong namespace first: not an answer.
    b.send(&format!(r#"43/b,{main_id}["wrong"]"#)).await;
    b.send(&format!(r#"43/b,{second_id}["b"]"#)).await;
    a.expect(r#"43/b,0[{"ok":true,"answer":["b"]}]"#).await;
    b.send(&format!(r#"43{main_id}["main"]"#)).await;
    a.expect(r#"430[{"ok":true,"answer":["main"]}]"#).await;
}

#[actix_rt::test]
async fn many_questions_at_a_time_are_answered_in_any_order() {
    let server = TestServer::start().await;
    let mut b = server.member().await;
    let to = b.socket.clone();
    let mut askers = Vec::new();
    let mut ids = Vec::new();
    for number in 0..20 {
        let mut asker = server.member().await;
        asker
            .send(&format!(r#"420["roomwire:ask","{to}","q",{number}]"#))
            .await;
        let (id, event) = asked(&mut b).await;
        assert_eq!(event, format!(r#"["q",{number}]"#));
        askers.push(asker);
        ids.push(id);
    }
    for (number, id) in ids.iter().enumerate().rev() {
        b.send(&format!("43{id}[{number}]")).await;
    }
    for (number, asker) in askers.iter_mut().enumerate() {
        asker
            .expect(&format!(r#"430[{{"ok":true,"answer":[{number}]}}]"#))
            .await;
    }
}

#[actix_rt::test]
async fn who_owes_too_many_acks_is_not_asked_for_the_oldest_any_more() {
    let server = TestServer::with(&[("SOCKET__MAX_PENDING_ACKS", "2")]).await;
    let mut b = server.member().await;
    let to = b.socket.clone();
    let mut askers = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut asker = server.member().await;
        asker
            .send(&format!(r#"420["roomwire:ask","{to}","q"]"#))
            .await;
        ids.push(asked(&mut b).await.0);
        askers.push(asker);
    }
    for id in &ids {
        b.send(&format!("43{id}[1]")).await;
    }
    for asker in &mut askers[1..] {
        asker.expect(r#"430[{"ok":true,"answer":[1]}]"#).await;
    }
    assert_eq!(server.metrics().acks_dropped_total.get(), 1);
}

#[actix_rt::test]
async fn later_events_of_a_socket_are_answered_before_its_question_is() {
    let server = TestServer::start().await;
    let (mut a, mut b) = (server.member().await, server.member().await);
    let to = b.socket.clone();
    a.send(&format!(r#"420["roomwire:ask","{to}","q"]"#)).await;
    a.send(r#"421["roomwire:leave","x"]"#).await;
    a.emit(&to, r#""after""#).await;
    let (id, _) = asked(&mut b).await;
    a.expect(r#"431[{"ok":true,"room":"x"}]"#).await;
    b.expect(r#"42["after"]"#).await;
    b.send(&format!("43{id}[]")).await;
    a.expect(r#"430[{"ok":true,"answer":[]}]"#).await;
}

/// Sends the question and checks that the answer comes long before the 10 s for which answers are waited for.
async fn nobody_to_ask(client: &mut WebsocketClient, room: &str) {
    let begun = Instant::now();
    let answer = client
        .ask(&format!(r#"["roomwire:ask","{room}","q"]"#))
        .await;
    assert!(answer.contains(r#""code":"no_answer""#), "{answer}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{room}: after {:?}",
        begun.elapsed()
    );
}

#[actix_rt::test]
async fn a_question_to_a_room_without_members_is_answered_at_once() {
    let server = TestServer::start().await;
    let (mut a, b) = (server.member().await, server.member().await);
    nobody_to_ask(&mut a, "empty").await;
    a.join("alone").await;
    nobody_to_ask(&mut a, "alone").await;
    let gone = b.socket.clone();
    drop(b);
    server.sessions(1).await;
    nobody_to_ask(&mut a, &gone).await;
}

#[actix_rt::test]
async fn a_question_to_a_room_without_members_in_the_cluster_is_answered_at_once() {
    let cluster = TestCluster::<3>::start().await;
    let [first, second, _] = &cluster.nodes;
    let (mut a, mut b) = (first.member().await, second.member().await);
    nobody_to_ask(&mut a, "empty").await;
    a.join("r").await;
    nobody_to_ask(&mut a, "r").await;
    // A member on another node is asked, though this node has nobody but the asker.
    b.join("r").await;
    a.send(r#"421["roomwire:ask","r","q"]"#).await;
    let (id, _) = asked(&mut b).await;
    b.send(&format!(r#"43{id}["b"]"#)).await;
    a.expect(r#"431[{"ok":true,"answer":["b"]}]"#).await;
    let gone = b.socket.clone();
    drop(b);
    second.sessions(0).await;
    nobody_to_ask(&mut a, "r").await;
    nobody_to_ask(&mut a, &gone).await;
}

#[actix_rt::test]
async fn events_do_not_wait_for_a_question_under_way() {
    let server = TestServer::start().await;
    let (mut a, mut silent) = (server.member().await, server.member().await);
    silent.join("r").await;
    for number in 0..100 {
        a.send(&format!(r#"42{number}["roomwire:ask","r","q"]"#))
            .await;
    }
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(asked(&mut silent).await.0);
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
async fn a_socket_with_very_many_questions_under_way_waits_for_one_of_them() {
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
        last = asked(&mut silent).await.0;
    }
    silent.send(&format!("43{last}[]")).await;
    a.expect(r#"43100[{"ok":true,"answer":[]}]"#).await;
    a.expect(r#"43500[{"ok":true,"room":"x"}]"#).await;
}
