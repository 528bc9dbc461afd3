//! All connections of a run in one epoll loop on one thread.
//! Moves bytes between sockets and `client`s, hands notices to the scenario and
//! carries out what the scenario orders. Knows neither rooms nor measurements.

use std::fmt::{Arguments, Write as _};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, ClientError, Door, Notice, Stage};
use crate::source::Sources;

const EVENTS_A_TURN: usize = 1024;
const READ_BUFFER: usize = 64 * 1024;

/// What a scenario implements: it hears of every notice, in the order of arrival.
pub(crate) trait Observer {
    fn notice(&mut self, id: usize, notice: Notice<'_>, turn: &mut Turn<'_>);
}

/// The moment of a notice, and the way to react to it.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    orders: &'a mut Orders,
}

impl Turn<'_> {
    /// Sends a text message on connection `id`, after this notice was handled.
    pub(crate) fn send(&mut self, id: usize, text: Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.orders.text.write_fmt(text);
        self.orders.list.push((
            id,
            Order::Text {
                end: self.orders.text.len(),
            },
        ));
    }

    /// Closes connection `id` with a close frame; `Notice::Closed` follows.
    pub(crate) fn close(&mut self, id: usize) {
        self.orders.list.push((id, Order::Close));
    }

    /// Ends connection `id` without a word; `Notice::Closed` follows.
    pub(crate) fn cut(&mut self, id: usize) {
        self.orders.list.push((id, Order::Cut));
    }
}

enum Order {
    /// A text message that ends at `end` of `Orders::text` and begins where the last ended.
    Text {
        end: usize,
    },
    Close,
    Cut,
}

#[derive(Default)]
struct Orders {
    text: String,
    list: Vec<(usize, Order)>,
}

/// What went wrong on connections, over the life of a fleet.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Frames that broke RFC 6455.
    pub(crate) framing: u64,
    /// Rejected upgrades, unexpected packets, socket errors.
    pub(crate) other: u64,
    /// The first fault in words.
    pub(crate) first: Option<String>,
}

struct Connection {
    stream: Option<TcpStream>,
    client: Client,
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
    hold: Hold,
}

/// The part of the fleet that the handling of an event changes.
struct Hold {
    poll: Poll,
    connections: Vec<Connection>,
    free: Vec<usize>,
    orders: Orders,
    sources: Sources,
    faults: Faults,
    reads: u64,
}

impl Fleet {
    pub(crate) fn new() -> Result<Self> {
        let hold = Hold {
            poll: Poll::new().context("epoll cannot be set up")?,
            connections: Vec::new(),
            free: Vec::new(),
            orders: Orders::default(),
            sources: Sources::new(),
            faults: Faults::default(),
            reads: 0,
        };
        Ok(Self {
            events: Events::with_capacity(EVENTS_A_TURN),
            scratch: vec![0; READ_BUFFER],
            hold,
        })
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.hold.faults
    }

    /// How many reads brought data.
    pub(crate) fn reads(&self) -> u64 {
        self.hold.reads
    }

    /// Starts a connection and returns its id; ids of ended connections come again.
    pub(crate) fn open(&mut self, target: SocketAddr) -> Result<usize> {
        self.open_at(target, Door::default())
    }

    /// The same at another door than Socket.IO's usual one.
    pub(crate) fn open_at(&mut self, target: SocketAddr, door: Door) -> Result<usize> {
        let hold = &mut self.hold;
        let mut stream = hold.sources.connect(target)?;
        let id = hold.free.pop().unwrap_or(hold.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        hold.poll
            .registry()
            .register(&mut stream, Token(id), interest)?;
        let client = Client::new(id as u32, door);
        let connection = Connection {
            stream: Some(stream),
            client,
            target,
        };
        if id == hold.connections.len() {
            hold.connections.push(connection);
        } else {
            hold.connections[id] = connection;
        }
        Ok(id)
    }

    /// Waits at most `wait` for sockets and handles what they have.
    pub(crate) fn turn(&mut self, wait: Duration, observer: &mut impl Observer) -> Result<()> {
        match self.hold.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            outcome => outcome.context("epoll failed")?,
        }
        for event in &self.events {
            self.hold.handle(event, &mut self.scratch, observer);
        }
        Ok(())
    }

    /// Lets a scenario act outside of any notice.
    pub(crate) fn prompt<O: Observer>(
        &mut self,
        observer: &mut O,
        act: impl FnOnce(&mut O, &mut Turn<'_>),
    ) {
        let mut turn = Turn {
            now: Instant::now(),
            orders: &mut self.hold.orders,
        };
        act(observer, &mut turn);
        self.hold.carry_out(observer);
    }
}

impl Hold {
    fn handle(&mut self, event: &Event, scratch: &mut [u8], observer: &mut impl Observer) {
        let id = event.token().0;
        let outcome = self.exchange(id, event, scratch, observer);
        if let Err(end) = outcome {
            self.end(id, end, observer);
        }
        self.carry_out(observer);
    }

    fn exchange(
        &mut self,
        id: usize,
        event: &Event,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<(), End> {
        let connection = &mut self.connections[id];
        if connection.client.stage == Stage::Connecting && !connection.establish()? {
            return Ok(());
        }
        if event.is_readable() || event.is_read_closed() {
            self.read(id, event.is_read_closed(), scratch, observer)?;
        }
        self.connections[id].flush()?;
        Ok(())
    }

    /// Reads what the socket has. A short read means that it is empty, except that
    /// behind the last data there is an end still to be read (`to_the_end`).
    fn read(
        &mut self,
        id: usize,
        to_the_end: bool,
        scratch: &mut [u8],
        observer: &mut impl Observer,
    ) -> Result<(), End> {
        let Connection {
            stream: Some(stream),
            client,
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
                orders: &mut self.orders,
            };
            let mut tell = |notice: Notice<'_>| observer.notice(id, notice, &mut turn);
            client.receive(&scratch[..count], &mut tell)?;
            if client.stage == Stage::Closed {
                return Err(End::ByServer);
            }
            if count < scratch.len() && !to_the_end {
                return Ok(());
            }
        }
    }

    /// Carries out orders, those included that come up meanwhile.
    fn carry_out(&mut self, observer: &mut impl Observer) {
        while !self.orders.list.is_empty() {
            let orders = std::mem::take(&mut self.orders);
            let mut start = 0;
            for (at, (id, order)) in orders.list.iter().enumerate() {
                let client = &mut self.connections[*id].client;
                match order {
                    Order::Text { end } => {
                        client.send(&orders.text[start..*end]);
                        start = *end;
                    }
                    Order::Close => client.close(),
                    Order::Cut => {
                        self.end(*id, End::ByServer, observer);
                        continue;
                    }
                }
                // A burst on one connection leaves in one write.
                let more = orders.list.get(at + 1).is_some_and(|(next, _)| next == id);
                if !more && let Err(error) = self.connections[*id].flush() {
                    self.end(*id, error.into(), observer);
                }
            }
            self.recycle(orders);
        }
    }

    /// Keeps the buffers of carried-out orders for the next ones.
    fn recycle(&mut self, mut orders: Orders) {
        if self.orders.list.is_empty() {
            orders.list.clear();
            orders.text.clear();
            self.orders = orders;
        }
    }

    fn end(&mut self, id: usize, end: End, observer: &mut impl Observer) {
        let connection = &mut self.connections[id];
        if connection.stream.take().is_none() {
            return;
        }
        let asked_for = matches!(connection.client.stage, Stage::Closing | Stage::Closed);
        connection.client = Client::new(0, Door::default());
        connection.client.stage = Stage::Closed;
        self.free.push(id);
        let fault = match end {
            End::ByServer => None,
            // After our close frame the server may drop the connection as it likes.
            End::Socket(_) if asked_for => None,
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
            orders: &mut self.orders,
        };
        observer.notice(id, Notice::Closed, &mut turn);
    }
}

impl Connection {
    /// Whether TCP is connected now; the first time the upgrade request is queued.
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
                self.client.connected(&self.target.to_string());
                Ok(true)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let mut written = 0;
        while written < self.client.unsent.len() {
            match stream.write(&self.client.unsent[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.client.unsent.drain(..written);
        Ok(())
    }
}
