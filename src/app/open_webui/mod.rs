//! The app of a node in front of Open WebUI: it handles sockets, rooms and pings, and leaves to the backends what
//! requires their database.
//!
//! The token of a CONNECT is checked by `gate`. Events of browsers are parsed into a [`BrowserRequest`]. `sign_in` and `chats` handle those known here, with REST requests
//! to the backends (`backends`, `authentication`, `token_cache`) and state shared with them in Redis (`redis_state`).
//! All other events are sent to a backend over an upstream connection (`upstreams`). Events of the backends arrive on
//! the bus like those of any python-socketio process; `bus_listener` applies those that change what this node has
//! cached. `maintenance` runs periodic tasks.
//!
//! `sockets` is the state of one worker's sockets as a value, `worker` joins it with the services. Only this folder,
//! `config` and `live`, which checks backends before a node starts, depend on names of Open WebUI.

mod authentication;
mod backends;
mod bus_events;
mod bus_listener;
mod chats;
mod documents;
mod events;
mod factory;
mod gate;
mod maintenance;
mod node;
mod outcomes;
mod recent_tokens;
mod redis_state;
mod requests;
mod sign_in;
mod sockets;
mod token;
mod token_cache;
mod unix_time;
mod upstreams;
mod user;
mod version;
mod worker;

use std::rc::Rc;
use std::sync::Arc;

use super::gate::ConnectGate;
use super::{
    App, CommandSender, Effect, Event, Outcome, SocketContext, SocketHandle, SocketHandler,
};
use crate::model::SocketId;
use crate::upstream::Pool;
use events::{channel_room, chat_room};
use gate::AccountGate;
use outcomes::{bool_ack, empty_ack};
use requests::{BrowserRequest, ChatAction};
use user::Login;
use worker::WorkerApp;

pub use factory::OpenWebuiFactory;
pub use node::Node;
pub use version::Support;

/// The app of one worker.
pub struct OpenWebui {
    worker: Rc<WorkerApp>,
}

impl OpenWebui {
    /// Starts the app on the current thread, which must run an actix system. `upstreams` leads to the backends,
    /// `commands` to the broker of the worker.
    pub fn start(node: &Node, upstreams: Arc<Pool>, commands: CommandSender) -> Self {
        let worker = Rc::new(WorkerApp::new(node, upstreams, commands));
        actix_rt::spawn(bus_listener::run(Rc::clone(&worker), node.bus_events()));
        actix_rt::spawn(maintenance::refresh_sessions(Rc::clone(&worker)));
        actix_rt::spawn(maintenance::revalidate_tokens(Rc::clone(&worker)));
        if node.claim_first_worker() {
            let backend_set = Arc::clone(&node.backend_set);
            actix_rt::spawn(maintenance::watch_versions(Rc::clone(&worker), backend_set));
        }
        Self { worker }
    }
}

impl App for OpenWebui {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        let (socket, handle) = (context.socket, context.access.handle());
        self.worker.connect(socket);
        Rc::new(OpenWebuiSocket {
            worker: Rc::clone(&self.worker),
            socket,
            handle,
        })
    }

    fn gate(self: Rc<Self>) -> Option<Box<dyn ConnectGate>> {
        Some(Box::new(AccountGate::new(&self.worker)))
    }
}

/// Handles one socket of a browser.
struct OpenWebuiSocket {
    worker: Rc<WorkerApp>,
    socket: SocketId,
    handle: SocketHandle,
}

impl OpenWebuiSocket {
    /// Handles a request that requires a user.
    fn handle(
        &self,
        context: &SocketContext<'_>,
        login: &Login,
        request: BrowserRequest,
        event: Event,
    ) -> Outcome {
        let (worker, socket) = (Rc::clone(&self.worker), self.socket);
        match request {
            BrowserRequest::Heartbeat => [empty_ack()].into(),
            BrowserRequest::Usage { model } => {
                Outcome::later(async move { worker.use_model(socket, model).await })
            }
            BrowserRequest::Channel {
                channel,
                typing: Some(typing),
            } => {
                let typing = events::channel_typing(&channel, &login.user, &typing);
                [Effect::dispatch(typing), empty_ack()].into()
            }
            BrowserRequest::Chat { chat, action } => self.handle_chat(context, chat, action),
            BrowserRequest::InvalidChat => [bool_ack(false)].into(),
            BrowserRequest::CompletionChunk { channel, data } => Outcome::later(async move {
                worker.redis.publish_completion_chunk(&channel, &data).await;
                [empty_ack()].into()
            }),
            _ => worker
                .upstreams
                .delegate(socket, &self.handle, login, event),
        }
    }

    fn handle_chat(
        &self,
        context: &SocketContext<'_>,
        chat: String,
        action: ChatAction,
    ) -> Outcome {
        let (worker, socket) = (Rc::clone(&self.worker), self.socket);
        let handle = self.handle.clone();
        match action {
            ChatAction::Join => {
                Outcome::later(async move { worker.join_chat(socket, &handle, chat).await })
            }
            ChatAction::Leave => {
                Outcome::later(async move { worker.leave_chat(socket, &handle, &chat).await })
            }
            ChatAction::Typing(_) if !context.access.is_in(&chat_room(&chat)) => {
                [bool_ack(false)].into()
            }
            ChatAction::Typing(typing) => {
                Outcome::later(async move { worker.chat_typing(socket, chat, typing).await })
            }
        }
    }
}

impl SocketHandler for OpenWebuiSocket {
    fn on_event(&self, context: &SocketContext<'_>, event: Event) -> Outcome {
        let (worker, socket, handle) = (Rc::clone(&self.worker), self.socket, self.handle.clone());
        let login = worker.sockets.borrow().login(socket);
        let request =
            BrowserRequest::parse(&event.payload, login.as_ref().map(|login| &*login.user.id));
        match request {
            BrowserRequest::UserJoin { token } => {
                Outcome::later(async move { worker.user_join(socket, &handle, token).await })
            }
            BrowserRequest::JoinChannels { token } => {
                Outcome::later(async move { worker.join_channels(socket, &handle, token).await })
            }
            BrowserRequest::JoinNote { token, note } => {
                Outcome::later(async move { worker.join_note(socket, &handle, token, &note).await })
            }
            // As at the backends, a socket outside the room gets an empty ack and no error.
            BrowserRequest::Channel { ref channel, .. }
                if !context.access.is_in(&channel_room(channel)) =>
            {
                [empty_ack()].into()
            }
            BrowserRequest::Other {
                requires_user: false,
            } if login.is_none() => [empty_ack()].into(),
            request => match login.filter(|login| !login.token.is_expired(unix_time::unix_now())) {
                Some(login) => self.handle(context, &login, request, event),
                None => [Effect::Disconnect { close: false }].into(),
            },
        }
    }

    fn on_disconnect(&self, _context: &SocketContext<'_>, reason: &str) {
        self.worker.disconnect(self.socket, reason);
    }
}
