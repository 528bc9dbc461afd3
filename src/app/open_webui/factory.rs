//! The part of the app that a node has once.

use std::rc::Rc;
use std::sync::Arc;

use super::{Node, OpenWebui};
use crate::app::{App, AppFactory, CommandSender};
use crate::model::CommandObserver;
use crate::upstream::Pool;

/// Makes the app of each worker, over the same backends.
pub struct OpenWebuiFactory {
    node: Arc<Node>,
    upstreams: Arc<Pool>,
}

impl OpenWebuiFactory {
    /// `upstreams` leads to the Socket.IO servers of the backends.
    pub fn new(node: Node, upstreams: Arc<Pool>) -> Self {
        Self {
            node: Arc::new(node),
            upstreams,
        }
    }
}

impl AppFactory for OpenWebuiFactory {
    fn build(&self, commands: CommandSender) -> Rc<dyn App> {
        Rc::new(OpenWebui::start(
            &self.node,
            Arc::clone(&self.upstreams),
            commands,
        ))
    }

    fn is_settled(&self) -> bool {
        self.node.is_settled()
    }

    fn command_observers(&self) -> Vec<CommandObserver> {
        vec![Box::new(self.node.command_observer())]
    }

    fn has_upstreams(&self) -> bool {
        true
    }

    fn identifies(&self) -> bool {
        true
    }
}
