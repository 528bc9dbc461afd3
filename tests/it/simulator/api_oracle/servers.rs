//! Checks the sockets of servers in Node in responses of the API.

use super::*;
use crate::simulator::foreign::record::{ANNEX, Dialect, ForeignLife};

impl Collected<'_> {
    fn servers(&self) -> impl Iterator<Item = &ForeignLife> {
        let lives = self.history.foreign.lives.iter();
        lives.filter(|life| life.dialect == Dialect::Node)
    }

    /// Whether each server was connected for the whole time, or not at all.
    pub(super) fn servers_are_healthy(&self) -> bool {
        let before = self.from.saturating_sub(DISCOVERY);
        let mut servers = self.servers();
        servers.all(|life| {
            let gone = life.died.is_some_and(|died| died < before) || life.began > self.to;
            gone || life.is_connected(before, self.to)
        })
    }

    /// The ids of selected sockets of servers: those that must be in the response, and those that may be.
    pub(super) fn of_servers(&self, target: Target<'_>) -> (Vec<&str>, Vec<&str>) {
        let before = self.from.saturating_sub(DISCOVERY);
        // A stopping node has left the bus.
        let stopped = self.history.nodes[self.request.node].stopped;
        let on_bus = stopped.is_none_or(|stopped| stopped > self.to);
        let (mut certain, mut possible) = (Vec::new(), Vec::new());
        for life in self.servers() {
            let gone = life.died.is_some_and(|died| died < before) || life.began > self.to;
            let selected = life.sockets.iter().filter(|socket| match target {
                Target::Everybody => true,
                Target::Room(room) => room == ANNEX || socket.rooms.iter().any(|it| it == room),
                Target::User(_) => false,
            });
            let ids = selected.map(|socket| socket.sid.as_str());
            if on_bus && !self.lacks_servers && life.is_connected(before, self.to) {
                certain.extend(ids.clone());
            }
            if !gone {
                possible.extend(ids);
            }
        }
        (certain, possible)
    }

    /// `servers` may be missing only if a server may not have responded, or a node, which responds to the same request
    /// without sockets.
    pub(super) fn check_servers(&self, wrong: &mut Vec<String>) {
        let long_ago = self.from.saturating_sub(FORGOTTEN);
        let mut faults = self.history.faults.iter();
        let disturbed = faults.any(|fault| fault.overlaps(long_ago, self.to))
            || self.nodes().any(|node| !self.is_healthy(node))
            || !self.servers_are_healthy();
        if self.lacks_servers && !disturbed {
            wrong.push("servers are missing for no reason".to_owned());
        }
    }
}
