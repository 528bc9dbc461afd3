//! Requests of backends to random nodes.

use super::*;

impl World {
    pub(super) fn any_node(&mut self) -> usize {
        let alive = self.alive();
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
