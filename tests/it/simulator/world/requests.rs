//! Requests of backends to random nodes.

use super::*;
use crate::simulator::history::EVERYBODY;

impl World {
    pub(super) fn any_node(&mut self) -> usize {
        let is_paused = |number: &usize| self.is_faulty(*number, Kind::Pause);
        let mut alive = self.alive();
        if alive.iter().any(|number| !is_paused(number)) {
            alive.retain(|number| !is_paused(number));
        }
        alive[self.chance.below(alive.len())]
    }

    pub(super) fn read(&mut self) {
        let room = ROOMS[self.chance.below(ROOMS.len())].to_owned();
        let verbs: [(usize, OfRoom); 8] = [
            (4, Verb::Sockets),
            (1, |_| Verb::Everybody),
            (2, Verb::Members),
            (1, |_| Verb::Rooms),
            (1, |_| Verb::Users),
            (1, |_| Verb::Named),
            (2, |_| Verb::Info),
            (2, |_| Verb::Answers),
        ];
        let verb = self.chance.weighted(&verbs)(room);
        let number = self.any_node();
        if let Some(node) = &self.nodes[number] {
            node.backend.request(&self.run, verb);
        }
    }

    pub(super) fn api_emit(&mut self, with_acks: bool) {
        let room = ROOMS[self.chance.below(ROOMS.len())];
        let time = self.chance.milliseconds(1_000, 6_000);
        let number = self.any_node();
        let Some(node) = &self.nodes[number] else {
            return;
        };
        match with_acks {
            false => node.backend.emit(&self.run, room),
            true => node.backend.call(&self.run, room, time),
        }
    }

    pub(super) fn publish(&mut self) {
        let number = self.any_node();
        let sid = self.any_client().and_then(|client| client.sid());
        let room = match (self.chance.below(4), &sid) {
            (0, _) => format!("user:{}", USERS[self.chance.below(USERS.len())]),
            (1, _) => EVERYBODY.to_owned(),
            (2, Some(sid)) => sid.clone(),
            _ => ROOMS[self.chance.below(ROOMS.len())].to_owned(),
        };
        let except = sid.filter(|sid| *sid != room && self.chance.below(3) > 0);
        if let Some(node) = &self.nodes[number] {
            node.backend.publish(&self.run, room, except);
        }
    }

    pub(super) fn revoke(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        let number = self.any_node();
        if let Some(node) = &self.nodes[number] {
            let verb = Verb::Revoke(client.connection);
            node.backend.request(&self.run, verb);
        }
    }
}
