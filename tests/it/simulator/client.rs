//! A long-polling client of a simulated session: packets in, history out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use roomwire::session::Session;
use roomwire::session::messages::{BatchFormat, Post, PostId, PostStarted, Ready};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::history::{
    Connection, ConnectionId, Emit, EmitId, History, Received, Request, Sender, Stay,
};

/// Time of a run, shared by its parts.
#[derive(Clone)]
pub struct Run {
    pub history: Rc<RefCell<History>>,
    pub began: Instant,
}

impl Run {
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn note(&self, line: impl std::fmt::Display) {
        let now = self.now();
        self.history.borrow_mut().note(now, line);
    }
}

pub struct Client {
    pub connection: ConnectionId,
    run: Run,
    posts: mpsc::UnboundedSender<String>,
    next_ack: Cell<u64>,
    /// The client reads nothing until this time.
    reads_from: Rc<Cell<Instant>>,
}

impl Client {
    /// Connects `user` to the main namespace over `session`, which lives on `node`.
    pub fn connect(run: &Run, node: usize, user: &str, session: Addr<Session>) -> Rc<Self> {
        let began = run.now();
        let connection = {
            let mut history = run.history.borrow_mut();
            history.connections.push(Connection {
                node,
                user: user.to_owned(),
                began,
                ..Connection::default()
            });
            history.connections.len() - 1
        };
        let (posts, outgoing) = mpsc::unbounded_channel();
        let client = Rc::new(Self {
            connection,
            run: run.clone(),
            posts,
            next_ack: Cell::new(0),
            reads_from: Rc::new(Cell::new(Instant::now())),
        });
        run.note(format_args!("c{connection} connects to n{node} as {user}"));
        actix_rt::spawn(write(session.clone(), outgoing));
        actix_rt::spawn(Rc::clone(&client).read(session));
        let auth = json!({"user": user, "token": token(connection)});
        client.send(format!("40{auth}"));
        client
    }

    pub fn is_open(&self) -> bool {
        self.with(|connection| connection.ended.is_none())
    }

    pub fn sid(&self) -> Option<String> {
        self.with(|connection| connection.sid.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> T) -> T {
        work(&mut self.run.history.borrow_mut().connections[self.connection])
    }

    fn send(&self, packet: String) {
        // A session that has ended accepts nothing.
        let _ = self.posts.send(packet);
    }

    fn request(&self, arguments: &Value, ask: Option<EmitId>) -> u64 {
        let number = self.next_ack.get();
        self.next_ack.set(number + 1);
        let request = Request {
            sent: self.run.now(),
            response: None,
            ask,
        };
        self.with(|connection| connection.requests.insert(number, request));
        self.send(format!("42{number}{arguments}"));
        number
    }

    pub fn join(&self, room: &str) {
        self.run
            .note(format_args!("c{} joins {room}", self.connection));
        let requested = self.run.now();
        self.with(|connection| {
            connection.stays.push(Stay {
                room: room.to_owned(),
                requested,
                joined: None,
                left: None,
            });
        });
        self.request(&json!(["roomwire:join", room]), None);
    }

    pub fn leave(&self, room: &str) {
        self.run
            .note(format_args!("c{} leaves {room}", self.connection));
        self.end_stays(|stay| stay == room);
        self.request(&json!(["roomwire:leave", room]), None);
    }

    pub fn emit(&self, room: &str, with_ack: bool) {
        let verb = if with_ack { "asks" } else { "emits to" };
        let id = {
            let mut history = self.run.history.borrow_mut();
            history.emits.push(Emit {
                sender: Sender::Client(self.connection),
                room: room.to_owned(),
                sent: self.run.now(),
            });
            history.emits.len() - 1
        };
        self.run
            .note(format_args!("c{} {verb} {room}: e{id}", self.connection));
        let name = if with_ack {
            "roomwire:ask"
        } else {
            "roomwire:emit"
        };
        let filler = "x".repeat(id % 97 * 7);
        self.request(
            &json!([name, room, "event", id, filler]),
            with_ack.then_some(id),
        );
    }

    /// Reads nothing for this long, like a client that has lost its network.
    pub fn pause(&self, time: Duration) {
        let now = self.run.now();
        self.run.note(format_args!(
            "c{} reads nothing for {time:?}",
            self.connection
        ));
        self.reads_from.set(Instant::now() + time);
        self.with(|connection| connection.paused.push((now, now + time)));
    }

    pub fn close(&self) {
        self.run.note(format_args!("c{} closes", self.connection));
        self.end_stays(|_| true);
        self.finish("closed");
        self.send("1".to_owned());
    }

    /// Its node has been killed.
    pub fn lose(&self) {
        self.end_stays(|_| true);
        self.finish("lost");
    }

    fn end_stays(&self, which: impl Fn(&str) -> bool) {
        let now = self.run.now();
        self.with(|connection| {
            for stay in &mut connection.stays {
                if which(&stay.room) && stay.left.is_none() {
                    stay.left = Some(now);
                }
            }
        });
    }

    fn finish(&self, how: &str) {
        let now = self.run.now();
        let first = self.with(|connection| connection.ended.replace(now).is_none());
        if first {
            self.run.note(format_args!("c{} is {how}", self.connection));
        }
    }

    async fn read(self: Rc<Self>, session: Addr<Session>) {
        loop {
            tokio::time::sleep_until(self.reads_from.get()).await;
            let (reply, batch) = oneshot::channel();
            let format = BatchFormat::Polling;
            if session.try_send(Ready { format, reply }).is_err() {
                break;
            }
            let Ok(Ok(batch)) = batch.await else { break };
            // A client whose connection has ended may still hold a batch: the batch is ignored.
            if !self.is_open() {
                break;
            }
            let body = String::from_utf8(batch.body.to_vec()).unwrap();
            for packet in body.split('\u{1e}') {
                self.receive(packet);
            }
            if batch.last {
                break;
            }
        }
        if self.is_open() {
            self.end_stays(|_| true);
            self.finish("ended by its node");
        }
    }

    fn receive(&self, packet: &str) {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        if packet == "2" {
            self.send("3".to_owned());
        } else if packet == "41" {
            self.end_stays(|_| true);
            self.finish("disconnected");
            self.send("1".to_owned());
        } else if let Some(data) = packet.strip_prefix("40") {
            let data: Value = serde_json::from_str(data).unwrap();
            let sid = data["sid"].as_str().map(str::to_owned);
            let now = self.run.now();
            self.with(|connection| {
                connection.sid = sid;
                connection.connected = Some(now);
            });
        } else if let Some(event) = packet.strip_prefix("42") {
            let (ack, event) = event.split_at(digits(event));
            self.receive_event(ack, event);
        } else if let Some(ack) = packet.strip_prefix("43") {
            let (number, ack) = ack.split_at(digits(ack));
            self.receive_ack(number.parse().unwrap(), ack);
        }
    }

    fn receive_event(&self, ack: &str, event: &str) {
        let event: Value = serde_json::from_str(event).unwrap();
        if event[0] != "event" {
            // A notice of the server, such as that its session is revoked.
            self.run
                .note(format_args!("c{} receives {}", self.connection, event[0]));
            return;
        }
        let emit = event[1].as_u64().unwrap() as EmitId;
        let at = self.run.now();
        self.run
            .note(format_args!("c{} receives e{emit}", self.connection));
        self.with(|connection| connection.received.push(Received { emit, at }));
        if !ack.is_empty() {
            self.send(format!("43{ack}[{}]", self.connection));
        }
    }

    fn receive_ack(&self, number: u64, ack: &str) {
        let now = self.run.now();
        self.run
            .note(format_args!("c{} ack {number}: {ack}", self.connection));
        let json: Value = serde_json::from_str(ack).unwrap();
        self.with(|connection| {
            let request = connection.requests.get_mut(&number).unwrap();
            assert!(request.response.is_none(), "a second ack: {ack}");
            request.response = Some((now, ack.to_owned()));
            let (ok, degraded) = (json[0]["ok"] == true, json[0]["degraded"] == true);
            let Some(room) = json[0]["room"].as_str().filter(|_| ok && !degraded) else {
                return;
            };
            let is_join = json[0].get("transport").is_some();
            let open = |stay: &&mut Stay| stay.room == room && stay.left.is_none();
            if let Some(stay) = connection
                .stays
                .iter_mut()
                .rev()
                .find(open)
                .filter(|_| is_join)
            {
                stay.joined.get_or_insert(now);
            }
        });
    }
}

/// The id of the token of a connection.
pub fn token(connection: ConnectionId) -> String {
    format!("token-{connection}")
}

/// Posts packets in order, one post at a time.
async fn write(session: Addr<Session>, mut outgoing: mpsc::UnboundedReceiver<String>) {
    let mut number = 0;
    let mut batch = Vec::new();
    while outgoing.recv_many(&mut batch, 16).await > 0 {
        let post = PostId(number);
        number += 1;
        let body = Bytes::from(std::mem::take(&mut batch).join("\u{1e}"));
        let (reply, done) = oneshot::channel();
        session.do_send(PostStarted { post, open: None });
        session.do_send(Post { post, body, reply });
        if !matches!(done.await, Ok(Ok(()))) {
            return;
        }
    }
}
