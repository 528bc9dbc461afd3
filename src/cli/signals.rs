//! The signals of a node under way.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the process is told by signals. Once this exists none of them ends the process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to heed them; must run inside a runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the node is told to end; by which signal.
    pub async fn end(&mut self) -> &'static str {
        end(&mut self.terminate, &mut self.interrupt).await
    }

    /// Waits for the next signal. One that came before counts.
    pub async fn next(&mut self) -> Told {
        let Self {
            terminate,
            interrupt,
            hang_up,
        } = self;
        tokio::select! {
            name = end(terminate, interrupt) => Told::End(name),
            _ = hang_up.recv() => Told::Reload,
        }
    }
}

/// What a signal tells a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end; by which signal.
    End(&'static str),
    /// To read its configuration again.
    Reload,
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
