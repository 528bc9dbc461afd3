//! `raw-writer`: the lower bound that servers are compared with. It implements just
//! enough of websocket, Engine.IO and the relay app for the load generator: one room,
//! prefixes instead of JSON, no pings, no limits. A broadcast is one frame and one
//! send(2) per member; broadcasts that arrive together are sent together.

mod relay;
mod shard;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use argh::FromArgs;

use shard::{Inbox, Shard};

/// Lower bound for Socket.IO servers: one frame, one send per member.
#[derive(FromArgs)]
struct Options {
    /// host:port to listen on
    #[argh(option)]
    bind: SocketAddr,
    /// threads that share the connections
    #[argh(option, default = "1")]
    threads: usize,
}

fn main() -> Result<()> {
    let options: Options = argh::from_env();
    let polls: Vec<_> = (0..options.threads)
        .map(|_| mio::Poll::new().context("epoll cannot be set up"))
        .collect::<Result<_>>()?;
    let inboxes: Vec<_> = polls.iter().map(Inbox::new).collect::<Result<_>>()?;
    let inboxes = Arc::new(inboxes);
    let mut threads = Vec::new();
    for (index, poll) in polls.into_iter().enumerate() {
        let mut shard = Shard::new(poll, options.bind, index, Arc::clone(&inboxes))?;
        threads.push(thread::spawn(move || shard.run()));
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread panicked"))??;
    }
    Ok(())
}
