//! The steps of foreign servers, drawn from a random sequence of their own, so that all other steps of a run are the
//! same with and without them.

use super::*;
use crate::simulator::foreign::record::{ANNEX, Dialect, Party};
use crate::simulator::foreign::{ForeignServer, Parties};
use crate::simulator::history::EVERYBODY;

/// The foreign servers of a run.
pub struct ForeignServers {
    chance: Chance,
    pub parties: Parties,
    pub servers: Vec<ForeignServer>,
}

#[derive(Debug, Clone, Copy)]
enum ForeignStep {
    Nothing,
    Emit,
    /// An emit with acks.
    Call,
    Fetch,
    EmitToServers,
    /// Puts a socket into the annex, or takes it out.
    Move,
    Disconnect,
    Cut,
    Kill,
    Start,
    /// A node is stopped, and hands over if it translates.
    StopNode,
}

const FOREIGN_STEPS: [(usize, ForeignStep); 11] = [
    (30, ForeignStep::Nothing),
    (24, ForeignStep::Emit),
    (8, ForeignStep::Call),
    (4, ForeignStep::Fetch),
    (2, ForeignStep::EmitToServers),
    (8, ForeignStep::Move),
    (1, ForeignStep::Disconnect),
    (1, ForeignStep::Cut),
    (1, ForeignStep::Kill),
    (2, ForeignStep::Start),
    (1, ForeignStep::StopNode),
];

impl ForeignServers {
    pub fn new(chance: Chance) -> Self {
        Self {
            chance,
            parties: Parties::default(),
            servers: Vec::new(),
        }
    }
}

impl World {
    /// Starts a server of each kind that the run has.
    pub(super) fn start_foreign(&mut self) {
        for dialect in self.features.foreign.dialects() {
            self.start_server(dialect);
        }
    }

    fn start_server(&mut self, dialect: Dialect) {
        let ForeignServers {
            chance, parties, ..
        } = &mut self.foreign;
        let place = (&self.run, &self.shared.hub, &*parties);
        let server = ForeignServer::start(place, dialect, chance);
        self.foreign.servers.push(server);
        self.set_latency();
    }

    /// Records a node as a member of the bus.
    pub(super) fn note_party(&self, number: usize) {
        if let Some(node) = &self.nodes[number] {
            let mut parties = self.foreign.parties.borrow_mut();
            parties.insert(node.member, Party::Node(number));
        }
    }

    /// Executes a random step of a foreign server.
    pub(super) fn foreign_step(&mut self) {
        let dialects = self.features.foreign.dialects();
        if dialects.is_empty() {
            return;
        }
        let step = self.foreign.chance.weighted(&FOREIGN_STEPS);
        if let ForeignStep::StopNode = step {
            let alive = self.alive();
            let number = alive[self.foreign.chance.below(alive.len())];
            return self.stop_node(number);
        }
        if let ForeignStep::Start = step {
            let dialect = dialects[self.foreign.chance.below(dialects.len())];
            let servers = self.foreign.servers.iter();
            let running = servers.filter(|server| server.dialect == dialect).count();
            if running < 2 {
                self.start_server(dialect);
            }
            return;
        }
        if self.foreign.servers.is_empty() {
            return;
        }
        let place = self.foreign.chance.below(self.foreign.servers.len());
        match step {
            ForeignStep::Cut => {
                let time = self.foreign.chance.milliseconds(200, 8_000);
                self.cut_server(place, self.run.now() + time);
            }
            ForeignStep::Kill => self.kill_server(place),
            step => self.act(place, step),
        }
    }

    fn act(&mut self, place: usize, step: ForeignStep) {
        let room = self.any_target();
        let sid = self.any_sid();
        let chance = &mut self.foreign.chance;
        let (joins, timeout) = (chance.below(3) > 0, [None, Some(10_000)][chance.below(2)]);
        let except = sid.clone().filter(|_| chance.below(4) == 0);
        let server = &self.foreign.servers[place];
        let is_node = server.dialect == Dialect::Node;
        match step {
            ForeignStep::Emit => server.emit(&room, except, false, None),
            // A request over a lost connection is not repeated.
            _ if server.cut_until.is_some() => {}
            ForeignStep::Call if is_node || room != EVERYBODY => {
                server.emit(&room, except, true, timeout.filter(|_| is_node));
            }
            ForeignStep::Fetch if is_node => server.fetch(&room),
            ForeignStep::EmitToServers if is_node => server.emit_to_servers(),
            ForeignStep::Move => {
                if let Some(sid) = sid {
                    server.move_socket(&sid, joins);
                }
            }
            ForeignStep::Disconnect => {
                if let Some(sid) = sid {
                    server.disconnect(&sid);
                }
            }
            _ => {}
        }
    }

    /// A room, a socket or everybody.
    fn any_target(&mut self) -> String {
        let sid = self.any_sid();
        let chance = &mut self.foreign.chance;
        match (chance.below(10), sid) {
            (0, _) => EVERYBODY.to_owned(),
            (1 | 2, Some(sid)) => sid,
            (3, _) => ANNEX.to_owned(),
            _ => ROOMS[chance.below(ROOMS.len())].to_owned(),
        }
    }

    /// The id of a socket of a node or of a foreign server.
    fn any_sid(&mut self) -> Option<String> {
        let clients = self.open_clients();
        let mut sids: Vec<String> = clients.iter().filter_map(|client| client.sid()).collect();
        let history = self.run.history.borrow();
        for server in &self.foreign.servers {
            let sockets = history.foreign.lives[server.life].sockets.iter();
            sids.extend(sockets.map(|socket| socket.sid.clone()));
        }
        drop(history);
        let chance = &mut self.foreign.chance;
        (!sids.is_empty()).then(|| sids.swap_remove(chance.below(sids.len())))
    }

    fn cut_server(&mut self, place: usize, until: Duration) {
        let now = self.run.now();
        let server = &mut self.foreign.servers[place];
        if server.cut_until.is_none() {
            self.run.note(format_args!("f{} is cut", server.life));
            let cuts = &mut self.run.history.borrow_mut().foreign.lives[server.life].cuts;
            cuts.push((now, None));
            self.shared.hub.cut(server.member);
        }
        server.cut_until = server.cut_until.max(Some(until));
    }

    /// All foreign servers lose their connections, because the server of the bus fails over.
    pub(super) fn cut_servers(&mut self, until: Duration) {
        for place in 0..self.foreign.servers.len() {
            self.cut_server(place, until);
        }
    }

    pub(super) fn reconnect_servers(&mut self) {
        let now = self.run.now();
        for server in &mut self.foreign.servers {
            if server.cut_until.take_if(|until| *until <= now).is_none() {
                continue;
            }
            self.run.note(format_args!("f{} is connected", server.life));
            let cuts = &mut self.run.history.borrow_mut().foreign.lives[server.life].cuts;
            if let Some((_, end)) = cuts.last_mut() {
                *end = Some(now);
            }
            self.shared.hub.heal(server.member);
        }
    }

    fn kill_server(&mut self, place: usize) {
        let server = self.foreign.servers.remove(place);
        self.run.note(format_args!("f{} is killed", server.life));
        let lives = &mut self.run.history.borrow_mut().foreign.lives;
        lives[server.life].died = Some(self.run.now());
        self.shared.hub.kill(server.member);
    }

    pub(super) fn kill_servers(&mut self) {
        while !self.foreign.servers.is_empty() {
            self.kill_server(0);
        }
    }
}
