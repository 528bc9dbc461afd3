//! Two nodes of different minor versions in one cluster, as during a rolling upgrade.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use roomwire::broker::Gathered;
use roomwire::bus::link::{Channel, Link, Outgoing, Receivers};
use roomwire::bus::memory::{Hub, MemoryLink};
use roomwire::metrics::labels::BusDrop;
use roomwire::model::{Namespace, Query, QueryAnswer, Room, Selector};
use roomwire::server::BusHandles;
use roomwire::store::MemoryStore;

use crate::support::server::config;
use crate::support::{TestServer, eventually, within_deadline};

/// A kind of message that this version does not have.
const UNKNOWN_KIND: u8 = 200;

/// The link of a node of the next minor version: each of its messages has unknown flags, a field behind those of its
/// kind and extensions, and between them it publishes messages of a kind that is unknown to older nodes.
struct NewerLink(Arc<MemoryLink>);

impl NewerLink {
    fn newer(message: Outgoing) -> Outgoing {
        let old = &message.payload;
        if old.first() != Some(&2) {
            return message;
        }
        let mut new = BytesMut::from(&old[..]);
        new[1] += 1;
        new[3] |= 0x70;
        new.put_slice(b"a new field");
        let length = u32::try_from(new.len() - 12).unwrap();
        new[8..12].copy_from_slice(&length.to_le_bytes());
        for (tag, value) in [(1_u16, b"trace".as_slice()), (0x7fff, b"")] {
            new.put_u16_le(tag);
            new.put_u32_le(u32::try_from(value.len()).unwrap());
            new.put_slice(value);
        }
        Outgoing {
            payload: new.freeze(),
            ..message
        }
    }

    /// Of an unknown kind, and of a known kind with an extension that must not be ignored.
    fn unknown(message: &Outgoing) -> [Outgoing; 2] {
        let with = |payload: Bytes| Outgoing {
            payload,
            ..message.clone()
        };
        let mut unknown_kind = BytesMut::from(&message.payload[..]);
        unknown_kind[2] = UNKNOWN_KIND;
        let mut critical = BytesMut::from(&message.payload[..]);
        critical.put_slice(&[1, 0x80, 0, 0, 0, 0]);
        [with(unknown_kind.freeze()), with(critical.freeze())]
    }
}

impl Link for NewerLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        for message in batch.into_iter().map(Self::newer) {
            self.0.publish(Self::unknown(&message).into());
            self.0.publish(vec![message]);
        }
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        let message = Self::newer(message);
        self.0.publish(Self::unknown(&message).into());
        self.0.publish_counted(message)
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        self.0.subscribe(channels);
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) {
        self.0.subscribe_patterns(patterns);
    }

    fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        self.0.unsubscribe_patterns(patterns);
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        self.0.unsubscribe(channels);
    }
}

/// A node of this version and one of the next minor version.
async fn older_and_newer() -> [TestServer; 2] {
    let hub = Hub::default();
    let store = Arc::new(MemoryStore::default());
    let (link, events) = hub.join();
    let older = BusHandles::new(link, events, Arc::clone(&store) as _);
    let (link, events) = hub.join();
    let newer = BusHandles::new(Arc::new(NewerLink(link)), events, store);
    let older = TestServer::configured(config(&[]), Some(older)).await;
    let newer = TestServer::configured(config(&[]), Some(newer)).await;
    for node in [&older, &newer] {
        node.readyz("bus: up").await;
    }
    [older, newer]
}

fn skipped(node: &TestServer) -> u64 {
    node.metrics().bus_dropped_total.of(BusDrop::Newer).get()
}

#[actix_rt::test]
async fn events_acks_and_rooms_work_in_both_directions_and_unknown_messages_are_skipped_and_counted()
 {
    let nodes = older_and_newer().await;
    let (mut a, mut b) = (nodes[0].member().await, nodes[1].member().await);
    a.join("r").await;
    b.join("r").await;
    for round in 0..20 {
        a.emit("r", &format!(r#""from the older",{round}"#)).await;
        b.expect(&format!(r#"42["from the older",{round}]"#)).await;
        b.emit("r", &format!(r#""from the newer",{round}"#)).await;
        a.expect(&format!(r#"42["from the newer",{round}]"#)).await;
    }
    for _ in 0..2 {
        // To one socket, and to a room with binary data in the reply.
        let other = b.socket.clone();
        a.send(&format!(r#"421["roomwire:ask","{other}","q"]"#))
            .await;
        let question = b.text().await;
        let id = question
            .strip_prefix("42")
            .and_then(|rest| rest.strip_suffix(r#"["q"]"#));
        b.send(&format!(r#"43{}["reply"]"#, id.unwrap())).await;
        a.expect(r#"431[{"ok":true,"answer":["reply"]}]"#).await;
        std::mem::swap(&mut a, &mut b);
    }
    a.quiet().await;
    b.quiet().await;
    assert!(skipped(&nodes[0]) >= 40, "{}", skipped(&nodes[0]));
    assert_eq!(skipped(&nodes[1]), 0);
    for node in &nodes {
        let dropped = &node.metrics().bus_dropped_total;
        assert_eq!(dropped.of(BusDrop::Unreadable).get(), 0);
    }
}

#[actix_rt::test]
async fn both_nodes_serve_a_client_regardless_of_the_owner_of_its_session() {
    let nodes = older_and_newer().await;
    for (owner, other) in [(0, 1), (1, 0)] {
        let mut client = nodes[owner].polling().await;
        client.turn_to(&nodes[other].address());
        client.connect().await;
        client.join("r").await;
        let mut sender = nodes[other].member().await;
        // A poll that waits, and a POST with binary data.
        let (polled, ()) = tokio::join!(client.get(), sender.emit("r", r#""event""#));
        assert_eq!(polled.text(), r#"42["event"]"#);
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let packet = format!(
            "451-[\"roomwire:emit\",\"{}\",\"file\",{placeholder}]",
            sender.socket
        );
        client.send(&format!("{packet}\u{1e}bAQI=")).await;
        sender
            .expect(&format!(r#"451-["file",{placeholder}]"#))
            .await;
        sender.expect_binary(&[1, 2]).await;
        client.send("1").await;
    }
    assert!(
        nodes
            .iter()
            .all(|node| node.metrics().forwarded_total.get() > 3)
    );
}

#[actix_rt::test]
async fn both_nodes_respond_to_queries() {
    let nodes = older_and_newer().await;
    let (mut a, mut b) = (nodes[0].member().await, nodes[1].member().await);
    a.join("r").await;
    b.join("r").await;
    for node in &nodes {
        let query = Query::Sockets {
            selector: Selector::room(Namespace::main(), Room::from("r")),
            limit: 10,
        };
        let gather = node
            .server
            .ingress()
            .query(query.clone(), std::time::Duration::from_secs(5));
        let Gathered {
            answers, missing, ..
        } = within_deadline("the answers", gather.finish()).await;
        assert!(missing.is_empty());
        let mut sum = query.no_match();
        for answer in answers {
            query.merge(&mut sum, answer);
        }
        let QueryAnswer::Sockets { total, .. } = sum else {
            panic!("{sum:?}")
        };
        assert_eq!(total, 2);
    }
    eventually("unknown messages are counted", || skipped(&nodes[0]) > 0).await;
}
