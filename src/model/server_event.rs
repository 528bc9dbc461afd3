//! Events that a foreign server emits to the other servers of the cluster, not to clients (`serverSideEmit` in Node).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::{Namespace, Payload};

/// An event for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSideEvent {
    pub namespace: Namespace,
    /// The name and the arguments.
    pub payload: Payload,
    /// Whether the server that emits it waits for an answer from every other server.
    pub expects_answer: bool,
}

/// Resolves to a JSON value: the answer of this node.
pub type ServerSideEventAnswer = Pin<Box<dyn Future<Output = String>>>;

/// Called on the bridge's thread with every event for servers. Must not block.
pub type ServerSideEventHandler = Rc<dyn Fn(ServerSideEvent) -> ServerSideEventAnswer>;
