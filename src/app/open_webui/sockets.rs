//! The sockets of one worker: what is known of each, and its traces in Redis.
//!
//! What their requests come to is in `sign_in` and `documents`. Everything that takes time is a future of the socket's
//! turn, so a socket's requests are served in order; what is noted for a socket after such a wait is noted only if
//! that socket is still there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::backends::Backends;
use super::events::only;
use super::node::Node;
use super::redis_state::{self, Pools};
use super::token::Token;
use super::token_cache::{TokenCache, User};
use super::upstreams::Upstreams;
use crate::app::{CommandSender, Door};
use crate::config::OpenWebuiConfig;
use crate::metrics::Metrics;
use crate::model::{Command, SocketId};
use crate::upstream::Pool;

/// Refused tokens after which a socket is disconnected. A page presents an expired token at most three times: when it
/// connects, when it joins, and for its channels.
const MOST_REFUSALS: usize = 5;

/// Who a socket is.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) token: Token,
    pub(super) user: Arc<User>,
}

/// What is known of a socket.
pub(super) struct Socket {
    pub(super) door: Door,
    pub(super) upstreams: Upstreams,
    pub(super) login: Option<Login>,
    /// Chats it looks at: whether it may write there, and when that was said.
    pub(super) chats: BTreeMap<String, Option<(bool, Instant)>>,
    /// Models whose use it announced.
    pub(super) models: BTreeSet<String>,
    /// Refused tokens it has presented.
    refusals: usize,
}

impl Socket {
    /// Sets the user. Returns the previous login and, if it belonged to another user, what must be cleaned up.
    fn become_user(&mut self, login: Login) -> (Option<Login>, Option<Former>) {
        let before = self.login.as_ref();
        let former = before
            .is_some_and(|before| before.user.id != login.user.id)
            .then(|| {
                // The backends associate its upstream connections with the previous user.
                self.upstreams = Upstreams::default();
                Former {
                    chats: std::mem::take(&mut self.chats).into_keys().collect(),
                    models: std::mem::take(&mut self.models),
                }
            });
        (self.login.replace(login), former)
    }
}

/// State that the previous user of a socket left behind, apart from rooms.
pub(super) struct Former {
    chats: Vec<String>,
    models: BTreeSet<String>,
}

/// What is to be cleaned up after a socket.
struct Departure {
    socket: SocketId,
    chats: Vec<String>,
    models: BTreeSet<String>,
}

/// The sockets of one worker and all they need.
pub(super) struct Sockets {
    pub(super) config: OpenWebuiConfig,
    pub(super) backends: Backends,
    pub(super) token_cache: Arc<TokenCache>,
    pub(super) pools: Pools,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstreams: Arc<Pool>,
    pub(super) outlet: CommandSender,
    pub(super) sockets: RefCell<HashMap<SocketId, Socket>>,
    departures: RefCell<Vec<Departure>>,
    /// Those of all workers, until they are cleaned up.
    departing: Arc<AtomicUsize>,
}

impl Sockets {
    pub(super) fn new(node: &Node, upstreams: Arc<Pool>, outlet: CommandSender) -> Self {
        Self {
            upstreams,
            config: node.config.clone(),
            backends: Backends::new(node),
            metrics: Arc::clone(&node.metrics),
            token_cache: Arc::clone(&node.token_cache),
            pools: node.pools.clone(),
            outlet,
            sockets: RefCell::default(),
            departures: RefCell::default(),
            departing: Arc::clone(&node.departing),
        }
    }

    /// A socket came.
    pub(super) fn enter(&self, socket: SocketId, door: Door) {
        let state = Socket {
            door,
            upstreams: Upstreams::default(),
            login: None,
            chats: BTreeMap::new(),
            models: BTreeSet::new(),
            refusals: 0,
        };
        self.sockets.borrow_mut().insert(socket, state);
    }

    /// Who the socket is, if it is anybody.
    pub(super) fn login(&self, socket: SocketId) -> Option<Login> {
        self.sockets.borrow().get(&socket)?.login.clone()
    }

    /// The sockets of a user on this worker.
    pub(super) fn logins_of(&self, user: &str) -> Vec<(SocketId, Login)> {
        let sockets = self.sockets.borrow();
        let logins = sockets
            .iter()
            .filter_map(|(socket, state)| Some((*socket, state.login.clone()?)));
        logins.filter(|(_, login)| login.user.id == user).collect()
    }

    /// A socket went: what Redis holds of it is cleaned up, for many at once if many go.
    pub(super) fn leave(this: &Rc<Self>, socket: SocketId, reason: &str) {
        let Some(state) = this.sockets.borrow_mut().remove(&socket) else {
            return;
        };
        let Some(login) = &state.login else { return };
        this.token_cache.release(login.token.expose());
        if reason == "server namespace disconnect" {
            // A backend has a reason to end it: what it said of the token before may be void.
            this.token_cache.doubt(login.token.expose());
        }
        this.departing.fetch_add(1, Ordering::Relaxed);
        let mut departures = this.departures.borrow_mut();
        departures.push(Departure {
            socket,
            chats: state.chats.into_keys().collect(),
            models: state.models,
        });
        if departures.len() == 1 {
            let this = Rc::clone(this);
            actix_rt::spawn(async move { this.clean_up().await });
        }
    }

    async fn clean_up(&self) {
        // Let those that go in the same moment be among them.
        tokio::task::yield_now().await;
        let departures = self.departures.take();
        let gone: Vec<SocketId> = departures.iter().map(|gone| gone.socket).collect();
        self.pools.leave(&gone).await;
        let mut left = BTreeSet::new();
        for Departure {
            socket,
            chats,
            models,
        } in departures
        {
            for model in &models {
                self.pools.drop_model(model, socket).await;
            }
            left.extend(chats);
        }
        for chat in left {
            self.tell_presence(&chat).await;
        }
        self.departing.fetch_sub(gone.len(), Ordering::Relaxed);
    }

    /// What was believed about the chats of a socket no longer counts.
    pub(super) fn doubt_chats(&self, socket: SocketId) {
        if let Some(state) = self.sockets.borrow_mut().get_mut(&socket) {
            state.chats.values_mut().for_each(|access| *access = None);
        }
    }

    /// A backend took the socket out of a chat.
    pub(super) fn put_out(&self, socket: SocketId, chat: &str) {
        if let Some(state) = self.sockets.borrow_mut().get_mut(&socket) {
            state.chats.remove(chat);
        }
    }

    /// Sets the user of the socket. If it had another user, the result is `Some`: the socket must leave the rooms of
    /// that user, then the result is passed to [`Self::clean_up_former`].
    pub(super) async fn note_login(&self, socket: SocketId, login: Login) -> Option<Former> {
        self.token_cache.hold(login.token.expose());
        let (before, former) = match self.sockets.borrow_mut().get_mut(&socket) {
            Some(state) => state.become_user(login),
            // It went meanwhile.
            None => (Some(login), None),
        };
        if let Some(before) = before {
            self.token_cache.release(before.token.expose());
        }
        self.refresh(socket).await;
        former
    }

    /// Removes the state that the previous user of a socket left behind.
    pub(super) async fn clean_up_former(&self, socket: SocketId, former: Former) {
        for model in &former.models {
            self.pools.drop_model(model, socket).await;
        }
        for chat in &former.chats {
            self.tell_presence(chat).await;
        }
    }

    /// Whether the socket may act as this user: not if it has signed in as another one.
    pub(super) fn may_act_as(&self, socket: SocketId, user: &User) -> bool {
        let login = self.login(socket);
        login.is_none_or(|login| login.user.id == user.id)
    }

    /// Counts a refused token; returns whether the socket has presented too many.
    pub(super) fn note_refusal(&self, socket: SocketId) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        sockets.get_mut(&socket).is_some_and(|state| {
            state.refusals += 1;
            state.refusals >= MOST_REFUSALS
        })
    }

    /// Writes the entry of a socket in the session pool.
    pub(super) async fn refresh(&self, socket: SocketId) {
        self.pools.enter(self.entries(&[socket])).await;
        self.take_back(&[socket]).await;
    }

    /// Entries written for sockets that went meanwhile are removed again.
    pub(super) async fn take_back(&self, written: &[SocketId]) {
        let gone: Vec<SocketId> = {
            let sockets = self.sockets.borrow();
            let gone = written
                .iter()
                .filter(|socket| !sockets.contains_key(socket));
            gone.copied().collect()
        };
        self.pools.leave(&gone).await;
    }

    /// Every socket.
    pub(super) fn ids(&self) -> Vec<SocketId> {
        self.sockets.borrow().keys().copied().collect()
    }

    /// Those of these sockets that are somebody, with their entries of the session pool.
    pub(super) fn entries(&self, ids: &[SocketId]) -> Vec<(SocketId, bytes::Bytes)> {
        let now = now();
        let sockets = self.sockets.borrow();
        let entries = ids.iter().filter_map(|socket| {
            let state = sockets.get(socket)?;
            let user = &state.login.as_ref()?.user;
            Some((*socket, redis_state::session(user, state.chats.keys(), now)))
        });
        entries.collect()
    }

    /// The tokens in use, each once, with the sockets that live by it.
    pub(super) fn tokens(&self) -> Vec<(Token, Vec<SocketId>)> {
        let mut tokens: HashMap<Arc<str>, (Token, Vec<SocketId>)> = HashMap::new();
        for (socket, state) in &*self.sockets.borrow() {
            if let Some(login) = &state.login {
                let token = &login.token;
                let entry = tokens.entry(Arc::clone(token.expose()));
                let (_, sockets) = entry.or_insert_with(|| (token.clone(), Vec::new()));
                sockets.push(*socket);
            }
        }
        tokens.into_values().collect()
    }

    /// What a backend says now of the user of these sockets.
    pub(super) fn update(&self, sockets: &[SocketId], user: &Arc<User>) {
        let mut all = self.sockets.borrow_mut();
        for socket in sockets {
            if let Some(login) = all.get_mut(socket).and_then(|state| state.login.as_mut())
                && login.user.id == user.id
            {
                login.user = Arc::clone(user);
            }
        }
    }

    /// Ends the sockets of a token that holds no longer.
    pub(super) fn end(&self, sockets: &[SocketId]) {
        for socket in sockets {
            self.outlet.dispatch(Command::Disconnect {
                selector: only(*socket),
                close: false,
            });
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() as i64)
}
