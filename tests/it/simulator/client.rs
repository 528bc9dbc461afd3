//! A long-polling client of a simulated session: packets in, history out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use roomwire::session::Session;
use roomwire::session::messages::{BatchFormat, Post, PostId, PostStarted, Ready};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::history::{Connection, ConnectionId, History};
use super::mutation::Mutator;

mod receive;
mod requests;

/// Time of a run, shared by its parts.
#[derive(Clone)]
pub struct Run {
    pub history: Rc<RefCell<History>>,
    pub began: Instant,
    pub mutator: Arc<Mutator>,
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

/// How a client connects.
pub struct Entrance {
    /// The node on which its session lives.
    pub node: usize,
    /// The process of that node is paused until this time.
    pub paused_until: Rc<Cell<Instant>>,
    pub user: String,
    /// Whether its session can be recovered.
    pub recovers: bool,
    /// The session to recover.
    pub resume: Option<Resume>,
}

/// What a client knows of the session that it has lost, like the stock client.
#[derive(Debug, Clone)]
pub struct Resume {
    pub from: ConnectionId,
    pub pid: String,
    pub offset: Option<String>,
}

/// How a client loses its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The node notices it at once.
    Noticed,
    /// The node notices it only by missing pongs.
    Silent,
}

pub struct Client {
    pub connection: ConnectionId,
    pub user: String,
    pub recovers: bool,
    run: Run,
    posts: mpsc::UnboundedSender<String>,
    next_ack: Cell<u64>,
    /// The client reads nothing until this time.
    reads_from: Cell<Instant>,
    paused_until: Rc<Cell<Instant>>,
    pid: RefCell<Option<String>>,
    /// The last argument of the last event, if that was a text.
    offset: RefCell<Option<String>>,
    /// Whether it has lost its connection, and will return.
    is_lost: Cell<bool>,
    /// Loses its connection after so many more events.
    loses_after: Cell<Option<usize>>,
    /// A packet that a mutation delivers after the next one.
    held: RefCell<Option<String>>,
}

impl Client {
    /// Connects to the main namespace over `session`.
    pub fn connect(run: &Run, entrance: Entrance, session: Addr<Session>) -> Rc<Self> {
        let Entrance {
            node,
            paused_until,
            user,
            recovers,
            resume,
        } = entrance;
        let connection = {
            let mut history = run.history.borrow_mut();
            history.connections.push(Connection {
                node,
                user: user.clone(),
                began: run.now(),
                recovers,
                resumes: resume.as_ref().map(|resume| resume.from),
                ..Connection::default()
            });
            history.connections.len() - 1
        };
        let (posts, outgoing) = mpsc::unbounded_channel();
        let mut auth = json!({"user": user, "token": token(connection)});
        if recovers {
            auth["roomwire"] = json!({"recover": true});
        }
        if let Some(resume) = &resume {
            auth["pid"] = json!(resume.pid);
            auth["offset"] = json!(resume.offset);
        }
        let client = Rc::new(Self {
            connection,
            user,
            recovers,
            run: run.clone(),
            posts,
            next_ack: Cell::new(0),
            reads_from: Cell::new(Instant::now()),
            paused_until,
            pid: RefCell::default(),
            offset: RefCell::new(resume.as_ref().and_then(|resume| resume.offset.clone())),
            is_lost: Cell::new(false),
            loses_after: Cell::new(None),
            held: RefCell::default(),
        });
        run.note(format_args!("c{connection} connects to n{node}: {auth}"));
        actix_rt::spawn(Rc::clone(&client).write(session.clone(), outgoing));
        actix_rt::spawn(Rc::clone(&client).read(session));
        client.send(format!("40{auth}"));
        client
    }

    pub fn is_open(&self) -> bool {
        self.with(|connection| connection.ended.is_none())
    }

    pub fn sid(&self) -> Option<String> {
        self.with(|connection| connection.sid.clone())
    }

    /// The name of its session, if that can be recovered.
    pub fn pid(&self) -> Option<String> {
        self.pid.borrow().clone()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> T) -> T {
        work(&mut self.run.history.borrow_mut().connections[self.connection])
    }

    fn send(&self, packet: String) {
        // A session that has ended accepts nothing.
        let _ = self.posts.send(packet);
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

    /// Ends its session, or only its connection.
    pub fn close(&self, is_final: bool) {
        self.run.note(format_args!("c{} closes", self.connection));
        self.end_stays(|_| true);
        self.finish("closed");
        if is_final {
            self.with(|connection| connection.is_final = true);
            self.send("41".to_owned());
        }
        self.send("1".to_owned());
    }

    /// Loses its connection; a client whose session can be recovered will return.
    pub fn lose(&self, loss: Loss) {
        self.end_stays(|_| true);
        self.finish("without connection");
        if loss == Loss::Silent {
            self.with(|connection| connection.abandoned = true);
        } else {
            self.send("1".to_owned());
        }
        self.is_lost.set(self.recovers);
    }

    /// Loses its connection after so many more events, also in the middle of what it receives at once.
    pub fn lose_after(&self, events: usize) {
        self.loses_after.set(Some(events));
    }

    /// Whether it has lost its connection since this was last called, and the session that it knows.
    pub fn take_lost(&self) -> Option<Option<Resume>> {
        if !self.is_lost.take() {
            return None;
        }
        let resume = self.pid.borrow().clone().map(|pid| Resume {
            from: self.connection,
            pid,
            offset: self.offset.borrow().clone(),
        });
        Some(resume)
    }

    /// Ends the stays that are still open, with the connection or by a request to leave.
    fn end_stays(&self, which: impl Fn(&str) -> bool) {
        let now = self.run.now();
        self.with(|connection| {
            for stay in &mut connection.stays {
                if which(&stay.room) && stay.left.is_none() {
                    stay.left = Some(now);
                    stay.lost = true;
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
            sleep_until(self.reads_from.get().max(self.paused_until.get())).await;
            let (reply, batch) = oneshot::channel();
            let format = BatchFormat::Polling;
            if session.try_send(Ready { format, reply }).is_err() {
                break;
            }
            let Ok(Ok(batch)) = batch.await else { break };
            // The response of a process that was paused meanwhile.
            sleep_until(self.paused_until.get()).await;
            let body = String::from_utf8(batch.body.to_vec()).unwrap();
            for packet in body.split('\u{1e}') {
                // A client whose connection has ended ignores the rest.
                if !self.is_open() {
                    return;
                }
                self.receive_mutated(packet);
            }
            if batch.last {
                break;
            }
        }
        sleep_until(self.paused_until.get()).await;
        if self.is_open() {
            self.end_stays(|_| true);
            self.finish("ended by its node");
            self.is_lost.set(self.recovers);
        }
    }

    /// Posts packets in order, one post at a time.
    async fn write(
        self: Rc<Self>,
        session: Addr<Session>,
        mut outgoing: mpsc::UnboundedReceiver<String>,
    ) {
        let mut number = 0;
        let mut batch = Vec::new();
        while outgoing.recv_many(&mut batch, 16).await > 0 {
            sleep_until(self.paused_until.get()).await;
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
}

/// The id of the token of a connection.
pub fn token(connection: ConnectionId) -> String {
    format!("token-{connection}")
}

/// The value of a packet's JSON.
fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}
