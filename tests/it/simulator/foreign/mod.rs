//! Scripted foreign servers on the bus of a run. They publish and respond as stock servers do, without code of the
//! dialects of the nodes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomwire::bus::link::{Channel, Link, LinkEvent, LinkEvents, Outgoing};
use roomwire::bus::memory::{Hub, MemberId, MemoryLink};
use serde_json::{Value, json};

use super::client::Run;
use super::history::{EVERYBODY, Emit, EmitId, Sender};
use super::mutation::Mutation;
use super::random::Chance;
use super::world::ROOMS;

mod node_server;
mod python_server;
pub mod record;
mod wire;

use record::{
    ANNEX, Dialect, ForeignLife, ForeignRequest, ForeignSocket, LifeId, Party, RequestKind,
};

/// The characters of ids.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/// A running server.
pub struct ForeignServer {
    pub life: LifeId,
    pub dialect: Dialect,
    pub member: MemberId,
    /// The server is disconnected from the bus until this time.
    pub cut_until: Option<Duration>,
    server: Rc<Server>,
}

/// The members of the bus of a run.
pub type Parties = Rc<RefCell<BTreeMap<MemberId, Party>>>;

/// What the tasks of a server share.
struct Server {
    run: Run,
    hub: Hub,
    parties: Parties,
    life: LifeId,
    link: Arc<MemoryLink>,
    /// Identifies the process.
    uid: String,
    /// The index of each request in the record, by the id with which its responses arrive.
    requests: RefCell<BTreeMap<String, usize>>,
}

fn random_id(chance: &mut Chance, length: usize) -> String {
    let letters = (0..length).map(|_| char::from(LETTERS[chance.below(LETTERS.len())]));
    letters.collect()
}

/// A client of a new server, in some of the rooms. Its id has the form of those of stock servers.
fn socket(chance: &mut Chance) -> ForeignSocket {
    let sid = format!("{}AAAB", random_id(chance, 16));
    let mut rooms: Vec<String> = ROOMS.map(str::to_owned).into();
    rooms.retain(|_| chance.below(2) == 0);
    ForeignSocket {
        sid,
        rooms,
        is_in_annex: false,
        received: Vec::new(),
        moved: Vec::new(),
    }
}

impl ForeignServer {
    /// Starts a server with some clients.
    pub fn start(
        (run, hub, parties): (&Run, &Hub, &Parties),
        dialect: Dialect,
        chance: &mut Chance,
    ) -> Self {
        let sockets: Vec<_> = (0..chance.between(1, 3)).map(|_| socket(chance)).collect();
        let life = {
            let record = &mut run.history.borrow_mut().foreign;
            record.lives.push(ForeignLife {
                dialect,
                began: run.now(),
                died: None,
                cuts: Vec::new(),
                sockets: sockets.clone(),
            });
            record.lives.len() - 1
        };
        for socket in sockets {
            let ForeignSocket { sid, rooms, .. } = socket;
            run.note(format_args!("f{life} {dialect:?}: {sid} is in {rooms:?}"));
        }
        let (link, events) = hub.join();
        let member = link.member();
        parties.borrow_mut().insert(member, Party::Foreign(life));
        let server = Rc::new(Server {
            run: run.clone(),
            hub: hub.clone(),
            parties: Rc::clone(parties),
            life,
            link,
            uid: random_id(chance, 6),
            requests: RefCell::default(),
        });
        server.subscribe(dialect);
        actix_rt::spawn(Rc::clone(&server).receive(dialect, events));
        Self {
            life,
            dialect,
            member,
            cut_until: None,
            server,
        }
    }

    /// Emits to a room, a socket or everybody.
    pub fn emit(&self, room: &str, except: Option<String>, with_acks: bool, timeout: Option<u64>) {
        let id = self.server.note_emit(room, except);
        let server = &self.server;
        let verb = if with_acks { "calls" } else { "emits to" };
        let life = self.life;
        server
            .run
            .note(format_args!("f{life} {verb} {room}: e{id} {timeout:?}"));
        match (self.dialect, with_acks) {
            (Dialect::Node, false) => server.broadcast(id),
            (Dialect::Node, true) => server.broadcast_with_ack(id, timeout),
            (Dialect::Python, false) => server.python_emit(id, false),
            (Dialect::Python, true) => server.python_emit(id, true),
        }
    }

    /// Puts a socket into the annex, or takes it out.
    pub fn move_socket(&self, sid: &str, joins: bool) {
        let life = self.life;
        let run = &self.server.run;
        run.note(format_args!("f{life} moves {sid} into {ANNEX}: {joins}"));
        let (sid, at) = (sid.to_owned(), run.now());
        run.history.borrow_mut().foreign.moves.push(record::Move {
            life,
            sid: sid.clone(),
            joins,
            at,
        });
        if run.mutator.strikes(Mutation::IgnoreMove) {
            return;
        }
        match self.dialect {
            Dialect::Node => self.server.request_move(&sid, joins),
            Dialect::Python => self.server.python_move(&sid, joins),
        }
    }

    /// Disconnects a socket of a node of the cluster.
    pub fn disconnect(&self, sid: &str) {
        let life = self.life;
        let run = &self.server.run;
        run.note(format_args!("f{life} disconnects {sid}"));
        let disconnect = record::Disconnect {
            life,
            sid: sid.to_owned(),
            at: run.now(),
        };
        let mut history = run.history.borrow_mut();
        history.foreign.disconnects.push(disconnect);
        drop(history);
        if run.mutator.is(Mutation::IgnoreDisconnect) {
            return;
        }
        match self.dialect {
            Dialect::Node => self.server.request_disconnect(sid),
            Dialect::Python => self.server.python_disconnect(sid),
        }
    }

    /// Requests the sockets of a room of all servers in Node and all nodes.
    pub fn fetch(&self, room: &str) {
        self.server.fetch(room);
    }

    /// Sends an event to all servers in Node and all nodes, which respond.
    pub fn emit_to_servers(&self) {
        self.server.emit_to_servers();
    }
}

impl Server {
    fn subscribe(&self, dialect: Dialect) {
        match dialect {
            Dialect::Node => self.subscribe_as_node(),
            Dialect::Python => self
                .link
                .subscribe(vec![Channel::from(python_server::CHANNEL)]),
        }
    }

    async fn receive(self: Rc<Self>, dialect: Dialect, mut events: LinkEvents) {
        while let Some(event) = events.next().await {
            let (LinkEvent::Message { channel, payload } | LinkEvent::Matched { channel, payload }) =
                event
            else {
                continue;
            };
            let understood = match dialect {
                Dialect::Node => self.receive_as_node(channel.as_str(), &payload),
                Dialect::Python => self.receive_as_python(&payload),
            };
            if understood.is_none() {
                let (life, text) = (self.life, String::from_utf8_lossy(&payload).into_owned());
                let mut history = self.run.history.borrow_mut();
                let malformed = &mut history.foreign.malformed;
                malformed.push(format!("f{life} on {channel}: {text}"));
            }
        }
    }

    fn publish(&self, channel: &str, payload: impl Into<Bytes>) {
        self.link
            .publish(vec![Outgoing::new(Channel::from(channel), payload)]);
    }

    fn note_emit(&self, room: &str, except: Option<String>) -> EmitId {
        let mut history = self.run.history.borrow_mut();
        history.emits.push(Emit {
            sender: Sender::Foreign(self.life),
            room: room.to_owned(),
            sent: self.run.now(),
            except,
        });
        history.emits.len() - 1
    }

    /// The rooms, exceptions and arguments of an emit.
    fn parts(&self, id: EmitId) -> (Vec<String>, Vec<String>, Value) {
        let emit = self.run.history.borrow().emits[id].clone();
        let rooms = match emit.room.as_str() {
            EVERYBODY => Vec::new(),
            _ => vec![emit.room],
        };
        let arguments = json!([id, "x".repeat(id % 97 * 7)]);
        (rooms, emit.except.into_iter().collect(), arguments)
    }

    /// Begins to record the responses to a request, which arrive under this id.
    fn begin_request(&self, id: String, kind: RequestKind, parties: Vec<Party>) {
        let mut history = self.run.history.borrow_mut();
        let requests = &mut history.foreign.requests;
        requests.push(ForeignRequest {
            life: self.life,
            kind,
            sent: self.run.now(),
            parties,
            counts: Vec::new(),
            acks: Vec::new(),
            fetched: Vec::new(),
            answers: Vec::new(),
        });
        let number = requests.len() - 1;
        drop(history);
        self.requests.borrow_mut().insert(id, number);
    }

    /// Records a response, if it is to a request of this server.
    fn respond(&self, id: &str, response: impl FnOnce(&mut ForeignRequest)) {
        if let Some(number) = self.requests.borrow().get(id) {
            let mut history = self.run.history.borrow_mut();
            response(&mut history.foreign.requests[*number]);
        }
    }

    /// Gives an event to the selected clients of this server; returns their ids.
    fn deliver(
        &self,
        data: &[Value],
        rooms: &BTreeSet<String>,
        except: &BTreeSet<String>,
    ) -> Option<Vec<String>> {
        // Presence and other events of nodes are of no interest here.
        let emit = match data.first()?.as_str()? {
            "event" => Some(data.get(1)?.as_u64()? as EmitId),
            _ => None,
        };
        let (at, life) = (self.run.now(), self.life);
        let mut history = self.run.history.borrow_mut();
        let sockets = history.foreign.lives[life].sockets.iter_mut();
        let mut selected = Vec::new();
        for socket in sockets.filter(|socket| socket.is_selected(rooms, except)) {
            socket.received.extend(emit.map(|emit| (emit, at)));
            selected.push(socket.sid.clone());
        }
        if let (Some(emit), false) = (emit, selected.is_empty()) {
            let line = format!("f{life} receives e{emit} for {selected:?}");
            history.note(at, line);
        }
        Some(selected)
    }

    /// Moves clients of this server, by request of another one.
    fn moved(&self, selects: impl Fn(&ForeignSocket) -> bool, joins: bool) {
        let at = self.run.now();
        let mut history = self.run.history.borrow_mut();
        let sockets = history.foreign.lives[self.life].sockets.iter_mut();
        for socket in sockets.filter(|socket| selects(socket)) {
            socket.moved.push((at, joins));
            socket.is_in_annex = joins;
        }
    }

    /// Notes that a node has translated what it received of another server.
    fn note_translation(&self, uid: &str) -> Option<()> {
        let name = uid.rsplit(':').next()?;
        let at = self.run.now();
        let mut history = self.run.history.borrow_mut();
        let mut nodes = history.nodes.iter();
        let node = nodes.position(|node| node.name == name)?;
        history.foreign.translated.push((at, node));
        history.note(at, format_args!("f{}: translated by n{node}", self.life));
        Some(())
    }

    /// Whether a server sent this emit.
    fn is_of_server(&self, data: &[Value]) -> bool {
        let history = self.run.history.borrow();
        let emit = data.get(1).and_then(Value::as_u64);
        let emit = emit.and_then(|emit| history.emits.get(emit as usize));
        data.first().is_some_and(|name| name == "event")
            && emit.is_some_and(|emit| matches!(emit.sender, Sender::Foreign(_)))
    }
}

/// A list of texts; `None` if it is something else.
fn texts(value: &Value) -> Option<BTreeSet<String>> {
    let texts = value.as_array()?.iter();
    texts.map(|text| text.as_str().map(str::to_owned)).collect()
}
