//! What one worker has: the state of its sockets, and the services its handlers and tasks use.
//!
//! Handlers wait as part of the socket's turn, so the events of a socket are handled in order.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::authentication::{AuthError, Authenticator};
use super::backends::Backends;
use super::events;
use super::node::Node;
use super::redis_state::RedisState;
use super::sockets::{Leftovers, Sockets};
use super::token_cache::TokenCache;
use super::unix_time::unix_now;
use super::upstreams::Upstreams;
use super::user::Login;
use crate::app::CommandSender;
use crate::config::OpenWebuiConfig;
use crate::model::SocketId;
use crate::upstream::Pool;

/// The state and services of one worker.
pub(super) struct WorkerApp {
    pub(super) config: OpenWebuiConfig,
    pub(super) backends: Rc<Backends>,
    pub(super) authenticator: Rc<Authenticator>,
    pub(super) token_cache: Arc<TokenCache>,
    pub(super) redis: RedisState,
    pub(super) commands: CommandSender,
    pub(super) upstreams: Rc<Upstreams>,
    pub(super) sockets: RefCell<Sockets>,
    /// Shared by all workers of the node.
    pending_cleanups: Arc<AtomicUsize>,
}

/// Why a token presented by a socket was not accepted.
pub(super) enum TokenRejection {
    Rejected,
    /// Rejected, and the socket has presented too many rejected tokens.
    TooManyRejected,
    /// No backend responded in time.
    Unavailable,
}

/// What changed when a socket was logged in.
pub(super) struct SignedIn {
    /// The socket was not logged in by this token before.
    pub(super) by_new_token: bool,
    /// Set if it had another user before: it must leave the rooms of that user, then [`WorkerApp::clean_up`] is due.
    pub(super) other_user: Option<Leftovers>,
}

impl WorkerApp {
    pub(super) fn new(node: &Node, pool: Arc<Pool>, commands: CommandSender) -> Self {
        let backends = Rc::new(Backends::new(
            &node.config,
            Arc::clone(&node.backend_set),
            Arc::clone(&node.metrics),
        ));
        let authenticator = Rc::new(Authenticator::new(
            node.config.clone(),
            Rc::clone(&backends),
            Arc::clone(&node.token_cache),
            node.redis.clone(),
            Arc::clone(&node.metrics),
        ));
        Self {
            config: node.config.clone(),
            backends,
            authenticator,
            token_cache: Arc::clone(&node.token_cache),
            redis: node.redis.clone(),
            commands,
            upstreams: Rc::new(Upstreams::new(pool)),
            sockets: RefCell::default(),
            pending_cleanups: Arc::clone(&node.pending_cleanups),
        }
    }

    /// Adds a socket.
    pub(super) fn connect(&self, socket: SocketId) {
        self.sockets.borrow_mut().connect(socket);
    }

    /// Removes a socket. Its entries in Redis are removed together with those of other sockets that disconnect at the
    /// same time.
    pub(super) fn disconnect(self: &Rc<Self>, socket: SocketId, reason: &str) {
        self.upstreams.close(socket);
        let mut sockets = self.sockets.borrow_mut();
        let Some(login) = sockets.disconnect(socket) else {
            return;
        };
        self.token_cache.release(login.token.expose());
        if reason == "server namespace disconnect" {
            // A backend disconnected it, possibly because the token was revoked.
            self.token_cache.invalidate(login.token.expose());
        }
        self.pending_cleanups.fetch_add(1, Ordering::Relaxed);
        if sockets.departed_count() == 1 {
            let this = Rc::clone(self);
            actix_rt::spawn(async move { this.clean_up_departed().await });
        }
    }

    async fn clean_up_departed(&self) {
        // Collects the sockets that disconnect at the same time.
        tokio::task::yield_now().await;
        let departed = self.sockets.borrow_mut().take_departed();
        let ids: Vec<SocketId> = departed.iter().map(|departed| departed.socket).collect();
        self.redis.remove_sessions(&ids).await;
        let mut chats = BTreeSet::new();
        for departed in departed {
            for model in &departed.leftovers.models {
                self.redis.remove_model_use(model, departed.socket).await;
            }
            chats.extend(departed.leftovers.chats);
        }
        for chat in chats {
            self.publish_presence(&chat).await;
        }
        self.pending_cleanups
            .fetch_sub(ids.len(), Ordering::Relaxed);
    }

    /// Removes what the previous user of a socket left behind.
    pub(super) async fn clean_up(&self, socket: SocketId, leftovers: Leftovers) {
        for model in &leftovers.models {
            self.redis.remove_model_use(model, socket).await;
        }
        for chat in &leftovers.chats {
            self.publish_presence(chat).await;
        }
    }

    /// The login that a token presented by a socket proves.
    pub(super) async fn authenticate(
        &self,
        socket: SocketId,
        token: &str,
    ) -> Result<Login, TokenRejection> {
        let result = self.authenticator.authenticate(token).await;
        result.map_err(|error| match error {
            AuthError::Unavailable => TokenRejection::Unavailable,
            AuthError::Rejected => {
                let too_many = self.sockets.borrow_mut().count_rejected_token(socket);
                match too_many {
                    true => TokenRejection::TooManyRejected,
                    false => TokenRejection::Rejected,
                }
            }
        })
    }

    /// Sets the login of a socket.
    pub(super) async fn log_in(&self, socket: SocketId, login: Login) -> SignedIn {
        let token = Arc::clone(login.token.expose());
        self.token_cache.hold(&token);
        let change = self.sockets.borrow_mut().log_in(socket, login);
        if change.other_user.is_some() {
            self.upstreams.close(socket);
        }
        let mut by_new_token = true;
        if let Some(released) = change.released {
            by_new_token = *released.token.expose() != token;
            self.token_cache.release(released.token.expose());
        }
        self.write_session(socket).await;
        SignedIn {
            by_new_token,
            other_user: change.other_user,
        }
    }

    /// Writes the session pool entry of a socket.
    pub(super) async fn write_session(&self, socket: SocketId) {
        self.write_sessions(&[socket]).await;
    }

    /// Writes the session pool entries of sockets.
    pub(super) async fn write_sessions(&self, sockets: &[SocketId]) {
        let entries = self.sockets.borrow().session_entries(sockets, unix_now());
        self.redis.put_sessions(entries).await;
        // Sockets may have disconnected, and have been cleaned up, while Redis responded.
        let absent = self.sockets.borrow().absent(sockets);
        self.redis.remove_sessions(&absent).await;
    }

    /// Publishes to a chat which users are present in it.
    pub(super) async fn publish_presence(&self, chat: &str) {
        let publish = |users: &serde_json::Value| {
            self.commands.dispatch(events::chat_presence(chat, users));
        };
        self.redis.with_presence(chat, unix_now(), publish).await;
    }
}
