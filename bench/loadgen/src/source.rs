//! Source addresses for connections: 127.0.0.2 and up, with explicit ports. The 28 000
//! ephemeral ports of one address would not suffice, and the kernel's search for a free
//! one would take time. Called by `fleet`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

const ADDRESSES: u64 = 200;
const FIRST_PORT: u64 = 10_000;
const PORTS: u64 = 50_000;
/// Fails after this many consecutive ports in use: more than a few runs leave in TIME_WAIT.
const ATTEMPTS: usize = 100_000;
/// Linux's "operation in progress", for which std has no stable name.
const EINPROGRESS: i32 = 115;

/// The next source to use.
pub(crate) struct Sources {
    next: u64,
}

impl Sources {
    /// Starts at another port in each run, since ports of the last run may be in TIME_WAIT.
    pub(crate) fn new() -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            next: u64::from(now.subsec_nanos()),
        }
    }

    /// Begins a non-blocking connection to `target`.
    pub(crate) fn connect(&mut self, target: SocketAddr) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .context("no socket for a connection (is the nofile limit high enough?)")?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        self.bind(&socket)?;
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => {
                Err(error).with_context(|| format!("cannot connect to {target}"))
            }
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    fn bind(&mut self, socket: &Socket) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let source = self.take();
            match socket.bind(&source.into()) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                outcome => return outcome.with_context(|| format!("cannot bind {source}")),
            }
        }
        bail!("{ATTEMPTS} consecutive source ports are in use");
    }

    fn take(&mut self) -> SocketAddrV4 {
        let host = 2 + (self.next % ADDRESSES) as u8;
        let port = FIRST_PORT + (self.next / ADDRESSES) % PORTS;
        self.next += 1;
        SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), port as u16)
    }
}
