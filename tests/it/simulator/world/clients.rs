//! What clients do, and how they lose their connections and return.

use super::*;
use crate::simulator::client::{Entrance, Loss};
use crate::simulator::history::JoinedSince;

impl World {
    pub(super) fn open_clients(&self) -> Vec<Rc<Client>> {
        self.clients
            .iter()
            .filter(|client| client.is_open())
            .cloned()
            .collect()
    }

    pub(super) fn any_client(&mut self) -> Option<Rc<Client>> {
        let open = self.open_clients();
        let connected: Vec<_> = open
            .into_iter()
            .filter(|client| client.sid().is_some())
            .collect();
        (!connected.is_empty()).then(|| Rc::clone(&connected[self.chance.below(connected.len())]))
    }

    pub(super) fn connect(&mut self) {
        let alive = self.alive();
        if self.open_clients().len() >= 12 {
            return;
        }
        let number = alive[self.chance.below(alive.len())];
        let user = USERS[self.chance.below(USERS.len())];
        let recovers = self.features.recovers() && self.chance.below(4) > 0;
        self.connect_to(number, user.to_owned(), (recovers, None));
    }

    fn connect_to(
        &mut self,
        number: usize,
        user: String,
        (recovers, resume): (bool, Option<Resume>),
    ) -> Option<Rc<Client>> {
        let node = self.nodes[number].as_ref()?;
        let session = node.open_session(self.chance.below(node.workers()));
        let entrance = Entrance {
            node: number,
            paused_until: Rc::clone(&node.paused_until),
            user,
            recovers,
            resume,
        };
        let client = Client::connect(&self.run, entrance, session);
        self.clients.push(Rc::clone(&client));
        Some(client)
    }

    /// A client loses its connection now, or after some more events.
    pub(super) fn lose(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        match self.chance.below(3) {
            0 => client.lose(Loss::Noticed),
            1 => client.lose(Loss::Silent),
            _ => client.lose_after(self.chance.below(8)),
        }
    }

    /// Clients that have lost their connection return to any node, some of them only to lose it again.
    pub(super) fn let_clients_return(&mut self) {
        let now = self.run.now();
        for client in self.clients.clone() {
            let Some(resume) = client.take_lost() else {
                continue;
            };
            let longest = self
                .chance
                .weighted(&[(4, 50), (4, 2_000), (2, 15_000), (1, 45_000)]);
            let due = now + self.chance.milliseconds(0, longest);
            let user = client.user.clone();
            self.returns.push(Return { due, user, resume });
        }
        let (due, later) = std::mem::take(&mut self.returns)
            .into_iter()
            .partition(|it| it.due <= now);
        self.returns = later;
        let due: Vec<Return> = due;
        for Return { user, resume, .. } in due {
            let alive = self.alive();
            let number = alive[self.chance.below(alive.len())];
            let client = self.connect_to(number, user, (true, resume));
            if let Some(client) = client.filter(|_| self.chance.below(4) == 0) {
                client.lose_after(self.chance.below(12));
            }
        }
    }

    pub(super) fn rooms_of(&self, client: &Client) -> Vec<String> {
        let history = self.run.history.borrow();
        let stays = &history.connections[client.connection].stays;
        let open = stays.iter().filter(|stay| stay.left.is_none());
        open.map(|stay| stay.room.clone()).collect()
    }

    /// Lets a client join a room, perhaps with what the log of the room has.
    pub(super) fn join(&mut self, with_log: bool) {
        let Some(client) = self.any_client() else {
            return;
        };
        let room = ROOMS[self.chance.below(ROOMS.len())];
        let since = self.any_since(room).filter(|_| with_log);
        if !self.rooms_of(&client).iter().any(|joined| joined == room) {
            client.join(room, since);
        }
    }

    /// What a client requests of the log of a room.
    fn any_since(&mut self, room: &str) -> Option<JoinedSince> {
        let logged = self.features.has_log(room);
        match self.chance.below(5) {
            0 if logged => Some(JoinedSince::Last(self.chance.below(40))),
            1 if logged => {
                let positions = self.appends.positions(room);
                (!positions.is_empty()).then(|| {
                    let chosen = self.chance.below(positions.len());
                    JoinedSince::Position(positions[chosen].clone())
                })
            }
            _ => None,
        }
    }

    pub(super) fn leave(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        let rooms = self.rooms_of(&client);
        if !rooms.is_empty() {
            client.leave(&rooms[self.chance.below(rooms.len())]);
        }
    }

    pub(super) fn emit(&mut self, with_ack: bool, times: usize) {
        let Some(client) = self.any_client() else {
            return;
        };
        let room = ROOMS[self.chance.below(ROOMS.len())];
        for _ in 0..times {
            client.emit(room, with_ack);
        }
    }

    pub(super) fn emit_to_socket(&mut self) {
        let (Some(client), Some(target)) = (self.any_client(), self.any_client()) else {
            return;
        };
        if let Some(sid) = target
            .sid()
            .filter(|_| target.connection != client.connection)
        {
            client.emit(&sid, false);
        }
    }

    pub(super) fn pause_client(&mut self) {
        let time = self.chance.milliseconds(500, 15_000);
        if let Some(client) = self.any_client() {
            client.pause(time);
        }
    }

    pub(super) fn close(&mut self) {
        let is_final = self.chance.below(2) == 0;
        if let Some(client) = self.any_client() {
            client.close(is_final);
        }
    }
}
