//! Results that come from several workers and nodes, before a deadline.

use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout_at;

use crate::model::NodeId;

/// The results of a query or call, as they arrive. Dropping it cancels the rest.
///
/// It can be awaited on any thread with a tokio runtime.
pub struct Gather<T> {
    steps: UnboundedReceiver<Step<T>>,
    deadline: Instant,
    missing: Vec<NodeId>,
    /// Whether a response is expected from servers that are not Roomwire nodes and has not arrived.
    misses_servers: bool,
    /// Number of sockets that servers have reported.
    of_servers: u64,
    /// Stops the shard that collects the results; `None` once it has stopped by itself.
    cancel: Option<Box<dyn FnOnce() + Send>>,
}

/// Everything a [`Gather`] received before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered<T> {
    pub answers: Vec<T>,
    /// Live nodes that should have responded and did not. Empty if the result is complete, and while the members of
    /// the cluster are unknown.
    pub missing: Vec<NodeId>,
    /// Whether at least one server that is not a Roomwire node should have responded and did not.
    pub misses_servers: bool,
    /// The number of sockets that these servers have reported, which are part of the answers.
    pub of_servers: u64,
}

/// The collecting end of a [`Gather`].
#[derive(Debug)]
pub struct GatherSender<T>(UnboundedSender<Step<T>>);

#[derive(Debug)]
enum Step<T> {
    Answer(T),
    /// Nothing more comes from this node.
    Responded(NodeId),
    /// Responses of servers are expected.
    ServersAwaited,
    /// A server has reported this number of sockets in its answer.
    OfServer(u64),
    /// All servers have responded.
    ServersResponded,
    /// Nothing more comes at all, and nothing is missing.
    Complete,
}

impl<T> Gather<T> {
    /// A gather until `deadline`, in which the nodes of `awaited` should respond.
    pub(super) fn new(deadline: Instant, awaited: Vec<NodeId>) -> (Self, GatherSender<T>) {
        let (sender, steps) = unbounded_channel();
        let gather = Self {
            steps,
            deadline,
            missing: awaited,
            misses_servers: false,
            of_servers: 0,
            cancel: None,
        };
        (gather, GatherSender(sender))
    }

    /// The same, and `cancel` runs if it is dropped before its end.
    pub(super) fn on_cancel(mut self, cancel: impl FnOnce() + Send + 'static) -> Self {
        self.cancel = Some(Box::new(cancel));
        self
    }

    /// The next result; `None` at the end: everybody has responded, or the deadline is over.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            let step = timeout_at(self.deadline.into(), self.steps.recv()).await;
            match step {
                Ok(Some(Step::Answer(answer))) => return Some(answer),
                Ok(Some(Step::Responded(node))) => self.missing.retain(|awaited| *awaited != node),
                Ok(Some(Step::ServersAwaited)) => self.misses_servers = true,
                Ok(Some(Step::ServersResponded)) => self.misses_servers = false,
                Ok(Some(Step::OfServer(sockets))) => self.of_servers += sockets,
                Ok(Some(Step::Complete)) => self.missing.clear(),
                Ok(None) => {
                    self.cancel = None;
                    return None;
                }
                Err(_elapsed) => return None,
            }
        }
    }

    /// Waits for the end.
    pub async fn finish(mut self) -> Gathered<T> {
        let mut answers = Vec::new();
        while let Some(answer) = self.next().await {
            answers.push(answer);
        }
        Gathered {
            answers,
            missing: std::mem::take(&mut self.missing),
            misses_servers: self.misses_servers,
            of_servers: self.of_servers,
        }
    }
}

impl<T> Drop for Gather<T> {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

impl<T> GatherSender<T> {
    /// Passes a result on.
    pub(super) fn answer(&self, answer: T) {
        self.send(Step::Answer(answer));
    }

    /// Nothing more comes from `node`.
    pub(super) fn responded(&self, node: NodeId) {
        self.send(Step::Responded(node));
    }

    /// Responses of servers that are not Roomwire nodes are expected.
    pub(super) fn servers_awaited(&self) {
        self.send(Step::ServersAwaited);
    }

    /// Passes on the answer of a server, which has reported this number of sockets.
    pub(super) fn server_answer(&self, answer: T, sockets: u64) {
        self.send(Step::OfServer(sockets));
        self.answer(answer);
    }

    /// All servers have responded.
    pub(super) fn servers_responded(&self) {
        self.send(Step::ServersResponded);
    }

    /// Nothing more comes at all, and nothing is missing.
    pub(super) fn complete(&self) {
        self.send(Step::Complete);
    }

    fn send(&self, step: Step<T>) {
        // The gather may have been dropped; its cancellation is on its way.
        let _ = self.0.send(step);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_arrive_one_by_one_and_the_end_names_the_missing_nodes() {
        let deadline = clock::now() + Duration::from_secs(1);
        let awaited = vec![node("aaaa"), node("bbbb")];
        let (mut gather, sender) = Gather::new(deadline, awaited);
        sender.answer(1);
        assert_eq!(gather.next().await, Some(1));
        sender.answer(2);
        sender.responded(node("aaaa"));
        let gathered = gather.finish().await;
        assert_eq!(gathered.answers, [2]);
        assert_eq!(gathered.missing, [node("bbbb")]);
        assert!(clock::now() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gather_ends_with_its_sender_without_waiting_for_the_deadline() {
        let start = clock::now();
        let (gather, sender) =
            Gather::<u8>::new(start + Duration::from_secs(1), vec![node("aaaa")]);
        sender.complete();
        drop(sender);
        let gathered = gather.finish().await;
        assert!(gathered.answers.is_empty() && gathered.missing.is_empty());
        assert_eq!(clock::now(), start);
    }
}
