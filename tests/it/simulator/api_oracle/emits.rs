//! Responses to emits and calls: who received the event, and who acknowledged it.

use super::*;
use crate::simulator::foreign::record::Dialect;

impl Collected<'_> {
    pub(super) fn check_emit(&self, emit: EmitId, wrong: &mut Vec<String>) {
        let target = Target::Room(&self.history.emits[emit].room);
        self.check_count("the room", target, &self.body["sockets"], wrong);
        let connections = self.history.connections.iter();
        let nodes = |certain: bool| {
            let nodes = connections.clone().filter(|connection| match certain {
                true => {
                    self.includes(connection.node) && connection.was_in(target, self.from, self.to)
                }
                false => self.is_possible(connection, target),
            });
            let nodes: BTreeSet<usize> = nodes.map(|connection| connection.node).collect();
            nodes.len() as u64
        };
        let found = self.body["nodes"].as_u64().unwrap_or(u64::MAX);
        if !(nodes(true)..=nodes(false)).contains(&found) {
            wrong.push(format!("sent to {found} nodes"));
        }
    }

    pub(super) fn check_call(&self, emit: EmitId, wrong: &mut Vec<String>) {
        let target = Target::Room(&self.history.emits[emit].room);
        let acks = list(&self.body["acks"]);
        let (acks, of_servers): (Vec<_>, Vec<_>) =
            acks.iter().partition(|ack| ack["socket"].is_string());
        self.check_foreign_acks(emit, &of_servers, wrong);
        let acked: Vec<&str> = acks.iter().map(|ack| text(&ack["socket"])).collect();
        for ack in acks {
            let owner = self.history.by_sid(text(&ack["socket"]));
            let number = ack["args"][0].as_u64().unwrap_or(u64::MAX) as usize;
            if owner.is_some_and(|(owner, _)| owner != number) {
                wrong.push(format!("the ack {ack} of another client"));
            }
            let received = self.history.connections.get(number).is_some_and(|client| {
                let mut received = client.received.iter();
                received.any(|received| received.emit == emit)
            });
            if !received {
                wrong.push(format!("the ack {ack} of an event that was not received"));
            }
        }
        let mut sids = acked.clone();
        sids.extend(texts(&self.body["unanswered"]));
        self.check_acked(&acked, &sids, target, wrong);
    }

    /// Acks of clients of foreign servers have no id of a socket: each is of another client that received the event.
    fn check_foreign_acks(&self, emit: EmitId, acks: &[&Value], wrong: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for ack in acks {
            let sid = text(&ack["args"][0]);
            let owner = self.history.foreign.by_sid(sid);
            let received = owner.is_some_and(|(_, socket)| {
                let mut received = socket.received.iter();
                received.any(|(received, _)| *received == emit)
            });
            if !received || !seen.insert(sid) {
                wrong.push(format!("the ack {ack} of a foreign client"));
            }
        }
    }

    pub(super) fn check_acked(
        &self,
        acked: &[&str],
        sids: &[&str],
        target: Target<'_>,
        wrong: &mut Vec<String>,
    ) {
        let connections = self.history.connections.iter();
        let selected = |connection: &&Connection| self.may_be_in(connection, target);
        let stable = connections.clone().filter(selected).all(|connection| {
            connection.was_in(target, self.from, self.to)
                && connection.reads_throughout(self.from, self.to)
        });
        let healthy = self.nodes().all(|node| self.is_healthy(node));
        for (number, connection) in self.history.connections.iter().enumerate() {
            let sid = connection.sid.as_deref().unwrap_or_default();
            let (node, certain) = (
                connection.node,
                connection.was_in(target, self.from, self.to),
            );
            if certain && self.includes(node) && !sids.contains(&sid) {
                wrong.push(format!("c{number} lacks, n{node} is not missing"));
            }
            // Acks of clients of servers in Python count, but these servers do not report their number.
            let mut servers = self.history.foreign.lives.iter();
            let limited = servers.any(|life| life.dialect == Dialect::Python);
            if certain && stable && healthy && !limited && !acked.contains(&sid) {
                wrong.push(format!("c{number} has not acknowledged"));
            }
            // Its node died while the call waited for it.
            let died = self.history.died(node).filter(|died| *died <= self.to);
            let lost = died.is_some_and(|died| {
                let before = died.saturating_sub(SLACK);
                before > self.from && connection.was_in(target, self.from, before)
            });
            let awaited = sids.contains(&sid) && !acked.contains(&sid);
            if lost && awaited && !self.missing.contains(&node) {
                wrong.push(format!("n{node} died and is not missing"));
            }
        }
        let distinct: BTreeSet<&str> = sids.iter().copied().collect();
        if distinct.len() != sids.len() {
            wrong.push(format!("a socket twice: {}", self.body));
        }
    }
}
