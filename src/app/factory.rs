//! How a node makes its apps: what the workers share is created once, each worker's instance on the worker's thread.

use std::rc::Rc;

use super::{App, CommandSender, EngineApp};
use crate::model::{CommandObserver, NodeId, ServerSideEventHandler};

/// The part of an app that a node has once.
pub trait AppFactory: Send + Sync {
    /// The instance of one worker; called on its thread, inside an actix system. `commands` leads to the broker of the
    /// worker.
    fn build(&self, commands: CommandSender) -> Rc<dyn App>;

    /// The app for bare Engine.IO clients, if there is one.
    fn engine_app(&self) -> Option<Rc<dyn EngineApp>> {
        None
    }

    /// Whether the app has no more work to do for sockets that are gone. A stopping node waits for it.
    fn is_settled(&self) -> bool {
        true
    }

    /// Observers of the commands that arrive over the bus.
    fn command_observers(&self) -> Vec<CommandObserver> {
        Vec::new()
    }

    /// Answers the events of foreign servers for the servers of the cluster, as `node`. Called on the thread of the bridge.
    fn server_events(&self, _node: NodeId) -> Option<ServerSideEventHandler> {
        None
    }

    /// Whether the app connects to servers behind the node. Requests that come back from there are rejected as a loop.
    fn has_upstreams(&self) -> bool {
        false
    }

    /// Whether the app establishes the identity of clients: by a gate ([`App::gate`]) or by
    /// [`Effect::Identify`](super::Effect::Identify).
    fn identifies(&self) -> bool {
        false
    }
}
