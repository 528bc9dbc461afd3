//! A node in front of a Socket.IO server: upstream connections, their limits, their loss.
//!
//! The server behind is a Roomwire node with the `echo` app, or one whose wire a test writes by hand.

use roomwire::metrics::labels::UpstreamEventKind;
use tokio::net::TcpListener;

use crate::support::upstream::{RawUpstream, front, front_of};
use crate::support::{Frame, TestServer, WebsocketClient, field, filler};

/// A node with these settings, a client of it, and the client's upstream connection at a server by hand.
async fn carried(
    settings: &[(&str, &str)],
) -> (TestServer, WebsocketClient, RawUpstream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], settings).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let upstream = RawUpstream::joined(&listener).await;
    assert!(client.text().await.starts_with("40{"));
    (front, client, upstream, listener)
}

#[actix_rt::test]
async fn events_acks_and_auth_pass_both_ways() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(&behind, &[]).await;
    let mut client = front.websocket().await;
    client.send(r#"40{"token":"t"}"#).await;
    let answer = client.text().await;
    assert!(answer.starts_with(r#"40{"sid":""#), "{answer}");
    // The echo says what auth it got.
    client.expect(r#"42["auth",{"token":"t"}]"#).await;
    client.send(r#"42["message",1,{"a":"b"}]"#).await;
    client.expect(r#"42["message-back",1,{"a":"b"}]"#).await;
    client.send(r#"427["message-with-ack","x"]"#).await;
    client.expect(r#"437["x"]"#).await;
    client
        .send(r#"4299999999999999999999["message-with-ack","y"]"#)
        .await;
    client.expect(r#"4399999999999999999999["y"]"#).await;
    client
        .send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    client.send_binary(&[1, 2]).await;
    client.send_binary(&[3]).await;
    client
        .expect(
            r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
        )
        .await;
    client.expect_binary(&[1, 2]).await;
    client.expect_binary(&[3]).await;
    client
        .send(r#"451-8["message-with-ack",{"_placeholder":true,"num":0}]"#)
        .await;
    client.send_binary(&[4]).await;
    client
        .expect(r#"461-8[{"_placeholder":true,"num":0}]"#)
        .await;
    client.expect_binary(&[4]).await;
    assert_eq!(front.metrics().upstream_connections.get(), 1);
    drop(client);
    front.sessions(0).await;
    behind.sessions(0).await;
    crate::support::eventually("no upstream is left", || {
        front.metrics().upstream_connections.get() == 0
    })
    .await;
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn every_namespace_has_a_leg_of_its_own() {
    let names = [("SOCKET__NAMESPACES", "/,/custom")];
    let behind = TestServer::with(&[("APP__KIND", "echo"), names[0]]).await;
    let front = front(&behind, &names).await;
    let mut client = front.websocket().await;
    client.connect("/custom").await;
    client.expect(r#"42/custom,["auth",{}]"#).await;
    client.connect("/").await;
    client.expect(r#"42["auth",{}]"#).await;
    client.send(r#"42/custom,5["message-with-ack",1]"#).await;
    client.expect("43/custom,5[1]").await;
    assert_eq!(front.metrics().upstream_connections.get(), 2);
    client.send("41/custom,").await;
    crate::support::eventually("one upstream is left", || {
        front.metrics().upstream_connections.get() == 1
    })
    .await;
    client.send(r#"425["message-with-ack",2]"#).await;
    client.expect("435[2]").await;
}

#[actix_rt::test]
async fn an_upstream_refuses_in_its_own_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send(r#"40{"token":"bad"}"#).await;
    let mut upstream = RawUpstream::accept(&listener).await;
    assert!(
        upstream
            .request
            .starts_with("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n")
    );
    upstream.expect(r#"40{"token":"bad"}"#).await;
    upstream
        .send(r#"44{"message":"not you","data":{"code":7}}"#)
        .await;
    client
        .expect(r#"44{"message":"not you","data":{"code":7}}"#)
        .await;
    // Data that would end the client is left out.
    client.send("40").await;
    let mut upstream = RawUpstream::accept(&listener).await;
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    upstream
        .send(&format!(r#"44{{"message":"deep","data":{deep}}}"#))
        .await;
    client.expect(r#"44{"message":"deep"}"#).await;
    crate::support::eventually("no upstream is left", || {
        front.metrics().upstream_connections.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_connect_repeated_while_the_upstream_is_asked_is_answered_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let mut first = RawUpstream::accept(&listener).await;
    first.expect("40").await;
    client.send("40").await;
    let mut second = RawUpstream::accept(&listener).await;
    second.expect("40").await;
    let mut ids = Vec::new();
    for (number, upstream) in [&mut first, &mut second].into_iter().enumerate() {
        upstream.send(r#"40{"sid":"u"}"#).await;
        let answer = client.text().await;
        ids.push(field(answer.strip_prefix("40").unwrap(), "sid"));
        upstream.send(&format!(r#"42["hello",{number}]"#)).await;
        client.expect(&format!(r#"42["hello",{number}]"#)).await;
    }
    assert_ne!(ids[0], ids[1]);
    // The client goes by the second id: the upstream connection of the first is given up.
    first.expect("41").await;
    assert_eq!(first.try_text().await, None);
    client.send(r#"42["to the second"]"#).await;
    second.expect(r#"42["to the second"]"#).await;
    crate::support::eventually("one upstream is left", || {
        front.metrics().upstream_connections.get() == 1
    })
    .await;
}

#[actix_rt::test]
async fn messages_of_an_upstream_that_would_break_stock_clients_are_dropped() {
    let (front, mut client, mut upstream, _listener) = carried(&[]).await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    upstream.send(r#"42["disconnect",1]"#).await;
    upstream.send(&format!(r#"42["e",{}]"#, nested(100))).await;
    let slots: Vec<String> = (0..11)
        .map(|number| format!(r#"{{"_placeholder":true,"num":{number}}}"#))
        .collect();
    upstream
        .send(&format!(r#"4511-["e",{}]"#, slots.join(",")))
        .await;
    for _ in 0..11 {
        upstream.send_binary(&[1]).await;
    }
    client.send(r#"421["q"]"#).await;
    let id = upstream.asked(r#"["q"]"#).await;
    upstream.send(&format!("43{id}[{}]", nested(100))).await;
    upstream.send(r#"42["fine"]"#).await;
    client.expect(r#"42["fine"]"#).await;
    let events = &front.metrics().upstream_events_total;
    assert_eq!(events.of(UpstreamEventKind::Unfit).get(), 4);
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn an_upstream_asks_and_disconnects() {
    let (_front, mut client, mut upstream, listener) = carried(&[]).await;
    upstream.send(r#"4217["q",1]"#).await;
    upstream.send(r#"4218["q",2]"#).await;
    let (first, second) = (client.text().await, client.text().await);
    let id = |text: &str| text[2..text.find('[').unwrap()].to_owned();
    assert!(
        first.ends_with(r#"["q",1]"#) && second.ends_with(r#"["q",2]"#),
        "{first} {second}"
    );
    client.send(&format!(r#"43{}["two"]"#, id(&second))).await;
    client.send(&format!(r#"43{}["again"]"#, id(&second))).await;
    client.send(&format!(r#"43{}["one"]"#, id(&first))).await;
    upstream.expect(r#"4318["two"]"#).await;
    upstream.expect(r#"4317["one"]"#).await;
    upstream.send("2").await;
    upstream.expect("3").await;
    upstream.send("41").await;
    client.expect("41").await;
    // The connection lives on, and joins anew.
    client.send("40").await;
    let _upstream = RawUpstream::joined(&listener).await;
    assert!(client.text().await.starts_with("40{"));
}

#[actix_rt::test]
async fn what_an_upstream_says_at_once_comes_behind_the_connect_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = front_of(&[listener.local_addr().unwrap()], &[]).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let mut upstream = RawUpstream::accept(&listener).await;
    upstream.expect("40").await;
    upstream
        .send_all(&[r#"40{"sid":"u"}"#, r#"42["hello",1]"#, r#"425["hello",2]"#])
        .await;
    assert!(client.text().await.starts_with("40{"));
    client.expect(r#"42["hello",1]"#).await;
    assert!(client.text().await.ends_with(r#"["hello",2]"#));
}

#[actix_rt::test]
async fn the_order_of_events_is_kept_and_none_waits_for_anothers_answer() {
    let (_front, mut client, mut upstream, _listener) = carried(&[]).await;
    client.send(r#"420["slow"]"#).await;
    for number in 0..500 {
        client.send(&format!(r#"42["n",{number}]"#)).await;
    }
    upstream.expect(r#"420["slow"]"#).await;
    for number in 0..500 {
        upstream.expect(&format!(r#"42["n",{number}]"#)).await;
    }
    upstream.send(r#"42["before"]"#).await;
    upstream.send(r#"430["late"]"#).await;
    upstream.send(r#"42["after"]"#).await;
    client.expect(r#"42["before"]"#).await;
    client.expect(r#"430["late"]"#).await;
    client.expect(r#"42["after"]"#).await;
}

#[actix_rt::test]
async fn a_leg_lost_in_use_ends_its_client() {
    for (when_lost, told) in [("close", None), ("disconnect", Some("41"))] {
        let settings = [("APP__UPSTREAM__WHEN_LOST", when_lost)];
        let (front, mut client, upstream, _listener) = carried(&settings).await;
        drop(upstream);
        let error = client.text().await;
        assert!(error.contains(r#""code":"upstream_lost""#), "{error}");
        match told {
            Some(told) => client.expect(told).await,
            None => {
                let rest = client.rest().await;
                assert!(format!("{rest:?}").contains("Close(Some(1013)"), "{rest:?}");
            }
        }
        assert_eq!(front.metrics().upstream_connections_lost_total.get(), 1);
    }
}

#[actix_rt::test]
async fn a_client_comes_back_when_its_upstream_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let quick = [("APP__UPSTREAM__CONNECT_TIMEOUT", "300ms")];
    let front = front_of(&[address], &quick).await;
    let mut client = front.websocket().await;
    client.send("40").await;
    let rest = client.rest().await;
    assert!(format!("{rest:?}").contains("Close(Some(1013)"), "{rest:?}");
    let listener = TcpListener::bind(address).await.unwrap();
    let accepting = actix_rt::spawn(async move {
        loop {
            // Health checks come by too.
            let mut upstream = RawUpstream::accept(&listener).await;
            if upstream.try_text().await.is_some() {
                upstream.send(r#"40{"sid":"u"}"#).await;
                return upstream;
            }
        }
    });
    loop {
        let mut client = front.websocket().await;
        client.send("40").await;
        if client.frame().await.is_text() {
            break;
        }
    }
    accepting.await.unwrap();
}

#[actix_rt::test]
async fn a_lazy_leg_opens_with_the_first_event_and_closes_when_idle() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let lazy = [
        ("APP__UPSTREAM__CONNECT", "lazy"),
        ("APP__UPSTREAM__IDLE_TIMEOUT", "50ms"),
    ];
    let front = front(&behind, &lazy).await;
    let mut client = front.member().await;
    assert_eq!(front.metrics().upstream_connections_opened_total.get(), 0);
    for round in 1..=3 {
        client.send(r#"421["message-with-ack",1]"#).await;
        client.send(r#"42["message",2]"#).await;
        client.expect(r#"42["auth",{}]"#).await;
        client.expect("431[1]").await;
        client.expect(r#"42["message-back",2]"#).await;
        crate::support::eventually("the upstream is closed", || {
            front.metrics().upstream_connections.get() == 0
        })
        .await;
        assert_eq!(
            front.metrics().upstream_connections_opened_total.get(),
            round
        );
    }
    assert_eq!(front.metrics().upstream_connections_lost_total.get(), 0);
}

#[actix_rt::test]
async fn legs_are_bounded_by_node_and_by_user() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let limits = [
        ("APP__UPSTREAM__MAX_CONNECTIONS", "3"),
        ("APP__UPSTREAM__MAX_CONNECTIONS_PER_USER", "2"),
    ];
    let front = front(&behind, &limits).await;
    let join = async |auth: &str| -> (WebsocketClient, String) {
        let mut client = front.websocket().await;
        client.send(&format!("40{auth}")).await;
        let answer = client.text().await;
        (client, answer)
    };
    let a = r#"{"token":"a"}"#;
    let (_first, answer) = join(a).await;
    assert!(answer.starts_with("40"), "{answer}");
    let (second, answer) = join(a).await;
    assert!(answer.starts_with("40"), "{answer}");
    let (_refused, answer) = join(a).await;
    assert!(answer.starts_with("44"), "{answer}");
    assert!(
        answer.contains(r#""code":"too_many_upstream_connections_of_user""#),
        "{answer}"
    );
    let (_third, answer) = join("").await;
    assert!(answer.starts_with("40"), "{answer}");
    let (_refused, answer) = join("").await;
    assert!(
        answer.contains(r#""code":"too_many_upstream_connections""#),
        "{answer}"
    );
    assert_eq!(front.metrics().upstream_connections_refused_total.get(), 2);
    drop(second);
    crate::support::eventually("its upstream is gone", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    let (_fourth, answer) = join(a).await;
    assert!(answer.starts_with("40"), "{answer}");
}

#[actix_rt::test]
async fn of_two_upstreams_one_dies() {
    let mut upstreams = Vec::new();
    for _ in 0..2 {
        upstreams.push(TestServer::with(&[("APP__KIND", "echo")]).await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|u| u.server.address()).collect();
    let front = front_of(&addresses, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(front.member().await);
    }
    // Health checks open sessions too, for a moment.
    crate::support::eventually("each has two legs", || {
        let mut sessions = upstreams.iter().map(|up| up.metrics().sessions.get());
        sessions.all(|count| count == 2)
    })
    .await;
    upstreams.remove(0).server.stop().await;
    crate::support::eventually("half of the upstreams are lost", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    for _ in 0..4 {
        clients.push(front.member().await);
    }
    assert_eq!(upstreams[0].metrics().sessions.get(), 6);
}

#[actix_rt::test]
async fn only_events_that_a_pattern_lets_through_reach_the_client() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(&behind, &[("APP__UPSTREAM__FORWARD", "message-*,other")]).await;
    let mut client = front.member().await;
    client.send(r#"42["message",1]"#).await;
    client.expect(r#"42["message-back",1]"#).await;
    assert_eq!(
        front
            .metrics()
            .upstream_events_total
            .of(UpstreamEventKind::Filtered)
            .get(),
        1
    );
}

#[actix_rt::test]
async fn the_relays_events_may_stay_here() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(
        &behind,
        &[
            ("APP__UPSTREAM__RELAY", "true"),
            ("APP__UPSTREAM__FORWARD", "message-back"),
        ],
    )
    .await;
    let (mut a, mut b) = (front.member().await, front.member().await);
    a.join("r").await;
    b.emit("r", r#""news",1"#).await;
    a.expect(r#"42["news",1]"#).await;
    a.send(r#"42["message",2]"#).await;
    a.expect(r#"42["message-back",2]"#).await;
}

#[actix_rt::test]
async fn a_drain_waits_for_the_answers_of_the_upstream() {
    let patient = [
        ("DRAIN__GRACE", "0s"),
        ("DRAIN__ACK_TIMEOUT", "50s"),
        ("DRAIN__TIMEOUT", "60s"),
    ];
    let (front, mut client, mut upstream, _listener) = carried(&patient).await;
    client.send(r#"427["question"]"#).await;
    upstream.expect(r#"420["question"]"#).await;
    let watch = async {
        let told = &front.metrics().drain_closed_total;
        crate::support::eventually("told to go", || told.get() == 1).await;
        client.send(r#"42["still","here"]"#).await;
        upstream.expect(r#"42["still","here"]"#).await;
        upstream.send(r#"430["answer"]"#).await;
        client.expect(r#"437["answer"]"#).await;
        assert_eq!(client.rest().await, [Frame::Close(None, String::new())]);
    };
    tokio::join!(front.server.drain(), watch);
}

#[actix_rt::test]
async fn an_upstream_that_does_not_read_holds_its_client_up() {
    let small = [
        ("APP__UPSTREAM__QUEUE_LIMIT", "16KiB"),
        ("SOCKET__INBOX_LIMIT", "16KiB"),
    ];
    let (_front, mut client, mut upstream, _listener) = carried(&small).await;
    let text = filler(10_000);
    let count = 2_000;
    // Its 20 MB are more than queues and kernel buffers hold: sending ends only when the upstream reads.
    let sending = actix_rt::spawn(async move {
        for number in 0..count {
            client
                .send_patiently(&format!(r#"42["n",{number},"{text}"]"#))
                .await;
        }
        client
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "somebody took everything");
    for number in 0..count {
        let text = upstream.text().await;
        assert!(text.starts_with(&format!(r#"42["n",{number},"#)));
    }
    let mut client = sending.await.unwrap();
    client.send("42[\"end\"]").await;
    upstream.expect(r#"42["end"]"#).await;
}

#[actix_rt::test]
async fn a_thousand_clients_have_a_thousand_upstreams() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let front = front(&behind, &[]).await;
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = front.member().await;
        client.expect(r#"42["auth",{}]"#).await;
        clients.push(client);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .send(&format!(r#"42{number}["message-with-ack",{number}]"#))
            .await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(&format!("43{number}[{number}]")).await;
    }
    assert_eq!(front.metrics().upstream_connections.get(), 1000);
    let sid = field(&clients[0].open, "sid");
    assert_eq!(sid.len(), 20);
}

#[actix_rt::test]
async fn a_burst_of_the_upstream_reaches_a_client_that_reads() {
    let sizes = [
        vec![1_700_000],
        vec![16_000_000],
        vec![300_000; 20],
        vec![1_000; 1_500],
        // More than may ever wait for a client.
        vec![1_000_000; 40],
    ]
    .concat();
    let event = |number: usize, size: usize| format!(r#"42["n",{number},"{}"]"#, filler(size));
    let (front, mut websocket, upstream, listener) = carried(&[]).await;
    let mut polling = front.polling().await;
    polling.send("40").await;
    let other = RawUpstream::joined(&listener).await;
    assert!(polling.next().await.starts_with("40{"));
    for mut upstream in [upstream, other] {
        let sizes = sizes.clone();
        actix_rt::spawn(async move {
            for (number, size) in sizes.into_iter().enumerate() {
                upstream.send(&event(number, size)).await;
            }
            std::future::pending::<()>().await;
        });
    }
    let over_polling = async {
        for (number, size) in sizes.iter().enumerate() {
            let packet = polling.next().await;
            assert!(packet == event(number, *size), "{packet:.40}");
        }
    };
    let over_websocket = async {
        for (number, size) in sizes.iter().enumerate() {
            let packet = websocket.text().await;
            assert!(packet == event(number, *size), "{packet:.40}");
        }
    };
    tokio::join!(over_polling, over_websocket);
    assert_eq!(front.metrics().slow_consumers_total.get(), 0);
}

#[actix_rt::test]
async fn a_client_that_does_not_read_applies_back_pressure_to_its_upstream() {
    let patient = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64KiB"),
        ("SOCKET__SLOW_TIMEOUT", "1h"),
    ];
    let (front, mut client, mut upstream, _listener) = carried(&patient).await;
    let text = filler(10_000);
    let count = 6_000;
    // Its 60 MB are more than queues and kernel buffers hold, and more than may ever wait.
    let sending = actix_rt::spawn(async move {
        for number in 0..count {
            upstream
                .send(&format!(r#"42["n",{number},"{text}"]"#))
                .await;
        }
        upstream
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "somebody took everything");
    for number in 0..count {
        let text = client.text().await;
        assert!(
            text.starts_with(&format!(r#"42["n",{number},"#)),
            "{text:.40}"
        );
    }
    let mut upstream = sending.await.unwrap();
    client.send(r#"42["end"]"#).await;
    upstream.expect(r#"42["end"]"#).await;
    assert_eq!(front.metrics().slow_consumers_total.get(), 0);
}

#[actix_rt::test]
async fn a_client_without_progress_is_closed_with_its_upstream() {
    let impatient = [
        ("SOCKET__SEND_BUFFER", "16KiB"),
        ("SOCKET__OUTBOX_LIMIT", "64KiB"),
        ("SOCKET__SLOW_TIMEOUT", "300ms"),
    ];
    let (front, client, mut upstream, _listener) = carried(&impatient).await;
    let event = format!(r#"42["n","{}"]"#, filler(10_000));
    let sending = actix_rt::spawn(async move {
        while front.metrics().upstream_connections.get() > 0 {
            upstream.send(&event).await;
        }
        front
    });
    let front = crate::support::within_deadline("the end of the leg", sending)
        .await
        .unwrap();
    let sid = client.sid();
    assert_eq!(
        crate::support::log::close_reason(&sid).await,
        "slow consumer"
    );
    assert_eq!(front.metrics().slow_consumers_total.get(), 1);
}

#[actix_rt::test]
async fn legs_are_bounded_by_address_whatever_the_auth_payload_is() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    let limits = [
        ("APP__UPSTREAM__MAX_CONNECTIONS_PER_IP", "2"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SOCKET__NAMESPACES", "*"),
    ];
    let front = front(&behind, &limits).await;
    let target = "/socket.io/?EIO=4&transport=websocket";
    let join = async |address: &str, auth: &str| -> (WebsocketClient, String) {
        let headers = [("X-Forwarded-For", address)];
        let node = front.address();
        let handshake = WebsocketClient::handshake(&node, target, &headers, false);
        let mut client = handshake.await.unwrap();
        client.text().await;
        client.send(&format!("40{auth}")).await;
        let answer = client.text().await;
        (client, answer)
    };
    let (first, answer) = join("203.0.113.7", r#"{"token":"a"}"#).await;
    assert!(answer.starts_with("40"), "{answer}");
    let (mut second, answer) = join("203.0.113.7", r#"{"token":"b"}"#).await;
    assert!(answer.starts_with("40"), "{answer}");
    let (_refused, answer) = join("203.0.113.7", r#"{"token":"c"}"#).await;
    let expected = r#""code":"too_many_upstream_connections_of_address","key":"app.upstream.max_connections_per_ip""#;
    assert!(answer.contains(expected), "{answer}");
    // Another namespace of a connection is another upstream.
    second.expect(r#"42["auth",{"token":"b"}]"#).await;
    second.send("40/other,").await;
    let answer = second.text().await;
    assert!(answer.contains(expected), "{answer}");
    let (_other, answer) = join("203.0.113.8", r#"{"token":"c"}"#).await;
    assert!(answer.starts_with("40"), "{answer}");
    // No upstream was dialled for those that were refused.
    assert_eq!(front.metrics().upstream_connections_opened_total.get(), 3);
    drop(first);
    crate::support::eventually("its upstream is gone", || {
        front.metrics().upstream_connections.get() == 2
    })
    .await;
    let (_fourth, answer) = join("203.0.113.7", r#"{"token":"c"}"#).await;
    assert!(answer.starts_with("40"), "{answer}");
}
