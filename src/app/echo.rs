//! The apps that the official protocol suites expect (docs/protocol.md#5-the-echo-app): clients receive what they
//! send.

use std::rc::Rc;

use super::{
    App, AppFactory, CommandSender, Effect, EngineApp, Event, Outcome, SocketContext, SocketHandler,
};
use crate::model::{Message, Payload};

/// Echoes Socket.IO events.
#[derive(Debug, Default)]
pub struct Echo;

impl App for Echo {
    fn open(self: Rc<Self>, _context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        self
    }
}

impl SocketHandler for Echo {
    fn on_connect(&self, _context: &SocketContext<'_>, auth: &str) -> Outcome {
        let auth = if auth.is_empty() { "{}" } else { auth };
        [Effect::Emit(Payload::event("auth", [auth]))].into()
    }

    fn on_event(&self, _context: &SocketContext<'_>, event: Event) -> Outcome {
        let payload = event.payload;
        let mut args = payload.elements();
        match args.next() {
            Some(r#""message""#) => {
                let echo = Payload::event("message-back", args);
                let echo = echo.with_attachments(payload.into_attachments());
                [Effect::Emit(echo)].into()
            }
            Some(r#""message-with-ack""#) => {
                let echo = Payload::array(args);
                let echo = echo.with_attachments(payload.into_attachments());
                [Effect::Ack(echo)].into()
            }
            _ => Outcome::none(),
        }
    }
}

/// Echoes bare Engine.IO messages.
#[derive(Debug, Default)]
pub struct EngineEcho;

impl EngineApp for EngineEcho {
    fn path(&self) -> &'static str {
        "/engine.io"
    }

    fn on_message(&self, message: Message) -> Vec<Message> {
        vec![message]
    }
}

/// Makes both.
#[derive(Debug, Default)]
pub struct EchoFactory;

impl AppFactory for EchoFactory {
    fn build(&self, _commands: CommandSender) -> Rc<dyn App> {
        Rc::new(Echo)
    }

    fn engine_app(&self) -> Option<Rc<dyn EngineApp>> {
        Some(Rc::new(EngineEcho))
    }
}
