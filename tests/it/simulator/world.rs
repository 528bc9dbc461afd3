//! The cluster of a run and what happens to it: every step is drawn from the seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::memory::{Faults, Hub};
use tokio::time::{Instant, sleep};

use super::backend::KEY;
use super::client::{Client, Run};
use super::fault::{Fault, Kind};
use super::history::{History, NodeLife, Verb};
use super::node::{Node, SharedParts};
use super::random::{Chance, SeededIds};
use super::store::StoreServer;
use crate::support::server::config;

mod faults;
mod requests;

pub const USERS: [&str; 4] = ["anna", "ben", "carla", "dan"];
pub const ROOMS: [&str; 4] = ["lobby", "news", "team:1", "team:2"];
/// Usual delay of a message on the bus.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));
/// Small limits of the bytes that one client may leave unread, so that some clients become slow consumers, and the API.
const SETTINGS: [(&str, &str); 5] = [
    ("SOCKET__OUTBOX_LIMIT", "8KiB"),
    ("SOCKET__OUTBOX_HARD_LIMIT", "24KiB"),
    ("ENGINE__MAX_PAYLOAD", "8KiB"),
    ("LIMITS__PER_CLIENT", "off"),
    ("API__KEY", KEY),
];

pub struct World {
    pub run: Run,
    shared: SharedParts,
    /// By number; `None` once killed.
    pub nodes: Vec<Option<Node>>,
    pub clients: Vec<Rc<Client>>,
    /// The maximum of bytes queued on one node at any time.
    pub most_queued: i64,
    chance: Chance,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect,
    Join,
    Leave,
    Emit,
    EmitToSocket,
    Ask,
    Burst,
    /// A request of a backend that reads.
    Read,
    /// A request of a backend to emit, with the number of recipients.
    ApiEmit,
    /// A request of a backend to emit and collect the acks.
    Call,
    /// A request of a backend to revoke the token of a client.
    Revoke,
    /// Another server of Redis takes over, without the changes of the last second.
    FailOver,
    PauseClient,
    Close,
    Partition,
    Deafen,
    Stall,
    Kill,
    StartNode,
    Heal,
}

const STEPS: [(usize, Step); 20] = [
    (10, Step::Connect),
    (22, Step::Join),
    (8, Step::Leave),
    (60, Step::Emit),
    (10, Step::EmitToSocket),
    (8, Step::Ask),
    (4, Step::Burst),
    (30, Step::Read),
    (6, Step::ApiEmit),
    (6, Step::Call),
    (2, Step::Revoke),
    (1, Step::FailOver),
    (3, Step::PauseClient),
    (3, Step::Close),
    (2, Step::Partition),
    (1, Step::Deafen),
    (2, Step::Stall),
    (1, Step::Kill),
    (1, Step::StartNode),
    (4, Step::Heal),
];

/// Makes the request of a backend about a room, or about everything.
type OfRoom = fn(String) -> Verb;

impl World {
    pub async fn start(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let run = Run {
            history: Rc::new(RefCell::new(History::default())),
            began: Instant::now(),
        };
        let sessions = chance.weighted(&[(6, "any"), (1, "newest"), (1, "oldest")]);
        run.history.borrow_mut().one_session = sessions == "newest";
        let mut settings = SETTINGS.to_vec();
        settings.push(("AUTH__SESSIONS_PER_USER", sessions));
        let mut world = Self {
            run,
            shared: SharedParts {
                config: config(&settings),
                hub: Hub::seeded(chance.next()),
                store: StoreServer::default(),
                random: Arc::new(SeededIds::new(chance.next())),
            },
            nodes: Vec::new(),
            clients: Vec::new(),
            most_queued: 0,
            chance,
        };
        for _ in 0..world.chance.between(2, 4) {
            world.start_node();
        }
        // The links connect and subscribe to the channels that do not depend on rooms.
        sleep(Duration::from_secs(1)).await;
        for _ in 0..world.chance.between(3, 8) {
            world.connect();
        }
        sleep(Duration::from_secs(1)).await;
        world
    }

    pub async fn live(&mut self) {
        for _ in 0..self.chance.between(60, 250) {
            let step = self.chance.weighted(&STEPS);
            self.step(step);
            let longest = self.chance.weighted(&[(6, 20), (3, 300), (1, 3_000)]);
            let time = self.chance.milliseconds(0, longest);
            sleep(time).await;
            self.observe();
        }
    }

    /// Ends all faults and waits until everything in flight has arrived.
    pub async fn calm(&mut self) {
        while self.heal() {}
        sleep(Duration::from_secs(60)).await;
    }

    /// Lets a backend of every node read everything, one request after the other.
    pub async fn survey(&self) {
        for node in self.nodes.iter().flatten() {
            for room in ROOMS {
                node.backend
                    .request(&self.run, Verb::Sockets(room.to_owned()));
                node.backend
                    .request(&self.run, Verb::Members(room.to_owned()));
            }
            for verb in [
                Verb::Everybody,
                Verb::Rooms,
                Verb::Users,
                Verb::Named,
                Verb::Info,
                Verb::Answers,
            ] {
                node.backend.request(&self.run, verb);
            }
            for client in self.open_clients() {
                node.backend
                    .request(&self.run, Verb::Socket(client.connection));
            }
        }
        sleep(Duration::from_secs(5)).await;
    }

    /// Closes all clients; returns what the nodes still hold, which should be nothing.
    pub async fn end(&mut self) -> Vec<String> {
        for client in self.open_clients() {
            client.close();
        }
        sleep(Duration::from_secs(120)).await;
        // A new node has only the subscriptions that every node keeps.
        let chance = Chance::new(self.chance.next());
        let fresh = Node::start(self.nodes.len(), &self.shared, 1, chance);
        // Heartbeats never end: without latency none of them is in flight.
        self.remove_latency();
        sleep(Duration::from_secs(1)).await;
        let subscriptions = self.shared.hub.channel_count(fresh.member);
        let mut wrong = Vec::new();
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
            let channels = self.shared.hub.channel_count(node.member);
            expect(
                format!("n{number} subscriptions"),
                subscriptions as i64,
                channels as i64,
            );
        }
        expect(
            "messages in flight".to_owned(),
            0,
            self.shared.hub.in_flight() as i64,
        );
        let limit = self.queue_limit();
        if self.most_queued > limit {
            wrong.push(format!(
                "{} bytes queued on one node, above {limit}",
                self.most_queued
            ));
        }
        wrong
    }

    /// Bytes that the clients of one node may leave unread: each the hard limit and one packet on top.
    fn queue_limit(&self) -> i64 {
        let limits = &self.shared.config;
        let client = limits.socket.outbox_hard_limit + limits.engine.max_payload;
        (client * self.clients.len()) as i64
    }

    fn observe(&mut self) {
        for node in self.nodes.iter().flatten() {
            self.most_queued = self.most_queued.max(node.metrics.send_queue_bytes.get());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect => self.connect(),
            Step::Join => self.join(),
            Step::Leave => self.leave(),
            Step::Emit => self.emit(false, 1),
            Step::Ask => self.emit(true, 1),
            Step::Burst => self.emit(false, 60),
            Step::Read => self.read(),
            Step::ApiEmit => self.api_emit(false),
            Step::Call => self.api_emit(true),
            Step::Revoke => self.revoke(),
            Step::FailOver => self.fail_over(),
            Step::EmitToSocket => self.emit_to_socket(),
            Step::PauseClient => self.pause_client(),
            Step::Close => self.close(),
            Step::Partition => self.fault(Kind::Partition),
            Step::Deafen => self.fault(Kind::Deaf),
            Step::Stall => self.fault(Kind::Stall),
            Step::Kill => self.kill(),
            Step::StartNode => self.start_node(),
            Step::Heal => {
                self.heal();
            }
        }
    }

    fn start_node(&mut self) {
        if self.nodes.iter().flatten().count() >= 5 {
            return;
        }
        let workers = self.chance.between(1, 3);
        let number = self.nodes.len();
        let chance = Chance::new(self.chance.next());
        let node = Node::start(number, &self.shared, workers, chance);
        let name = node.name;
        self.run.history.borrow_mut().nodes.push(NodeLife {
            name: name.to_string(),
            workers,
            started: self.run.now(),
        });
        self.run
            .note(format_args!("n{number} is {name}, {workers} workers"));
        self.nodes.push(Some(node));
        self.set_latency();
    }

    fn remove_latency(&self) {
        for from in self.nodes.iter().flatten() {
            for to in self.nodes.iter().flatten() {
                self.shared
                    .hub
                    .set_faults(from.member, to.member, Faults::default());
            }
        }
    }

    fn set_latency(&self) {
        let delay = |delay| Faults {
            delay,
            ..Faults::default()
        };
        for (number, from) in self.nodes.iter().enumerate() {
            for (other, to) in self.nodes.iter().enumerate() {
                let (Some(from), Some(to)) = (from, to) else {
                    continue;
                };
                let stalled =
                    self.is_faulty(number, Kind::Stall) || self.is_faulty(other, Kind::Stall);
                let late = Duration::from_secs(2);
                let time = if stalled { (late, late) } else { LATENCY };
                self.shared
                    .hub
                    .set_faults(from.member, to.member, delay(time));
            }
        }
    }

    fn alive(&self) -> Vec<usize> {
        let alive = |number: &usize| self.nodes[*number].is_some();
        (0..self.nodes.len()).filter(alive).collect()
    }

    fn open_clients(&self) -> Vec<Rc<Client>> {
        self.clients
            .iter()
            .filter(|client| client.is_open())
            .cloned()
            .collect()
    }

    fn any_client(&mut self) -> Option<Rc<Client>> {
        let open = self.open_clients();
        let connected: Vec<_> = open
            .into_iter()
            .filter(|client| client.sid().is_some())
            .collect();
        (!connected.is_empty()).then(|| Rc::clone(&connected[self.chance.below(connected.len())]))
    }

    fn connect(&mut self) {
        let alive = self.alive();
        if self.open_clients().len() >= 12 {
            return;
        }
        let number = alive[self.chance.below(alive.len())];
        if let Some(node) = &self.nodes[number] {
            let session = node.open_session(self.chance.below(node.workers()));
            let user = USERS[self.chance.below(USERS.len())];
            self.clients
                .push(Client::connect(&self.run, number, user, session));
        }
    }

    fn rooms_of(&self, client: &Client) -> Vec<String> {
        let history = self.run.history.borrow();
        let stays = &history.connections[client.connection].stays;
        let open = stays.iter().filter(|stay| stay.left.is_none());
        open.map(|stay| stay.room.clone()).collect()
    }

    fn join(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        let room = ROOMS[self.chance.below(ROOMS.len())];
        if !self.rooms_of(&client).iter().any(|joined| joined == room) {
            client.join(room);
        }
    }

    fn leave(&mut self) {
        let Some(client) = self.any_client() else {
            return;
        };
        let rooms = self.rooms_of(&client);
        if !rooms.is_empty() {
            client.leave(&rooms[self.chance.below(rooms.len())]);
        }
    }

    fn emit(&mut self, with_ack: bool, times: usize) {
        let Some(client) = self.any_client() else {
            return;
        };
        let room = ROOMS[self.chance.below(ROOMS.len())];
        for _ in 0..times {
            client.emit(room, with_ack);
        }
    }

    fn emit_to_socket(&mut self) {
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

    fn pause_client(&mut self) {
        let time = self.chance.milliseconds(500, 15_000);
        if let Some(client) = self.any_client() {
            client.pause(time);
        }
    }

    fn close(&mut self) {
        if let Some(client) = self.any_client() {
            client.close();
        }
    }
}
