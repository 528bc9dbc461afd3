//! Messages that become much larger when they are decompressed.

use std::time::{Duration, Instant};

use roomwire::metrics::labels::{Direction, LimitRejection};

use super::{BROWSER, ECHO, ON, ONE_WORKER, compressing, deflated, greeted};
use crate::support::websocket::frame;
use crate::support::{Frame, TestCluster, TestServer, WebsocketClient, filler};

const UNPACED: (&str, &str) = ("LIMITS__EVENTS_PER_SECOND", "0");
/// A bomb counts as 60 events.
const PACED: [(&str, &str); 2] = [
    ("LIMITS__EVENTS_PER_SECOND", "100"),
    ("LIMITS__EVENTS_BURST", "100"),
];
const EXCESS_DATA: &str = "packet that is not a message has more than 125 bytes of data";

/// An event of 990 kB that the app ignores, in about 1 kB.
fn bomb() -> Vec<u8> {
    deflated(format!(r#"42["bomb","{}"]"#, filler(990_000)).as_bytes())
}

/// Sends `bombs` bombs at once, each with a small message behind it.
async fn send_bombs(client: &mut WebsocketClient, bombs: usize) {
    let bomb = frame(0xc1, &bomb());
    let stream: Vec<u8> = (0..bombs)
        .flat_map(|number| {
            let message = format!(r#"42["message",{number}]"#);
            [bomb.clone(), frame(0x81, message.as_bytes())].concat()
        })
        .collect();
    client.send_raw(&stream).await;
}

async fn expect_echoes(client: &mut WebsocketClient, messages: usize) {
    for number in 0..messages {
        client
            .expect(&format!(r#"42["message-back",{number}]"#))
            .await;
    }
}

#[actix_rt::test]
async fn a_client_whose_messages_inflate_takes_turns_with_others_and_its_messages_stay_in_order() {
    const BOMBS: usize = 40;
    let server = TestServer::with(&[ON, ECHO, ONE_WORKER, UNPACED]).await;
    let mut attacker = compressing(&server.address()).await;
    let mut other = WebsocketClient::open(&server.address()).await;
    for client in [&mut attacker, &mut other] {
        greeted(client).await;
    }
    send_bombs(&mut attacker, BOMBS).await;
    attacker.expect(r#"42["message-back",0]"#).await;
    other.send(r#"42["message","served"]"#).await;
    other.expect(r#"42["message-back","served"]"#).await;
    let bytes = &server.metrics().message_bytes_total;
    let received = bytes.of(Direction::Received).get();
    assert!(
        received < BOMBS as u64 / 2 * 990_000,
        "{received} bytes were decompressed before the other client was served"
    );
    for number in 1..BOMBS {
        attacker
            .expect(&format!(r#"42["message-back",{number}]"#))
            .await;
    }
}

#[actix_rt::test]
async fn inflated_bytes_count_as_events_of_the_session_and_delay_what_follows() {
    let server = TestServer::with(&[ON, ECHO, ONE_WORKER, PACED[0], PACED[1]]).await;
    let mut client = compressing(&server.address()).await;
    greeted(&mut client).await;
    let start = Instant::now();
    send_bombs(&mut client, 4).await;
    expect_echoes(&mut client, 4).await;
    // Four times 60 events, and 100 at once.
    let least = Duration::from_millis(1200);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    let rejected = &server.metrics().limit_rejected_total;
    assert!(rejected.of(LimitRejection::Events).get() > 0);
}

#[actix_rt::test]
async fn packets_without_meaning_may_have_little_data_and_break_the_connection_with_more() {
    let server = TestServer::with(&[ON]).await;
    for kind in ["6", "3", "0", "5"] {
        let mut client = compressing(&server.address()).await;
        for data in ["", &filler(125)] {
            client.send(&format!("{kind}{data}")).await;
        }
        client.connect("/").await;
        let large = format!("{kind}{}", filler(126));
        client.send_frame(0xc1, &deflated(large.as_bytes())).await;
        let reason = EXCESS_DATA.to_owned();
        assert_eq!(
            client.rest().await,
            [Frame::Close(Some(1002), reason)],
            "{kind}"
        );
    }
    // Also before the CONNECT.
    let mut client = compressing(&server.address()).await;
    let bomb = deflated(format!("6{}", filler(999_990)).as_bytes());
    client.send_frame(0xc1, &bomb).await;
    let reason = EXCESS_DATA.to_owned();
    assert_eq!(client.rest().await, [Frame::Close(Some(1002), reason)]);
    server.sessions(0).await;
}

#[actix_rt::test]
async fn a_websocket_held_by_another_node_is_paced_and_closed_by_the_same_rules() {
    let cluster = TestCluster::<2>::with(&[ON, ECHO, PACED[0], PACED[1]]).await;
    let [owner, edge] = &cluster.nodes;
    let client = owner.polling().await;
    client.post("40").await;
    let mut websocket =
        WebsocketClient::upgrading_with(&edge.address(), &client.sid, &[BROWSER]).await;
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    assert!(websocket.text().await.starts_with("40{"));
    websocket.expect(r#"42["auth",{}]"#).await;
    for packet in ["6", "3", "0", "5"] {
        for data in ["", &filler(125)] {
            websocket.send(&format!("{packet}{data}")).await;
        }
    }
    let start = Instant::now();
    send_bombs(&mut websocket, 4).await;
    expect_echoes(&mut websocket, 4).await;
    let least = Duration::from_millis(1200);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    let rejected = &edge.metrics().limit_rejected_total;
    assert!(rejected.of(LimitRejection::Events).get() > 0);
    let noop = deflated(format!("6{}", filler(999_990)).as_bytes());
    websocket.send_frame(0xc1, &noop).await;
    let reason = EXCESS_DATA.to_owned();
    assert_eq!(websocket.rest().await, [Frame::Close(Some(1002), reason)]);
    owner.sessions(0).await;
}
