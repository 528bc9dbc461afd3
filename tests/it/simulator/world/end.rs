//! The end of a run: what the nodes, the store and the logs still hold.

use bytes::Bytes;
use roomwire::bus::link::Link;
use roomwire::history::{LogName, LogReader};
use roomwire::model::{Namespace, Room};
use roomwire::store::{PresenceStore, Store};

use super::*;
use crate::simulator::features::Logging;

/// Time after which everything about the clients has expired: the logs of sessions that can be recovered are kept longest.
const EXPIRY: Duration = Duration::from_secs(120);

/// Number of channels of a namespace that servers in Node with the pub/sub adapter use.
const NAMESPACE_CHANNELS: usize = 4;

impl World {
    /// Closes all clients; returns what the nodes still hold, which should be nothing.
    pub async fn end(&mut self) -> Vec<String> {
        for client in self.open_clients() {
            client.close(false);
        }
        self.kill_servers();
        sleep(EXPIRY).await;
        // A new node has only the subscriptions that every node keeps.
        let chance = Chance::new(self.chance.next());
        let fresh = Node::start((&self.run, self.nodes.len()), &self.shared, 1, chance);
        // Heartbeats never end: without latency none of them is in flight.
        self.remove_latency();
        sleep(Duration::from_secs(1)).await;
        let subscriptions = self.shared.hub.channel_count(fresh.member);
        let mut wrong = self.left_on_nodes(subscriptions);
        let in_flight = self.shared.hub.in_flight();
        if in_flight > 0 {
            wrong.push(format!("messages in flight: {in_flight}, not 0"));
        }
        wrong.extend(self.left_in_store().await);
        wrong.extend(self.left_in_logs().await);
        let limit = self.queue_limit();
        if self.most_queued > limit {
            wrong.push(format!(
                "{} bytes queued on one node, above {limit}",
                self.most_queued
            ));
        }
        wrong
    }

    /// What the nodes still hold; each needs this number of `subscriptions` for itself.
    fn left_on_nodes(&self, subscriptions: usize) -> Vec<String> {
        let mut wrong = Vec::new();
        // One node stays subscribed to the main namespace while it translates.
        let mut translating = if self.shared.config.bus.translate {
            1
        } else {
            0
        };
        let mut expect = |what: String, expected: i64, found: i64| {
            if expected != found {
                wrong.push(format!("{what}: {found}, not {expected}"));
            }
        };
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let metrics = &node.metrics;
            expect(format!("n{number} sessions"), 0, metrics.sessions.get());
            expect(format!("n{number} sockets"), 0, metrics.sockets.get());
            expect(format!("n{number} rooms"), 0, metrics.rooms.get());
            expect(
                format!("n{number} queued bytes"),
                0,
                metrics.send_queue_bytes.get(),
            );
            for (what, gauge) in [
                ("sessions to recover", &metrics.recovery_sessions),
                ("users in rooms", &metrics.presence_members),
                (
                    "pending changes of users",
                    &metrics.presence_pending_changes,
                ),
                (
                    "pending changes of sockets",
                    &metrics.registry_pending_changes,
                ),
            ] {
                expect(format!("n{number} {what}"), 0, gauge.get());
            }
            let mut channels = self.shared.hub.channel_count(node.member);
            if translating > 0 && channels == subscriptions + NAMESPACE_CHANNELS {
                translating -= 1;
                channels = subscriptions;
            }
            expect(
                format!("n{number} subscriptions"),
                subscriptions as i64,
                channels as i64,
            );
        }
        wrong
    }

    /// Bytes that the clients of one node may leave unread: each the hard limit and one packet on top.
    fn queue_limit(&self) -> i64 {
        let limits = &self.shared.config;
        let client = limits.socket.outbox_hard_limit + limits.engine.max_payload;
        (client * self.clients.len()) as i64
    }

    /// What the store still has of sessions, sockets and users.
    async fn left_in_store(&self) -> Vec<String> {
        let mut left = Vec::new();
        let prefix = &self.shared.config.bus.channel_prefix;
        let Some(store) = self.nodes.iter().flatten().map(|node| &node.store).next() else {
            return left;
        };
        for pid in self.clients.iter().filter_map(|client| client.pid()) {
            let record = store.get(&format!("{prefix}:session:{pid}")).await.unwrap();
            left.extend(record.map(|record| format!("the record of {pid}: {record:?}")));
        }
        let names: Vec<String> = {
            let history = self.run.history.borrow();
            history.nodes.iter().map(|node| node.name.clone()).collect()
        };
        let registered = store.hash_scan(&format!("{prefix}:registry:nodes")).await;
        let alive: Vec<String> = self
            .nodes
            .iter()
            .flatten()
            .map(|node| node.name.to_string())
            .collect();
        for (name, _) in registered.unwrap() {
            if names.contains(&name) && !alive.contains(&name) {
                left.push(format!("{name} is registered"));
            }
        }
        for name in names {
            let sockets = store
                .hash_scan(&format!("{prefix}:registry:{name}:sockets"))
                .await;
            let sockets = sockets.unwrap().len();
            if sockets > 0 {
                left.push(format!("{sockets} sockets of {name} are registered"));
            }
        }
        for room in ROOMS {
            let base = format!("{{{prefix}:presence}}");
            let page = store
                .presence_page(&base, &format!("/,{room}"), None, 9)
                .await;
            let page = page.unwrap();
            if page.count > 0 {
                left.push(format!("{:?} are present in {room}", page.users));
            }
        }
        left
    }

    /// What the logs have, after another event, which removes those that have expired.
    async fn left_in_logs(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.features.logging != Logging::Recovery {
            return left;
        }
        let Some(node) = self.nodes.iter().flatten().next() else {
            return left;
        };
        let (link, _events) = self.shared.hub.join();
        let logs = link.logs().unwrap();
        for room in ROOMS {
            node.backend.publish(&self.run, room.to_owned(), None);
            sleep(Duration::from_secs(1)).await;
            let log = LogName::of_room(Namespace::main(), Room::from(room));
            let page = LogReader::<Bytes>::read_back(&*logs, &log, None, 1000).await;
            let entries = page.unwrap().events.len();
            if entries != 1 {
                left.push(format!("{entries} events in the log of {room}"));
            }
        }
        left
    }
}
