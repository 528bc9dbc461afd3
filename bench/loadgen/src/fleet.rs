//! All connections of a run in one epoll loop on one thread.
//! Moves bytes between sockets and `client`s, passes events to the scenario and
//! executes the scenario's commands. Has no notion of rooms or measurements.

use std::fmt::{Arguments, Write as _};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, ClientError, ClientEvent, Endpoint, Stage};
use crate::http_client::{HttpClient, Requests};
use crate::peer::Peer;
use crate::source::Sources;

const EVENTS_PER_TURN: usize = 1024;
const READ_BUFFER: usize = 64 * 1024;

/// Implemented by scenarios: receives every event of every client, in the order of arrival.
pub(crate) trait Observer {
    fn on_event(&mut self, id: usize, event: ClientEvent<'_>, turn: &mut Turn<'_>);
}

/// The time of an event, and the commands by which a scenario reacts to it.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    commands: &'a mut Commands,
}

impl Turn<'_> {
    /// Sends a text message, or a request with this body, on connection `id`, once this event has been handled.
    pub(crate) fn send(&mut self, id: usize, text: Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.commands.text.write_fmt(text);
        self.commands.list.push((
            id,
            Command::Text {
                end: self.commands.text.len(),
            },
        ));
    }

    /// Closes connection `id`, with a close frame if it is a websocket; `ClientEvent::Closed` follows.
    pub(crate) fn close(&mut self, id: usize) {
        self.commands.list.push((id, Command::Close));
    }

    /// Drops connection `id` without a close frame; `ClientEvent::Closed` follows.
    pub(crate) fn cut(&mut self, id: usize) {
        self.commands.list.push((id, Command::Cut));
    }
}

enum Command {
    /// A text message: `Commands::text` from the end of the previous message to `end`.
    Text {
        end: usize,
    },
    Close,
    Cut,
}

#[derive(Default)]
struct Commands {
    text: String,
    list: Vec<(usize, Command)>,
}

/// Failures of connections over the life of a fleet.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Frames that violate RFC 6455.
    pub(crate) framing: u64,
    /// Rejected upgrades, unexpected packets, socket errors.
    pub(crate) other: u64,
    /// A description of the first fault.
    pub(crate) first: Option<String>,
}

struct Connection {
    stream: Option<TcpStream>,
    peer: Peer,
    target: SocketAddr,
}

/// Why a connection ended.
enum End {
    ByServer,
    Fault(ClientError),
    Socket(io::Error),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Fault(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

pub(crate) struct Fleet {
    events: Events,
    scratch: Vec<u8>,
    inner: Inner,
}

/// The part of the fleet that is borrowed mutably while an epoll event is handled.
struct Inner {
    poll: Poll,
    connections: Vec<Connection>,
    free: Vec<usize>,
    commands: Commands,
    sources: Sources,
    faults: Faults,
    reads: u64,
}

impl Fleet {
    pub(crate) fn new() -> Result<Self> {
        let inner = Inner {
            poll: Poll::new().context("epoll cannot be set up")?,
            connections: Vec::new(),
            free: Vec::new(),
            commands: Commands::default(),
            sources: Sources::new(),
            faults: Faults::default(),
            reads: 0,
        };
        Ok(Self {
            events: Events::with_capacity(EVENTS_PER_TURN),
            scratch: vec![0; READ_BUFFER],
            inner,
        })
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Reads that returned data.
    pub(crate) fn reads(&self) -> u64 {
        self.inner.reads
    }

    /// Starts a connection and returns its id. Ids of closed connections are reused.
    pub(crate) fn open(&mut self, target: SocketAddr) -> Result<usize> {
        self.open_endpoint(target, Endpoint::default())
    }

    /// Like [`open`](Self::open), with a path and an auth payload.
    pub(crate) fn open_endpoint(
        &mut self,
        target: SocketAddr,
        endpoint: Endpoint,
    ) -> Result<usize> {
        self.open_peer(target, |id| {
            Peer::SocketIo(Client::new(id as u32, endpoint))
        })
    }

    /// Starts an HTTP connection, which is ready once TCP is connected.
    pub(crate) fn open_http(&mut self, target: SocketAddr, requests: Requests) -> Result<usize> {
        self.open_peer(target, |_| Peer::Http(HttpClient::new(requests)))
    }

    fn open_peer(&mut self, target: SocketAddr, make: impl FnOnce(usize) -> Peer) -> Result<usize> {
        let inner = &mut self.inner;
        let mut stream = inner.sources.connect(target)?;
        let id = inner.free.pop().unwrap_or(inner.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        inner
            .poll
            .registry()
            .register(&mut stream, Token(id), interest)?;
        let connection = Connection {
            stream: Some(stream),
            peer: make(id),
            target,
        };
        if id == inner.connections.len() {
            inner.connections.push(connection);
        } else {
            inner.connections[id] = connection;
        }
        Ok(id)
    }

    /// Waits at most `wait` for socket events and handles them.
    pub(crate) fn turn(&mut self, wait: Duration, observer: &mut impl Observer) -> Result<()> {
        match self.inner.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            outcome => outcome.context("epoll failed")?,
        }
        for event in &self.events {
            self.inner.handle(event, &mut self.scratch, observer);
        }
        Ok(())
    }

    /// Runs commands of a scenario that do not follow from an event.
    pub(crate) fn act<O: Observer>(
        &mut self,
        observer: &mut O,
        act: impl FnOnce(&mut O, &mut Turn<'_>),
    ) {
        let mut turn = Turn {
            now: Instant::now(),
            commands: &mut self.inner.commands,
        };
        act(observer, &mut turn);
        self.inner.execute_commands(observer);
    }
}

impl Inner {
    fn handle(&mut self, event: &Event, scratch: &mut [u8], observer: &mut impl Observer) {
        let id = event.token().0;
        let outcome = self.exchange(id, event, scratch, observer);
        if let Err(end) = outcome {
            self.end(id, end, observer);
        }
        self.execute_commands(observer);
    }

    fn exchange(
        &mut self,
        id: usize,
        event: &Event,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<(), End> {
        let connection = &mut self.connections[id];
        if connection.peer.stage() == Stage::Connecting {
            if !connection.establish()? {
                return Ok(());
            }
            if connection.peer.stage() == Stage::Ready {
                let mut turn = Turn {
                    now: Instant::now(),
                    commands: &mut self.commands,
                };
                observer.on_event(id, ClientEvent::Ready, &mut turn);
            }
        }
        if event.is_readable() || event.is_read_closed() {
            self.read(id, event.is_read_closed(), scratch, observer)?;
        }
        self.connections[id].flush()?;
        Ok(())
    }

    /// Reads until the socket is empty. A short read means that it is, unless the peer
    /// has closed it: then the end of the stream is still to be read (`to_the_end`).
    fn read(
        &mut self,
        id: usize,
        to_the_end: bool,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<(), End> {
        let Connection {
            stream: Some(stream),
            peer,
            ..
        } = &mut self.connections[id]
        else {
            return Ok(());
        };
        loop {
            let count = match stream.read(scratch) {
                Ok(0) => return Err(End::ByServer),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.reads += 1;
            let mut turn = Turn {
                now: Instant::now(),
                commands: &mut self.commands,
            };
            let mut on_event = |event: ClientEvent<'_>| observer.on_event(id, event, &mut turn);
            peer.receive(&scratch[..count], &mut on_event)?;
            if peer.stage() == Stage::Closed {
                return Err(End::ByServer);
            }
            if count < scratch.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Executes commands, including those that they cause.
    fn execute_commands(&mut self, observer: &mut impl Observer) {
        while !self.commands.list.is_empty() {
            let commands = std::mem::take(&mut self.commands);
            let mut start = 0;
            for (at, (id, command)) in commands.list.iter().enumerate() {
                let peer = &mut self.connections[*id].peer;
                match (command, peer) {
                    (Command::Text { end }, peer) => {
                        peer.send(&commands.text[start..*end]);
                        start = *end;
                    }
                    (Command::Close, Peer::SocketIo(client)) => client.close(),
                    (Command::Close | Command::Cut, _) => {
                        self.end(*id, End::ByServer, observer);
                        continue;
                    }
                }
                // A burst on one connection is one write.
                let more = commands
                    .list
                    .get(at + 1)
                    .is_some_and(|(next, _)| next == id);
                if !more && let Err(error) = self.connections[*id].flush() {
                    self.end(*id, error.into(), observer);
                }
            }
            self.recycle(commands);
        }
    }

    /// Keeps the buffers of executed commands for the next ones.
    fn recycle(&mut self, mut commands: Commands) {
        if self.commands.list.is_empty() {
            commands.list.clear();
            commands.text.clear();
            self.commands = commands;
        }
    }

    fn end(&mut self, id: usize, end: End, observer: &mut impl Observer) {
        let connection = &mut self.connections[id];
        if connection.stream.take().is_none() {
            return;
        }
        let is_expected = matches!(connection.peer.stage(), Stage::Closing | Stage::Closed);
        connection.peer = Peer::closed();
        self.free.push(id);
        let fault = match end {
            End::ByServer => None,
            // After our close frame the server may reset the connection.
            End::Socket(_) if is_expected => None,
            End::Socket(error) => Some(format!("connection {id}: {error}")),
            End::Fault(ClientError::Framing(error)) => {
                self.faults.framing += 1;
                self.faults
                    .first
                    .get_or_insert_with(|| format!("connection {id}: {error}"));
                None
            }
            End::Fault(error) => Some(format!("connection {id}: {error}")),
        };
        if let Some(fault) = fault {
            self.faults.other += 1;
            self.faults.first.get_or_insert(fault);
        }
        let mut turn = Turn {
            now: Instant::now(),
            commands: &mut self.commands,
        };
        observer.on_event(id, ClientEvent::Closed, &mut turn);
    }
}

impl Connection {
    /// Whether TCP is connected; if so, the upgrade request is queued.
    fn establish(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
            Ok(_) => {
                self.peer.connected(&self.target.to_string());
                Ok(true)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut written = 0;
        let unsent = self.peer.unsent();
        while written < unsent.len() {
            match stream.write(&unsent[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        unsent.drain(..written);
        Ok(())
    }
}
