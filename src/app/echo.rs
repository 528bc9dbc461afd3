//! The app that the official protocol suites expect (protocol notes 5): every client gets back what it sends.

use super::{Action, Answer, App, Event, SocketContext};
use crate::model::{Message, Payload};

/// Echoes events as Socket.IO and messages as bare Engine.IO.
#[derive(Debug, Default)]
pub struct Echo;

impl App for Echo {
    fn on_connect(&self, _peer: &SocketContext<'_>, auth: &str) -> Answer {
        let auth = if auth.is_empty() { "{}" } else { auth };
        [Action::Emit(Payload::event("auth", [auth]))].into()
    }

    fn on_event(&self, _peer: &SocketContext<'_>, event: Event) -> Answer {
        let payload = event.payload;
        let elements = payload.elements();
        let args = elements.iter().skip(1).copied();
        match elements.first().copied() {
            Some(r#""message""#) => {
                let json = Payload::event("message-back", args).json;
                let attachments = payload.attachments;
                [Action::Emit(Payload { json, attachments })].into()
            }
            Some(r#""message-with-ack""#) => {
                let json = format!("[{}]", args.collect::<Vec<_>>().join(",")).into();
                let attachments = payload.attachments;
                [Action::Ack(Payload { json, attachments })].into()
            }
            _ => Answer::nothing(),
        }
    }

    fn bare_path(&self) -> Option<&str> {
        Some("/engine.io")
    }

    fn on_message(&self, message: Message) -> Vec<Message> {
        vec![message]
    }
}
