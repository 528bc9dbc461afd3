//! Commands that an app dispatches for no socket in particular.

use std::rc::Rc;

use crate::model::Command;

/// Dispatches commands of an app like those of a client of its worker.
#[derive(Clone)]
pub struct CommandSender(Rc<dyn Fn(Command)>);

impl CommandSender {
    /// A sender that calls `dispatch`, the broker of the worker.
    pub fn new(dispatch: impl Fn(Command) + 'static) -> Self {
        Self(Rc::new(dispatch))
    }

    /// Dispatches the command.
    pub fn dispatch(&self, command: Command) {
        (self.0)(command);
    }
}
