//! A node in front of a Socket.IO server: back-pressure in both directions, bursts, and many clients.

use crate::support::log::close_reason;
use crate::support::upstream::{RawUpstream, front, front_of_raw};
use crate::support::{TestServer, field, filler, within_deadline};

#[actix_rt::test]
async fn an_upstream_that_does_not_read_applies_back_pressure_to_its_client() {
    let small = [
        ("APP__UPSTREAM__QUEUE_LIMIT", "16KiB"),
        ("SOCKET__INBOX_LIMIT", "16KiB"),
    ];
    let (_front, mut client, mut upstream, _listener) = front_of_raw(&small).await;
    let text = filler(10_000);
    let count = 2_000;
    // 20 MB exceed all queues and kernel buffers, so sending completes only when the upstream reads.
    let sending = actix_rt::spawn(async move {
        for number in 0..count {
            client
                .send_patiently(&format!(r#"42["n",{number},"{text}"]"#))
                .await;
        }
        client
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "everything was buffered");
    for number in 0..count {
        let text = upstream.text().await;
        assert!(text.starts_with(&format!(r#"42["n",{number},"#)));
    }
    let mut client = sending.await.unwrap();
    client.send("42[\"end\"]").await;
    upstream.expect(r#"42["end"]"#).await;
}

#[actix_rt::test]
async fn a_burst_of_the_upstream_reaches_a_client_that_reads() {
    let sizes = [
        vec![1_700_000],
        vec![16_000_000],
        vec![300_000; 20],
        vec![1_000; 1_500],
        // More than the outbox of a client may hold.
        vec![1_000_000; 40],
    ]
    .concat();
    let event = |number: usize, size: usize| format!(r#"42["n",{number},"{}"]"#, filler(size));
    let (front, mut websocket, upstream, listener) = front_of_raw(&[]).await;
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
    let (front, mut client, mut upstream, _listener) = front_of_raw(&patient).await;
    let text = filler(10_000);
    let count = 6_000;
    // 60 MB exceed all queues and kernel buffers.
    let sending = actix_rt::spawn(async move {
        for number in 0..count {
            upstream
                .send(&format!(r#"42["n",{number},"{text}"]"#))
                .await;
        }
        upstream
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!sending.is_finished(), "everything was buffered");
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
    let (front, client, mut upstream, _listener) = front_of_raw(&impatient).await;
    let event = format!(r#"42["n","{}"]"#, filler(10_000));
    let sending = actix_rt::spawn(async move {
        while front.metrics().upstream_connections.get() > 0 {
            upstream.send(&event).await;
        }
        front
    });
    let front = within_deadline("the end of the upstream connection", sending)
        .await
        .unwrap();
    let sid = client.sid();
    assert_eq!(close_reason(&sid).await, "slow consumer");
    assert_eq!(front.metrics().slow_consumers_total.get(), 1);
}

#[actix_rt::test]
async fn a_thousand_clients_have_a_thousand_upstream_connections() {
    let behind = TestServer::with(&[("APP__KIND", "echo")]).await;
    // The clients are silent until all are connected.
    let front = front(&behind, &[("ENGINE__PING_INTERVAL", "10m")]).await;
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
