//! Random interleavings of what is published, arrives, is lost and is read: members receive everything in order, once, or
//! the gap is named.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use crate::cluster::dialect::LoggedEmit;
use crate::cluster::sequencer::tracked::{LogPhase, Tracked};
use crate::cluster::sequencer::{LogStep, PAGE, Sequencer};
use crate::history::{BROADCAST, LogName, LogPage, LogTable, LogTarget, Tails};
use crate::model::random::OsRandom;
use crate::model::{Emit, Epoch, Namespace, Payload, Position, Room, Selector};

/// The logged rooms. Nobody is in the log of `own`, the room of a single socket.
const ROOMS: [&str; 4] = ["a", "b", "c", "own"];
/// The rooms of each member. All receive broadcasts.
const MEMBERS: [&[&str]; 4] = [&["a"], &["b"], &["a", "b", "c"], &["b", "c", "own"]];

#[derive(Debug, Clone)]
enum Action {
    /// To these rooms; to all sockets if there is none.
    Publish(u8),
    Arrive,
    /// The server runs one of the requested reads.
    Execute(usize),
    /// The response to one of them arrives.
    Respond(usize),
    Cut,
    Heal,
    LoseLogs,
    /// The next message does not arrive, without an interruption.
    Lose,
    /// Somebody joins room `c` who was in no room, or all members leave it.
    Leave,
    Join,
    Expire,
    CheckTails,
}

/// A response to a read.
enum Response {
    Page(u64, LogName, LogPage),
    Tails(u64, Vec<LogName>, Tails),
    Checked(Vec<LogName>, Tails),
}

/// What the bus delivers.
enum Message {
    Logged(Box<LoggedEmit>),
    Fence,
}

/// An event, or a position before or after which events are lost: by epoch in the order of their beginnings.
type At = (usize, u64);

struct Cluster {
    table: LogTable<Emit>,
    epochs: Vec<Epoch>,
    length: u32,
    clock: u64,
    sequencer: Sequencer,
    cut: bool,
    arriving: VecDeque<Message>,
    requested: Vec<LogStep>,
    responses: Vec<Response>,
    /// The rooms of each event, and whether its members are owed it.
    published: BTreeMap<At, (Vec<&'static str>, bool)>,
    received: [Vec<At>; MEMBERS.len()],
    /// Room (`all` for broadcasts), after, before.
    gaps: Vec<(String, At, At)>,
    /// The epochs that the node has known.
    known: Vec<Option<Epoch>>,
    /// The fence that was requested last.
    fence: u64,
    /// Since when room `c` has members.
    c_since: Option<u64>,
}

fn name(room: &str) -> LogName {
    LogName::of_room(Namespace::main(), Room::from(room))
}

fn logs() -> Vec<LogName> {
    let all = LogName::of_namespace(Namespace::main());
    ["a", "b", "c"].map(name).into_iter().chain([all]).collect()
}

impl Cluster {
    fn new(length: u32) -> Self {
        let epoch = Epoch::random(&OsRandom);
        let mut cluster = Self {
            table: LogTable::new(epoch, 1 << 20),
            epochs: vec![epoch],
            length,
            clock: 10,
            sequencer: Sequencer::default(),
            cut: false,
            arriving: VecDeque::new(),
            requested: Vec::new(),
            responses: Vec::new(),
            published: BTreeMap::new(),
            received: Default::default(),
            gaps: Vec::new(),
            known: Vec::new(),
            fence: 0,
            c_since: Some(0),
        };
        cluster.sequencer.subscribed(logs());
        cluster.take();
        cluster.settle();
        cluster
    }

    fn at(&self, position: Position) -> At {
        let epoch = self
            .epochs
            .iter()
            .position(|epoch| *epoch == position.epoch);
        (epoch.unwrap(), position.n)
    }

    fn publish(&mut self, selection: u8) {
        let chosen = ROOMS.iter().enumerate();
        let rooms: Vec<&str> = chosen
            .filter(|(index, _)| selection >> index & 1 == 1)
            .map(|(_, room)| *room)
            .collect();
        let mut to = Selector::everybody(Namespace::main());
        to.rooms = rooms.iter().map(|room| Room::from(*room)).collect();
        let emit = Emit {
            to,
            payload: Payload::event("e", ["1"]),
            volatile: false,
            ack: None,
            conflate: None,
        };
        let target = |(index, name): (u16, LogName)| LogTarget {
            index,
            name,
            length: self.length,
            age: Duration::from_secs(600),
        };
        let named = rooms.iter().enumerate();
        let named = named.map(|(index, room)| (index as u16, name(room)));
        let mut targets: Vec<LogTarget> = named.map(target).collect();
        if rooms.is_empty() {
            let all = LogName::of_namespace(Namespace::main());
            targets.push(target((BROADCAST, all)));
        }
        self.clock += 10;
        let stamp = self.table.append(self.clock, &targets, 1, &emit);
        let at = self.at(stamp.position);
        self.published.insert(at, (rooms, true));
        if !self.cut {
            let is_own = false;
            self.arriving
                .push_back(Message::Logged(Box::new(LoggedEmit {
                    emit,
                    stamp,
                    is_own,
                })));
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Publish(rooms) => self.publish(rooms),
            Action::Arrive => match self.arriving.pop_front() {
                Some(Message::Logged(logged)) => self.sequencer.receive(*logged),
                Some(Message::Fence) => self.sequencer.fenced(None),
                None => {}
            },
            Action::Lose => self.lose(),
            Action::Execute(index) => self.execute(index),
            Action::Respond(index) => self.respond(index),
            Action::Cut => {
                self.cut = true;
                self.arriving.clear();
                self.sequencer.suspend(true);
            }
            Action::Heal if self.cut => {
                self.cut = false;
                self.sequencer.subscribed(logs().into_iter().take(2));
                self.take();
                self.sequencer.interrupted();
            }
            // Once: messages of an epoch that the node has not known, after it has known the next, are not expected.
            Action::LoseLogs if self.epochs.len() == 1 && self.sequencer.epoch.is_some() => {
                let epoch = Epoch::random(&OsRandom);
                self.epochs.push(epoch);
                self.table = LogTable::new(epoch, 1 << 20);
            }
            Action::Leave => {
                self.c_since = None;
                self.sequencer.unsubscribed(&name("c"));
                // Whether these members still receive what is on its way does not matter.
                let owed = self.published.values_mut();
                owed.for_each(|(rooms, owed)| *owed &= !rooms.contains(&"c"));
            }
            Action::Join if self.c_since.is_none() && !self.cut => {
                self.c_since = Some(self.clock + 1);
                self.sequencer.subscribed([name("c")]);
            }
            Action::Expire => self.sequencer.expire(),
            Action::CheckTails => self.sequencer.check_tails(),
            Action::Heal | Action::Join | Action::LoseLogs => {}
        }
        self.take();
    }

    /// Loses what would arrive next.
    fn lose(&mut self) {
        let Some(Message::Logged(logged)) = self.arriving.pop_front() else {
            return;
        };
        let position = logged.stamp.position;
        let c = self.sequencer.logs.get(&name("c"));
        let is_new = |log: &Tracked| log.phase == LogPhase::Starting || position.n <= log.start;
        if c.is_some_and(is_new) {
            // Nothing shows that it was published after the first member had joined.
            let at = self.at(position);
            self.published
                .entry(at)
                .and_modify(|(_, owed)| *owed = false);
        }
    }

    fn execute(&mut self, index: usize) {
        if self.requested.is_empty() || self.cut {
            return;
        }
        let index = index % self.requested.len();
        let response = match self.requested.swap_remove(index) {
            LogStep::Read {
                log,
                after,
                request,
            } => {
                let page = self.table.read(&log, after, None, PAGE);
                Response::Page(request, log, page)
            }
            LogStep::ReadTails { logs, request } => {
                let tails = self.table.tails(&logs);
                Response::Tails(request, logs, tails)
            }
            LogStep::CheckTails(logs) => {
                let tails = self.table.tails(&logs);
                Response::Checked(logs, tails)
            }
            step => unreachable!("{step:?}"),
        };
        self.responses.push(response);
    }

    fn respond(&mut self, index: usize) {
        if self.responses.is_empty() {
            return;
        }
        let index = index % self.responses.len();
        match self.responses.swap_remove(index) {
            Response::Page(request, log, page) => self.sequencer.page_read(request, &log, page),
            Response::Tails(request, logs, tails) => {
                self.sequencer.tails_read(request, &logs, &tails);
            }
            Response::Checked(logs, tails) => self.sequencer.tails_checked(&logs, &tails),
        }
    }

    fn take(&mut self) {
        for step in self.sequencer.take_steps() {
            match step {
                LogStep::Deliver { emit, position, .. } => self.deliver(&emit, position),
                LogStep::ReportGap { log, after, before } => {
                    let room = log
                        .room
                        .map_or_else(|| "all".to_owned(), |room| room.to_string());
                    self.gaps.push((room, self.at(after), self.at(before)));
                }
                LogStep::Fence(number) => {
                    self.fence = number;
                    if !self.cut {
                        self.arriving.push_back(Message::Fence);
                    }
                }
                LogStep::CountDuplicate => {}
                read => self.requested.push(read),
            }
        }
        self.known.push(self.sequencer.epoch);
    }

    fn deliver(&mut self, emit: &Emit, position: Position) {
        let at = self.at(position);
        for (member, rooms) in MEMBERS.iter().enumerate() {
            let is_in = |room: &Room| {
                let has_members = **room != *"c" || self.c_since.is_some();
                has_members && rooms.contains(&&**room)
            };
            let selected = emit.to.rooms.is_empty() || emit.to.rooms.iter().any(is_in);
            if selected && !emit.to.except.iter().any(is_in) {
                self.received[member].push(at);
            }
        }
    }

    /// Everything arrives.
    fn settle(&mut self) {
        self.act(&Action::Heal);
        for _ in 0..10_000 {
            self.act(&Action::Arrive);
            self.act(&Action::Execute(0));
            self.act(&Action::Respond(0));
            if self.arriving.is_empty() && self.requested.is_empty() && self.responses.is_empty() {
                if self.sequencer.fence.is_none() {
                    return;
                }
                // It was lost.
                self.sequencer.fenced(Some(self.fence));
                self.take();
            }
        }
        panic!("there is no end of reads: {:?}", self.sequencer);
    }

    fn check(&self, in_order: bool) {
        assert!(self.sequencer.held.is_empty(), "{:?}", self.sequencer);
        assert_eq!(self.sequencer.held.bytes(), 0);
        assert!(self.sequencer.repairs.is_empty(), "{:?}", self.sequencer);
        for (member, rooms) in MEMBERS.iter().enumerate() {
            let received = &self.received[member];
            for pair in received.windows(2) {
                let ordered = pair[0] < pair[1] || pair[0].0 != pair[1].0;
                assert!(!in_order || ordered, "{member}: {received:?}");
            }
            for (at, (to, owed)) in &self.published {
                let times = received.iter().filter(|it| *it == at).count();
                assert!(times <= 1, "member {member} received {at:?} {times} times");
                let mut logs = to.iter().filter(|room| rooms.contains(room)).peekable();
                let is_for = to.is_empty() || logs.peek().is_some();
                // What one socket misses alone is not read.
                let own = logs.clone().any(|room| *room == "own");
                let joined = to.contains(&"c") && self.c_since.is_none_or(|since| at.1 < since);
                let is_known = self.known.contains(&Some(self.epochs[at.0]));
                if times == 1 || !is_known || !is_for || !owed || own || joined {
                    continue;
                }
                let is_named = |room: &str| {
                    let mut gaps = self.gaps.iter();
                    gaps.any(|(log, after, before)| log == room && after < at && at < before)
                };
                let named = match to.is_empty() {
                    true => is_named("all"),
                    false if in_order => logs.all(|room| is_named(room)),
                    // The gap of one room may contain what was given up for another.
                    false => logs.any(|room| is_named(room)),
                };
                assert!(
                    named,
                    "member {member} lacks {at:?} to {to:?}: {:?}",
                    self.gaps
                );
            }
        }
    }
}

fn usual() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => any::<u8>().prop_map(Action::Publish),
        10 => Just(Action::Arrive),
        8 => any::<usize>().prop_map(Action::Execute),
        8 => any::<usize>().prop_map(Action::Respond),
        1 => Just(Action::Cut),
        3 => Just(Action::Heal),
        1 => Just(Action::Leave),
        2 => Just(Action::Join),
        1 => Just(Action::CheckTails),
    ]
}

fn faulty() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => usual(),
        2 => Just(Action::Lose),
        1 => Just(Action::Expire),
        1 => Just(Action::LoseLogs),
    ]
}

fn run(actions: &[Action], length: u32, in_order: bool) {
    let mut cluster = Cluster::new(length);
    cluster.publish(0);
    for action in actions {
        cluster.act(action);
    }
    // The loss of logs shows with the next event.
    cluster.publish(0);
    cluster.settle();
    // What was lost last is noticed by the second check.
    for _ in 0..2 {
        cluster.act(&Action::CheckTails);
        cluster.settle();
    }
    cluster.check(in_order);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn members_receive_the_events_of_all_their_rooms_in_order_and_once(
        actions in prop::collection::vec(usual(), 0..150),
        length in prop_oneof![Just(1000_u32), Just(3)],
    ) {
        run(&actions, length, true);
    }

    #[test]
    fn what_is_lost_without_an_interruption_is_delivered_once_or_named(
        actions in prop::collection::vec(faulty(), 0..150),
        length in prop_oneof![Just(1000_u32), Just(3)],
    ) {
        run(&actions, length, false);
    }
}
