//! In front of Open WebUI backends: sockets, rooms and pings here, everything that needs their database there.
//!
//! Backends are asked over REST with the user's own token (`backends`, `token_cache`), share Redis with us (`pools`) and
//! are heard on the bus like any python-socketio process. What a browser says is read into a [`Request`] and served
//! by `sign_in` and `documents`, or goes to a backend (`upstream connections`); `keeper` does what happens by the clock, `ear` what
//! the backends say in passing.
//!
//! This folder, `config` and `live`, which looks at backends before a node meets them, are all that knows Open WebUI's names.

mod backends;
mod bus_events;
mod chats;
mod events;
mod maintenance;
mod node;
mod recent;
mod redis_state;
mod requests;
mod sign_in;
mod sockets;
mod token;
mod token_cache;
mod upstreams;
mod version;

use std::rc::Rc;
use std::sync::Arc;

use super::{Action, Actions, Answer, App, CommandSender, Event, Later, SocketContext};
use crate::model::Payload;
use crate::upstream::Pool;
use events::{channel_room, chat_room};
use requests::{ChatWish, Request, token_of};
use sockets::{Login, Sockets};

pub use node::Node;
pub use version::Support;

/// The app of one worker.
pub struct OpenWebui {
    sockets: Rc<Sockets>,
}

impl OpenWebui {
    /// Starts on the current thread, which must run an actix system; `upstream connections` lead to the backends, `outlet` is that
    /// of its worker.
    pub fn start(node: &Node, upstreams: Arc<Pool>, outlet: CommandSender) -> Self {
        let sockets = Rc::new(Sockets::new(node, upstreams, outlet));
        actix_rt::spawn(bus_events::listen(Rc::clone(&sockets), node.heard()));
        actix_rt::spawn(maintenance::keep_fresh(Rc::clone(&sockets)));
        actix_rt::spawn(maintenance::keep_valid(Rc::clone(&sockets)));
        if node.is_first_worker() {
            let fleet = Arc::clone(&node.fleet);
            actix_rt::spawn(maintenance::watch_versions(Rc::clone(&sockets), fleet));
        }
        Self { sockets }
    }

    /// What needs a user.
    fn serve(
        &self,
        peer: &SocketContext<'_>,
        login: &Login,
        request: Request,
        event: Event,
    ) -> Answer {
        let socket = peer.socket;
        let sockets = Rc::clone(&self.sockets);
        match request {
            Request::Heartbeat => [done()].into(),
            Request::Usage { model } => later(async move { sockets.usage(socket, model).await }),
            Request::Channel {
                channel,
                typing: Some(typing),
            } => {
                let typing = events::channel_typing(&channel, &login.user, &typing);
                [Action::Dispatch(typing), done()].into()
            }
            Request::Chat { chat, wish } => self.chat(peer, chat, wish),
            Request::NoChat => [yes_or_no(false)].into(),
            Request::Piece { channel, data } => later(async move {
                sockets.pass_piece(&channel, &data).await;
                [done()].into()
            }),
            _ => sockets.delegate(socket, login, event),
        }
    }

    fn chat(&self, peer: &SocketContext<'_>, chat: String, wish: ChatWish) -> Answer {
        let socket = peer.socket;
        let sockets = Rc::clone(&self.sockets);
        match wish {
            ChatWish::Join => later(async move { sockets.join_chat(socket, chat).await }),
            ChatWish::Leave => {
                let room = chat_room(&chat);
                let left = async move { sockets.left_chat(socket, &chat).await };
                [
                    Action::Leave(vec![room]),
                    Action::Then(Later(Box::pin(left))),
                ]
                .into()
            }
            ChatWish::Typing(_) if !peer.rooms.contains(&chat_room(&chat)) => {
                [yes_or_no(false)].into()
            }
            ChatWish::Typing(typing) => {
                later(async move { sockets.chat_typing(socket, chat, typing).await })
            }
        }
    }
}

impl App for OpenWebui {
    /// Never refuses: who shows no good token is in, without rooms.
    fn on_connect(&self, peer: &SocketContext<'_>, auth: &str) -> Answer {
        self.sockets.enter(peer.socket, peer.doorway.door());
        let Some(token) = token_of(auth) else {
            return Answer::nothing();
        };
        let sockets = Rc::clone(&self.sockets);
        let socket = peer.socket;
        let signed_in = async move { sockets.sign_in(socket, &token).await };
        [Action::Then(Later(Box::pin(signed_in)))].into()
    }

    fn on_event(&self, peer: &SocketContext<'_>, event: Event) -> Answer {
        let socket = peer.socket;
        let login = self.sockets.login(socket);
        let request = Request::read(&event.payload, login.as_ref().map(|login| &*login.user.id));
        let sockets = Rc::clone(&self.sockets);
        match request {
            Request::UserJoin { token } => {
                later(async move { sockets.user_join(socket, token).await })
            }
            Request::JoinChannels { token } => {
                later(async move { sockets.join_channels(socket, token).await })
            }
            Request::JoinNote { token, note } => {
                later(async move { sockets.join_note(socket, token, &note).await })
            }
            // As at the backends, who is not in the room is not even told.
            Request::Channel { ref channel, .. }
                if !peer.rooms.contains(&channel_room(channel)) =>
            {
                [done()].into()
            }
            Request::Other {
                needs_session: false,
            } if login.is_none() => [done()].into(),
            request => match login.filter(|login| !login.token.is_over(sockets::now())) {
                Some(login) => self.serve(peer, &login, request, event),
                None => [Action::Disconnect { close: false }].into(),
            },
        }
    }

    fn on_disconnect(&self, peer: &SocketContext<'_>, reason: &str) {
        Sockets::leave(&self.sockets, peer.socket, reason);
    }
}

fn later(answer: impl Future<Output = Actions> + 'static) -> Answer {
    Answer::Later(Box::pin(answer))
}

/// The ack of an event that gives nothing back.
fn done() -> Action {
    Action::Ack(Payload::text("[]"))
}

fn yes_or_no(yes: bool) -> Action {
    Action::Ack(Payload::text(if yes { "[true]" } else { "[false]" }))
}

/// No backend answered for as long as a client waits: it is to connect again.
fn gave_up() -> Actions {
    [Action::Hangup].into()
}
