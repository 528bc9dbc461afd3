//! The cluster of a run and what happens to it: every step is drawn from the seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use roomwire::bus::memory::{Faults, Hub};
use roomwire::cluster::start::dialects;
use roomwire::model::NodeId;
use tokio::time::{Instant, sleep};

use super::client::{Client, Resume, Run};
use super::fault::{Fault, Kind};
use super::features::{Features, Foreign};
use super::history::{History, NodeLife, Verb};
use super::logs::Appends;
use super::mutation::Mutator;
use super::node::{Node, SharedParts};
use super::random::{Chance, SeededIds};
use super::store::StoreServer;
use foreign::ForeignServers;

mod clients;
mod damage;
mod end;
mod faults;
mod foreign;
mod requests;

pub const USERS: [&str; 4] = ["anna", "ben", "carla", "dan"];
pub const ROOMS: [&str; 4] = ["lobby", "news", "team:1", "team:2"];
/// Usual delay of a message on the bus.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(40));
/// How far the clock of the server of the bus is ahead at first, so that that of another one can be behind it.
const CLOCK: Duration = Duration::from_secs(10);
/// Time without faults before the survey: lost nodes are announced, and lost sockets noticed.
const QUIET: Duration = Duration::from_secs(60);
pub struct World {
    pub run: Run,
    shared: SharedParts,
    /// By number; `None` once killed.
    pub nodes: Vec<Option<Node>>,
    pub clients: Vec<Rc<Client>>,
    /// The maximum of bytes queued on one node at any time.
    pub most_queued: i64,
    chance: Chance,
    features: Features,
    appends: Appends,
    /// Clients that have lost their connection, and when they return.
    returns: Vec<Return>,
    /// Until then the server of the bus and the store fails over.
    fails_over_until: Duration,
    /// How far the clock of that server is ahead of the time of the run.
    clock: Duration,
    foreign: ForeignServers,
}

/// A client that returns.
struct Return {
    due: Duration,
    user: String,
    resume: Option<Resume>,
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
    /// A request of a backend to emit to a user, a socket, everybody, or a room without one of its sockets.
    Publish,
    /// A request of a backend to emit and collect the acks.
    Call,
    /// A request of a backend to revoke the token of a client.
    Revoke,
    /// Another server of Redis takes over, without the changes of the last second.
    FailOver,
    PauseClient,
    Close,
    /// A client loses its connection, and returns if its session can be recovered.
    Lose,
    Partition,
    Deafen,
    Stall,
    /// The process of a node is paused.
    PauseNode,
    Kill,
    StartNode,
    Heal,
}

const STEPS: [(usize, Step); 23] = [
    (10, Step::Connect),
    (22, Step::Join),
    (8, Step::Leave),
    (60, Step::Emit),
    (10, Step::EmitToSocket),
    (8, Step::Ask),
    (4, Step::Burst),
    (30, Step::Read),
    (6, Step::ApiEmit),
    (6, Step::Publish),
    (6, Step::Call),
    (2, Step::Revoke),
    (1, Step::FailOver),
    (3, Step::PauseClient),
    (3, Step::Close),
    (10, Step::Lose),
    (2, Step::Partition),
    (1, Step::Deafen),
    (2, Step::Stall),
    (1, Step::PauseNode),
    (1, Step::Kill),
    (1, Step::StartNode),
    (4, Step::Heal),
];

/// Makes the request of a backend about a room, or about everything.
type OfRoom = fn(String) -> Verb;

impl World {
    /// Starts a cluster, with foreign servers if the seed has them and `foreign` is set.
    pub async fn start(seed: u64, foreign: bool, mutator: Arc<Mutator>) -> Self {
        let mut chance = Chance::new(seed);
        let mut foreign_chance = Chance::new(!seed);
        let run = Run {
            history: Rc::new(RefCell::new(History::default())),
            began: Instant::now(),
            mutator,
        };
        let mut features = Features::random(&mut chance);
        if foreign {
            features.foreign = Foreign::random(&mut foreign_chance);
        }
        run.note(format_args!("{features:?}"));
        {
            let mut history = run.history.borrow_mut();
            history.one_session = features.sessions == "newest";
            history.features = features;
        }
        let mut world = Self {
            run,
            shared: SharedParts {
                config: features.config(),
                hub: Hub::seeded(chance.next()),
                store: StoreServer::default(),
                random: Arc::new(SeededIds::new(chance.next())),
            },
            nodes: Vec::new(),
            clients: Vec::new(),
            most_queued: 0,
            chance,
            features,
            appends: Appends::default(),
            returns: Vec::new(),
            fails_over_until: Duration::ZERO,
            clock: CLOCK,
            foreign: ForeignServers::new(foreign_chance),
        };
        if features.foreign == Foreign::Both {
            world.shared.hub.keep_common_order();
        }
        world.shared.hub.fail_over(Duration::ZERO, CLOCK);
        world.observe_logs();
        for _ in 0..world.chance.between(2, 4) {
            world.start_node();
        }
        world.start_foreign();
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
            self.foreign_step();
            let longest = self.chance.weighted(&[(6, 20), (3, 300), (1, 3_000)]);
            let time = self.chance.milliseconds(0, longest);
            sleep(time).await;
            self.observe();
            self.let_clients_return();
        }
    }

    /// Ends all faults and waits until everything in flight has arrived.
    pub async fn calm(&mut self) {
        let mut quiet_since = self.run.now();
        while self.run.now() < quiet_since + QUIET {
            if self.heal() || self.has_faults() {
                quiet_since = self.run.now();
            }
            sleep(Duration::from_secs(1)).await;
            self.observe();
            self.let_clients_return();
        }
    }

    /// After the faults, the clients request the members of their rooms; then clients connect, disconnect, join and leave.
    /// The oracle of presence compares these lists and all later changes with the members at the end.
    pub async fn stir(&mut self) {
        for client in self.open_clients() {
            for room in self.rooms_of(&client) {
                if self.features.has_presence(&room) {
                    client.list_members(&room);
                }
            }
        }
        sleep(Duration::from_secs(5)).await;
        for _ in 0..12 {
            match self.chance.below(4) {
                0 => self.connect(),
                1 => self.leave(),
                2 => self.close(),
                // The logs no longer keep what they had at the time of the faults.
                _ => self.join(false),
            }
            sleep(Duration::from_secs(1)).await;
        }
        sleep(QUIET).await;
    }

    /// Lets a backend of every node read everything, one request after the other.
    pub async fn survey(&self) {
        {
            let mut history = self.run.history.borrow_mut();
            history.appended = self.appends.take();
            history.surveyed = self.run.now();
        }
        self.damage_presence();
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

    fn observe(&mut self) {
        self.reconnect_servers();
        self.end_stopped_nodes();
        self.end_fenced_nodes();
        self.damage();
        for node in self.nodes.iter().flatten() {
            self.most_queued = self.most_queued.max(node.metrics.send_queue_bytes.get());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect => self.connect(),
            Step::Join => self.join(true),
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
            Step::Lose => self.lose(),
            Step::Publish => self.publish(),
            Step::PauseNode => self.pause_node(),
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
        let node = Node::start((&self.run, number), &self.shared, workers, chance);
        let name = node.name;
        self.run.history.borrow_mut().nodes.push(NodeLife {
            name: name.to_string(),
            workers,
            started: self.run.now(),
            fenced: None,
            stopped: None,
        });
        self.run
            .note(format_args!("n{number} is {name}, {workers} workers"));
        self.nodes.push(Some(node));
        self.note_party(number);
        self.set_latency();
    }

    /// Notes what is appended to the logs.
    fn observe_logs(&self) {
        let node = NodeId::random(&SeededIds::new(0));
        let dialects = dialects(&self.shared.config.bus, node);
        self.appends.observe(&self.shared.hub, &dialects[0]);
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
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.filter_map(|(number, node)| Some((number, node.as_ref()?)));
        let nodes = nodes.map(|(number, node)| (node.member, self.is_faulty(number, Kind::Stall)));
        let servers = self.foreign.servers.iter();
        let servers = servers.map(|server| (server.member, false));
        let members: Vec<_> = nodes.chain(servers).collect();
        for (from, from_stalls) in &members {
            for (to, to_stalls) in &members {
                let late = Duration::from_secs(2);
                // With a common order, a message that reaches the bus late would delay those that others publish.
                let in_order = self.features.foreign == Foreign::Both;
                let stalled = *to_stalls || *from_stalls && !in_order;
                let time = if stalled { (late, late) } else { LATENCY };
                self.shared.hub.set_faults(*from, *to, delay(time));
            }
        }
    }

    fn alive(&self) -> Vec<usize> {
        let alive = |number: &usize| self.nodes[*number].is_some();
        (0..self.nodes.len()).filter(alive).collect()
    }
}
