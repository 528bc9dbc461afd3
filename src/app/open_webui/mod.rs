//! The app of a node in front of Open WebUI: it handles sockets, rooms and pings, and leaves to the backends what
//! requires their database.
//!
//! Events of browsers are parsed into a [`Request`]. `sign_in` and `chats` handle those known here, with REST requests to the
//! backends (`backends`, `authentication`, `token_cache`) and state shared with them in Redis (`redis_state`). All other events
//! are sent to a backend over an upstream connection (`upstreams`). Events of the backends arrive on the bus like those of
//! any python-socketio process; `bus_listener` applies those that change what this node has cached. `maintenance` runs
//! periodic tasks.
//!
//! `sockets` is the state of one worker's sockets as a value, `worker` joins it with the services. Only this folder, `config`, and
//! `live`, which checks backends before a node starts, know Open WebUI's names.

mod authentication;
mod backends;
mod bus_events;
mod bus_listener;
mod chats;
mod clock;
mod documents;
mod events;
mod maintenance;
mod node;
mod recent_tokens;
mod redis_state;
mod replies;
mod requests;
mod sign_in;
mod sockets;
mod token;
mod token_cache;
mod upstreams;
mod user;
mod version;
mod worker;

use std::rc::Rc;
use std::sync::Arc;

use super::{Action, Answer, App, CommandSender, Event, Later, SocketContext};
use crate::upstream::Pool;
use events::{channel_room, chat_room};
use replies::{bool_ack, empty_ack, later};
use requests::{ChatAction, Request, token_of};
use user::Login;
use worker::Worker;

pub use node::Node;
pub use version::Support;

/// The app of one worker.
pub struct OpenWebui {
    worker: Rc<Worker>,
}

impl OpenWebui {
    /// Starts the app on the current thread, which must run an actix system. `upstreams` leads to the backends, `commands` to
    /// the broker of the worker.
    pub fn start(node: &Node, upstreams: Arc<Pool>, commands: CommandSender) -> Self {
        let worker = Rc::new(Worker::new(node, upstreams, commands));
        actix_rt::spawn(bus_listener::run(Rc::clone(&worker), node.bus_events()));
        actix_rt::spawn(maintenance::refresh_sessions(Rc::clone(&worker)));
        actix_rt::spawn(maintenance::revalidate_tokens(Rc::clone(&worker)));
        if node.claim_first_worker() {
            let fleet = Arc::clone(&node.fleet);
            actix_rt::spawn(maintenance::watch_versions(Rc::clone(&worker), fleet));
        }
        Self { worker }
    }

    /// Handles a request that requires a user.
    fn handle(
        &self,
        peer: &SocketContext<'_>,
        login: &Login,
        request: Request,
        event: Event,
    ) -> Answer {
        let socket = peer.socket;
        let worker = Rc::clone(&self.worker);
        match request {
            Request::Heartbeat => [empty_ack()].into(),
            Request::Usage { model } => later(async move { worker.use_model(socket, model).await }),
            Request::Channel {
                channel,
                typing: Some(typing),
            } => {
                let typing = events::channel_typing(&channel, &login.user, &typing);
                [Action::Dispatch(typing), empty_ack()].into()
            }
            Request::Chat { chat, action } => self.handle_chat(peer, chat, action),
            Request::InvalidChat => [bool_ack(false)].into(),
            Request::CompletionChunk { channel, data } => later(async move {
                worker.redis.publish_completion_chunk(&channel, &data).await;
                [empty_ack()].into()
            }),
            _ => worker.upstreams.delegate(socket, login, event),
        }
    }

    fn handle_chat(&self, peer: &SocketContext<'_>, chat: String, action: ChatAction) -> Answer {
        let socket = peer.socket;
        let worker = Rc::clone(&self.worker);
        match action {
            ChatAction::Join => later(async move { worker.join_chat(socket, chat).await }),
            ChatAction::Leave => {
                let room = chat_room(&chat);
                let left = async move { worker.leave_chat(socket, &chat).await };
                [
                    Action::Leave(vec![room]),
                    Action::Then(Later(Box::pin(left))),
                ]
                .into()
            }
            ChatAction::Typing(_) if !peer.rooms.contains(&chat_room(&chat)) => {
                [bool_ack(false)].into()
            }
            ChatAction::Typing(typing) => {
                later(async move { worker.chat_typing(socket, chat, typing).await })
            }
        }
    }
}

impl App for OpenWebui {
    /// Never refuses: a client without a valid token is connected but in no room, as at the backends.
    fn on_connect(&self, peer: &SocketContext<'_>, auth: &str) -> Answer {
        self.worker.connect(peer.socket, peer.doorway.door());
        let Some(token) = token_of(auth) else {
            return Answer::nothing();
        };
        let worker = Rc::clone(&self.worker);
        let socket = peer.socket;
        let signed_in = async move { worker.sign_in(socket, &token).await };
        [Action::Then(Later(Box::pin(signed_in)))].into()
    }

    fn on_event(&self, peer: &SocketContext<'_>, event: Event) -> Answer {
        let socket = peer.socket;
        let worker = Rc::clone(&self.worker);
        let login = worker.sockets.borrow().login(socket);
        let request = Request::parse(&event.payload, login.as_ref().map(|login| &*login.user.id));
        match request {
            Request::UserJoin { token } => {
                later(async move { worker.user_join(socket, token).await })
            }
            Request::JoinChannels { token } => {
                later(async move { worker.join_channels(socket, token).await })
            }
            Request::JoinNote { token, note } => {
                later(async move { worker.join_note(socket, token, &note).await })
            }
            // As at the backends, a socket outside the room gets an empty ack and no error.
            Request::Channel { ref channel, .. }
                if !peer.rooms.contains(&channel_room(channel)) =>
            {
                [empty_ack()].into()
            }
            Request::Other {
                requires_user: false,
            } if login.is_none() => [empty_ack()].into(),
            request => match login.filter(|login| !login.token.is_expired(clock::now())) {
                Some(login) => self.handle(peer, &login, request, event),
                None => [Action::Disconnect { close: false }].into(),
            },
        }
    }

    fn on_disconnect(&self, peer: &SocketContext<'_>, reason: &str) {
        self.worker.disconnect(peer.socket, reason);
    }
}
