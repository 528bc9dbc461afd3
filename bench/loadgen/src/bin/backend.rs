//! `backend`: an HTTP backend for webhooks that accepts every request with an ack, on one
//! thread. It does nothing else, so that a measurement shows the cost of the server in
//! front of it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use argh::FromArgs;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use roomwire_loadgen::http::Message;

const LISTENER: Token = Token(usize::MAX);
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 21\r\n\r\n{\"ack\":[{\"ok\":true}]}";

/// HTTP backend that accepts every webhook.
#[derive(FromArgs)]
struct Options {
    /// host:port to listen on
    #[argh(option)]
    bind: SocketAddr,
}

struct Connection {
    stream: TcpStream,
    /// The start of an incomplete request.
    held: Vec<u8>,
}

fn main() -> Result<()> {
    let options: Options = argh::from_env();
    let mut poll = Poll::new().context("epoll cannot be set up")?;
    let mut listener =
        TcpListener::bind(options.bind).with_context(|| format!("cannot bind {}", options.bind))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome.context("epoll failed")?,
        }
        for event in &events {
            let Token(id) = event.token();
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
            } else if let Some(connection) = &mut connections[id]
                && connection.serve().is_err()
            {
                connections[id] = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut Vec<Option<Connection>>,
) -> Result<()> {
    loop {
        let (mut stream, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("accept failed"),
        };
        stream.set_nodelay(true)?;
        let id = Token(connections.len());
        poll.registry()
            .register(&mut stream, id, Interest::READABLE)?;
        let held = Vec::new();
        connections.push(Some(Connection { stream, held }));
    }
}

impl Connection {
    /// Reads what has arrived, and responds to each complete request.
    fn serve(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => bail!("closed"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.held.extend_from_slice(&buffer[..count]);
            while let Some(message) = Message::parse(&self.held)? {
                self.held.drain(..message.total);
                // A response fits the send buffer, since clients wait for it before they send more.
                self.stream.write_all(RESPONSE)?;
            }
        }
    }
}
