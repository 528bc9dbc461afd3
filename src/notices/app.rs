//! The events of clients, on their way to the app.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::intake::{Intake, NoticeEvent, NoticeEventKind};
use crate::app::gate::ConnectGate;
use crate::app::{App, Event, Outcome, SocketContext, SocketHandler};
use crate::model::Payload;

/// Wraps an app: the events of clients that the configuration selects also become notices. The app handles everything.
pub struct WatchedApp {
    app: Rc<dyn App>,
    intake: Arc<Intake>,
}

struct WatchedHandler {
    handler: Rc<dyn SocketHandler>,
    intake: Arc<Intake>,
}

impl WatchedApp {
    /// Watches the events that `app` receives.
    pub fn new(app: Rc<dyn App>, intake: Arc<Intake>) -> Rc<Self> {
        Rc::new(Self { app, intake })
    }
}

impl App for WatchedApp {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        Rc::new(WatchedHandler {
            handler: Rc::clone(&self.app).open(context),
            intake: Arc::clone(&self.intake),
        })
    }

    fn handshake_headers(&self) -> Option<&[&'static str]> {
        self.app.handshake_headers()
    }

    fn gate(self: Rc<Self>) -> Option<Box<dyn ConnectGate>> {
        Rc::clone(&self.app).gate()
    }

    fn identifies(&self) -> bool {
        self.app.identifies()
    }
}

impl SocketHandler for WatchedHandler {
    fn on_connect(&self, context: &SocketContext<'_>, auth: &str) -> Outcome {
        self.handler.on_connect(context, auth)
    }

    fn on_connected(&self, context: &SocketContext<'_>) -> Outcome {
        self.handler.on_connected(context)
    }

    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        let name = event.payload.event_name();
        if name.is_some_and(|name| self.intake.is_chosen(&name)) {
            self.intake.offer(NoticeEvent {
                at: SystemTime::now(),
                namespace: context.namespace.clone(),
                socket: context.socket,
                user: context
                    .identity
                    .map(|identity| Arc::from(identity.user.as_str())),
                change: NoticeEventKind::Event {
                    payload: event.payload.clone(),
                    ack: event.ack.is_some(),
                },
                is_in_doubt: false,
            });
        }
        self.handler.on_event(context, event)
    }

    fn rejection(&self, code: &str, message: &str) -> Option<Payload> {
        self.handler.rejection(code, message)
    }

    fn on_disconnect(&self, context: &SocketContext<'_>, reason: &str) {
        self.handler.on_disconnect(context, reason);
    }
}
