//! One thread of the raw writer: its own listener (SO_REUSEPORT), epoll, connections.
//! Broadcasts are collected in `pending` and sent at the end of an epoll batch, with one
//! send per member; other shards receive them through their `Inbox`.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use roomwire_loadgen::websocket::{ACCEPT, Head, Opcode, Sender, apply_mask, push_frame};
use socket2::{Domain, Socket, Type};

use crate::relay::{self, Request};

const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
const BACKLOG: i32 = 4096;

/// Frames from other shards.
pub(crate) struct Inbox {
    frames: Mutex<Vec<u8>>,
    waker: Waker,
}

impl Inbox {
    pub(crate) fn new(poll: &Poll) -> Result<Self> {
        let waker = Waker::new(poll.registry(), WAKER).context("no waker")?;
        Ok(Self {
            frames: Mutex::default(),
            waker,
        })
    }
}

struct Connection {
    stream: TcpStream,
    upgraded: bool,
    member: bool,
    /// The start of an incomplete frame.
    held: Vec<u8>,
    unsent: Vec<u8>,
}

pub(crate) struct Shard {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    members: Vec<usize>,
    /// Frames for the members of this shard.
    pending: Vec<u8>,
    /// Frames for the members of the other shards.
    outgoing: Vec<u8>,
    index: usize,
    inboxes: Arc<Vec<Inbox>>,
    scratch: Vec<u8>,
    response: Vec<u8>,
}

impl Shard {
    pub(crate) fn new(
        poll: Poll,
        bind: SocketAddr,
        index: usize,
        inboxes: Arc<Vec<Inbox>>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(bind), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket
            .bind(&bind.into())
            .with_context(|| format!("cannot bind {bind}"))?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            members: Vec::new(),
            pending: Vec::new(),
            outgoing: Vec::new(),
            index,
            inboxes,
            scratch: vec![0; 64 * 1024],
            response: Vec::new(),
        })
    }

    pub(crate) fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome.context("epoll failed")?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => self.collect(),
                    Token(id) => {
                        if self.exchange(id, event.is_read_closed()).is_err() {
                            self.close(id);
                        }
                    }
                }
            }
            self.hand_over();
            self.flush_room(None);
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept failed"),
            };
            stream.set_nodelay(true)?;
            let id = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(id), interest)?;
            let connection = Connection {
                stream,
                upgraded: false,
                member: false,
                held: Vec::new(),
                unsent: Vec::new(),
            };
            if id == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[id] = Some(connection);
        }
    }

    /// Takes the broadcasts of other shards.
    fn collect(&mut self) {
        let mut frames = self.inboxes[self.index]
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.pending.append(&mut frames);
    }

    /// Passes the broadcasts of this batch to the other shards.
    fn hand_over(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        for (index, inbox) in self.inboxes.iter().enumerate() {
            if index == self.index {
                continue;
            }
            let mut frames = inbox.frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.extend_from_slice(&self.outgoing);
            drop(frames);
            // Waking fails only if the shard has ended, and then the process ends too.
            let _ = inbox.waker.wake();
        }
        self.outgoing.clear();
    }

    /// Sends the pending frames to every member of this shard except `except`.
    fn flush_room(&mut self, except: Option<usize>) {
        if self.pending.is_empty() {
            return;
        }
        let mut failed = Vec::new();
        for id in &self.members {
            let Some(connection) = self.connections[*id]
                .as_mut()
                .filter(|_| Some(*id) != except)
            else {
                continue;
            };
            if connection.send(&self.pending).is_err() {
                failed.push(*id);
            }
        }
        self.pending.clear();
        failed.into_iter().for_each(|id| self.close(id));
    }

    fn exchange(&mut self, id: usize, to_the_end: bool) -> Result<()> {
        loop {
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                return Ok(());
            };
            connection.send(&[])?;
            let count = match connection.stream.read(&mut self.scratch) {
                Ok(0) => bail!("closed"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.received(id, count)?;
            if count < self.scratch.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Handles `count` bytes in `scratch` and sends all responses at once.
    fn received(&mut self, id: usize, count: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[id] else {
            return Ok(());
        };
        let mut bytes = std::mem::take(&mut connection.held);
        bytes.extend_from_slice(&self.scratch[..count]);
        let mut replies = Vec::new();
        let mut used = 0;
        if !connection.upgraded {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                connection.held = bytes;
                return Ok(());
            };
            connection.upgraded = true;
            used = end + 4;
            write!(
                replies,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            )?;
            push_frame(&mut replies, Opcode::Text, relay::OPEN, None);
        }
        while let Some(head) = Head::parse(&bytes[used..], Sender::Client)? {
            if bytes.len() - used < head.total() {
                break;
            }
            let payload = &mut bytes[used + head.size..used + head.total()];
            apply_mask(payload, head.mask.unwrap_or_default());
            used += head.total();
            if head.opcode == Opcode::Close {
                bail!("closed by the client");
            }
            self.serve(id, payload, &mut replies);
        }
        bytes.drain(..used);
        if let Some(connection) = &mut self.connections[id] {
            if !bytes.is_empty() {
                connection.held = bytes;
            }
            connection.send(&replies)?;
        }
        Ok(())
    }

    fn serve(&mut self, id: usize, text: &[u8], replies: &mut Vec<u8>) {
        let mut response = std::mem::take(&mut self.response);
        let request = relay::read(text, &mut response);
        if !response.is_empty() {
            push_frame(replies, Opcode::Text, &response, None);
        }
        match request {
            Request::Join => self.join(id),
            Request::Leave => self.leave(id),
            Request::Publish(arguments) => {
                response.clear();
                response.extend_from_slice(b"42[");
                response.extend_from_slice(arguments);
                self.publish(id, &response);
            }
            Request::Nothing => {}
        }
        self.response = response;
    }

    fn publish(&mut self, id: usize, text: &[u8]) {
        let from_member = self.connections[id]
            .as_ref()
            .is_some_and(|sender| sender.member);
        // A sender that is a member is excepted, but only from its own broadcast.
        if from_member {
            self.flush_room(None);
        }
        push_frame(&mut self.pending, Opcode::Text, text, None);
        if self.inboxes.len() > 1 {
            push_frame(&mut self.outgoing, Opcode::Text, text, None);
        }
        if from_member {
            self.flush_room(Some(id));
        }
    }

    fn join(&mut self, id: usize) {
        if let Some(connection) = self.connections[id].as_mut().filter(|new| !new.member) {
            connection.member = true;
            self.members.push(id);
        }
    }

    fn leave(&mut self, id: usize) {
        if let Some(connection) = self.connections[id].as_mut().filter(|old| old.member) {
            connection.member = false;
            self.members.retain(|member| *member != id);
        }
    }

    fn close(&mut self, id: usize) {
        self.leave(id);
        if self.connections[id].take().is_some() {
            self.free.push(id);
        }
    }
}

impl Connection {
    /// Sends the unsent bytes and then `bytes`, as many as the socket accepts.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if self.unsent.is_empty() {
            let written = write(&mut self.stream, bytes)?;
            self.unsent.extend_from_slice(&bytes[written..]);
            return Ok(());
        }
        self.unsent.extend_from_slice(bytes);
        let written = write(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..written);
        Ok(())
    }
}

/// Returns how many of the bytes the socket accepted.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}
