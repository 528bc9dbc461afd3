//! The signals of a running node.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of SIGTERM, SIGINT and SIGHUP. From their creation on, none of these signals ends the process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Installs the handlers. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system rejects a handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that requests a shutdown. Returns its name.
    pub async fn end(&mut self) -> &'static str {
        end(&mut self.terminate, &mut self.interrupt).await
    }

    /// Waits for the next signal, including signals since the last call.
    pub async fn next(&mut self) -> SignalRequest {
        let Self {
            terminate,
            interrupt,
            hang_up,
        } = self;
        tokio::select! {
            name = end(terminate, interrupt) => SignalRequest::ShutDown(name),
            _ = hang_up.recv() => SignalRequest::Reload,
        }
    }
}

/// What a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalRequest {
    /// A shutdown; with the name of the signal.
    ShutDown(&'static str),
    /// A reload of the configuration.
    Reload,
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
