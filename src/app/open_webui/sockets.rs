//! What is known about the sockets of one worker, as a value: logins, chats, models, and disconnected sockets to clean
//! up.
//!
//! Nothing here waits or reads a clock. Sockets may disconnect while a handler waits; recording something for a socket
//! that has gone has no effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::token::Token;
use super::user::{Login, User};
use crate::model::SocketId;

/// Rejected tokens after which a socket is disconnected. A page presents an expired token at most three times: when it
/// connects, when it joins, and for its channels.
const MAX_REJECTED_TOKENS: usize = 5;
/// Chats in which one socket may be present; a browser has one open.
const MAX_CHATS: usize = 100;
/// Models one socket may use at a time.
const MAX_MODELS: usize = 32;
/// Maximum size in bytes of the name of a model.
const MAX_MODEL_NAME: usize = 512;
/// How long a backend's response whether a user may write in a chat is cached.
const WRITE_ACCESS_AGE: Duration = Duration::from_secs(60);

/// The sockets of one worker.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    sockets: HashMap<SocketId, SocketState>,
    departed: Vec<Departed>,
}

#[derive(Debug, Default)]
struct SocketState {
    login: Option<Login>,
    /// The chats in which the socket is present.
    chats: BTreeMap<String, Option<WriteAccess>>,
    /// The models whose use it announced.
    models: BTreeSet<String>,
    rejected_tokens: usize,
}

/// Whether the user may write in a chat, as a backend replied at a time.
#[derive(Debug, Clone, Copy)]
struct WriteAccess {
    permitted: bool,
    at: Instant,
}

/// What a user leaves behind in Redis when a socket disconnects or changes its user.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Leftovers {
    pub(super) chats: Vec<String>,
    pub(super) models: BTreeSet<String>,
}

/// A disconnected socket that had a user.
#[derive(Debug)]
pub(super) struct Departed {
    pub(super) socket: SocketId,
    pub(super) leftovers: Leftovers,
}

/// The result of [`Sockets::log_in`].
#[derive(Debug, Default)]
pub(super) struct LoginChange {
    /// The login that no longer is in use: the previous one, or the new one if the socket has disconnected.
    pub(super) released: Option<Login>,
    /// Set if the socket had another user before.
    pub(super) other_user: Option<Leftovers>,
}

impl SocketState {
    fn take_leftovers(&mut self) -> Leftovers {
        Leftovers {
            chats: std::mem::take(&mut self.chats).into_keys().collect(),
            models: std::mem::take(&mut self.models),
        }
    }
}

impl Sockets {
    /// Adds a socket without a user.
    pub(super) fn connect(&mut self, socket: SocketId) {
        self.sockets.insert(socket, SocketState::default());
    }

    /// Removes a socket and returns its login. If it had one, its leftovers are added to [`Self::take_departed`].
    pub(super) fn disconnect(&mut self, socket: SocketId) -> Option<Login> {
        let mut state = self.sockets.remove(&socket)?;
        let login = state.login.take()?;
        let leftovers = state.take_leftovers();
        self.departed.push(Departed { socket, leftovers });
        Some(login)
    }

    /// The number of departed sockets to clean up.
    pub(super) fn departed_count(&self) -> usize {
        self.departed.len()
    }

    /// Takes the departed sockets, to clean up after them.
    pub(super) fn take_departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }

    /// The login of a socket.
    pub(super) fn login(&self, socket: SocketId) -> Option<Login> {
        self.sockets.get(&socket)?.login.clone()
    }

    /// The sockets of a user.
    pub(super) fn of_user(&self, user: &str) -> Vec<(SocketId, Login)> {
        let logins = self
            .sockets
            .iter()
            .filter_map(|(socket, state)| Some((*socket, state.login.clone()?)));
        logins.filter(|(_, login)| login.user.id == user).collect()
    }

    /// Sets the login of a socket.
    pub(super) fn log_in(&mut self, socket: SocketId, login: Login) -> LoginChange {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return LoginChange {
                released: Some(login),
                other_user: None,
            };
        };
        let changes_user = state
            .login
            .as_ref()
            .is_some_and(|previous| previous.user.id != login.user.id);
        LoginChange {
            other_user: changes_user.then(|| state.take_leftovers()),
            released: state.login.replace(login),
        }
    }

    /// Whether the socket may act as the user: it must not be logged in as another one.
    pub(super) fn may_act_as(&self, socket: SocketId, user: &User) -> bool {
        let login = self
            .sockets
            .get(&socket)
            .and_then(|state| state.login.as_ref());
        login.is_none_or(|login| login.user.id == user.id)
    }

    /// Replaces the user of those of the sockets that are logged in as that user.
    pub(super) fn update_user(&mut self, sockets: &[SocketId], user: &Arc<User>) {
        for socket in sockets {
            if let Some(state) = self.sockets.get_mut(socket)
                && let Some(login) = &mut state.login
                && login.user.id == user.id
            {
                login.user = Arc::clone(user);
            }
        }
    }

    /// The tokens in use, each once, with the sockets that are logged in by it.
    pub(super) fn tokens(&self) -> Vec<(Token, Vec<SocketId>)> {
        let mut tokens: HashMap<Arc<str>, (Token, Vec<SocketId>)> = HashMap::new();
        for (socket, state) in &self.sockets {
            if let Some(login) = &state.login {
                let token = &login.token;
                let entry = tokens.entry(Arc::clone(token.expose()));
                let (_, sockets) = entry.or_insert_with(|| (token.clone(), Vec::new()));
                sockets.push(*socket);
            }
        }
        tokens.into_values().collect()
    }

    /// Counts a rejected token; returns whether the socket has presented too many.
    pub(super) fn count_rejected_token(&mut self, socket: SocketId) -> bool {
        self.sockets.get_mut(&socket).is_some_and(|state| {
            state.rejected_tokens += 1;
            state.rejected_tokens >= MAX_REJECTED_TOKENS
        })
    }

    /// Enters a chat, if the socket is not in too many; returns whether it is in the chat now.
    pub(super) fn enter_chat(
        &mut self,
        socket: SocketId,
        chat: &str,
        may_write: bool,
        now: Instant,
    ) -> bool {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return false;
        };
        if state.chats.len() >= MAX_CHATS && !state.chats.contains_key(chat) {
            return false;
        }
        let access = WriteAccess {
            permitted: may_write,
            at: now,
        };
        state.chats.insert(chat.to_owned(), Some(access));
        true
    }

    /// Leaves a chat.
    pub(super) fn leave_chat(&mut self, socket: SocketId, chat: &str) {
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.chats.remove(chat);
        }
    }

    /// Whether the user may write in a chat the socket is in; `None` if that must be requested from a backend.
    pub(super) fn may_write(&self, socket: SocketId, chat: &str, now: Instant) -> Option<bool> {
        let access = (*self.sockets.get(&socket)?.chats.get(chat)?)?;
        let is_fresh = now.duration_since(access.at) < WRITE_ACCESS_AGE;
        is_fresh.then_some(access.permitted)
    }

    /// Caches whether the user may write in a chat, if the socket is in it.
    pub(super) fn set_may_write(
        &mut self,
        socket: SocketId,
        chat: &str,
        permitted: bool,
        now: Instant,
    ) {
        if let Some(state) = self.sockets.get_mut(&socket)
            && let Some(access) = state.chats.get_mut(chat)
        {
            *access = Some(WriteAccess { permitted, at: now });
        }
    }

    /// Drops what is cached about the permissions of a socket in its chats.
    pub(super) fn invalidate_chats(&mut self, socket: SocketId) {
        if let Some(state) = self.sockets.get_mut(&socket) {
            state.chats.values_mut().for_each(|access| *access = None);
        }
    }

    /// Adds a model the socket uses; returns whether it is among them now.
    pub(super) fn use_model(&mut self, socket: SocketId, model: &str) -> bool {
        let Some(state) = self.sockets.get_mut(&socket) else {
            return false;
        };
        if model.len() > MAX_MODEL_NAME {
            return false;
        }
        state.models.contains(model)
            || state.models.len() < MAX_MODELS && state.models.insert(model.to_owned())
    }

    /// All sockets.
    pub(super) fn ids(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    /// The session pool entries of those of the sockets that have a user; `now` in seconds since 1970.
    pub(super) fn session_entries(&self, sockets: &[SocketId], now: i64) -> Vec<(SocketId, Bytes)> {
        let entries = sockets.iter().filter_map(|socket| {
            let state = self.sockets.get(socket)?;
            let user = &state.login.as_ref()?.user;
            Some((*socket, user.session_entry(state.chats.keys(), now)))
        });
        entries.collect()
    }

    /// Those of the sockets that are not connected.
    pub(super) fn absent(&self, sockets: &[SocketId]) -> Vec<SocketId> {
        let absent = sockets
            .iter()
            .filter(|socket| !self.sockets.contains_key(socket));
        absent.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::tests::signed;
    use super::super::user::tests::user;
    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    fn socket() -> SocketId {
        SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom)
    }

    fn login(id: &str) -> Login {
        let token = signed("key", &format!(r#"{{"id":"{id}"}}"#));
        let account = format!(r#"{{"id":"{id}","name":"N","role":"user"}}"#);
        Login {
            token: Token::parse(&token, None, 0).unwrap(),
            user: Arc::new(user(&account).unwrap()),
        }
    }

    #[test]
    fn a_socket_that_changes_its_user_loses_its_chats_and_models() {
        let now = Instant::now();
        let mut sockets = Sockets::default();
        let socket = socket();
        sockets.connect(socket);
        assert!(sockets.may_act_as(socket, &login("a").user));
        let first = sockets.log_in(socket, login("a"));
        assert!(first.released.is_none() && first.other_user.is_none());
        assert!(sockets.enter_chat(socket, "c", true, now));
        assert!(sockets.use_model(socket, "m"));
        let again = sockets.log_in(socket, login("a"));
        assert_eq!(again.released.unwrap().user.id, "a");
        assert_eq!(again.other_user, None);
        assert!(!sockets.may_act_as(socket, &login("b").user));
        let other = sockets.log_in(socket, login("b"));
        let expected = Leftovers {
            chats: vec!["c".to_owned()],
            models: BTreeSet::from(["m".to_owned()]),
        };
        assert_eq!(other.other_user, Some(expected));
        assert_eq!(sockets.may_write(socket, "c", now), None);
        assert!(sockets.of_user("a").is_empty());
        assert_eq!(sockets.of_user("b").len(), 1);
    }

    #[test]
    fn only_disconnected_sockets_with_a_user_are_cleaned_up() {
        let mut sockets = Sockets::default();
        let (with_user, without_user) = (socket(), socket());
        sockets.connect(with_user);
        sockets.connect(without_user);
        sockets.log_in(with_user, login("a"));
        sockets.use_model(with_user, "m");
        assert!(sockets.disconnect(with_user).is_some());
        assert!(sockets.disconnect(without_user).is_none());
        assert!(sockets.disconnect(with_user).is_none());
        assert_eq!(sockets.absent(&[with_user, without_user]).len(), 2);
        assert_eq!(sockets.departed_count(), 1);
        let departed = sockets.take_departed();
        assert_eq!(departed[0].socket, with_user);
        assert!(departed[0].leftovers.models.contains("m"));
        assert_eq!(sockets.departed_count(), 0);
        let late = sockets.log_in(with_user, login("a"));
        assert!(late.released.is_some(), "the new login is not kept");
        assert!(sockets.tokens().is_empty());
    }

    #[test]
    fn write_access_is_cached_until_it_expires_or_is_invalidated() {
        let now = Instant::now();
        let mut sockets = Sockets::default();
        let socket = socket();
        sockets.connect(socket);
        sockets.set_may_write(socket, "c", true, now);
        assert_eq!(sockets.may_write(socket, "c", now), None, "not in the chat");
        sockets.enter_chat(socket, "c", true, now);
        assert_eq!(sockets.may_write(socket, "c", now), Some(true));
        let later = now + WRITE_ACCESS_AGE;
        assert_eq!(sockets.may_write(socket, "c", later), None);
        sockets.set_may_write(socket, "c", false, later);
        assert_eq!(sockets.may_write(socket, "c", later), Some(false));
        sockets.invalidate_chats(socket);
        assert_eq!(sockets.may_write(socket, "c", later), None);
        sockets.leave_chat(socket, "c");
        sockets.set_may_write(socket, "c", true, later);
        assert_eq!(sockets.may_write(socket, "c", later), None, "left");
    }

    #[test]
    fn chats_models_and_rejected_tokens_of_a_socket_are_limited() {
        let now = Instant::now();
        let mut sockets = Sockets::default();
        let socket = socket();
        sockets.connect(socket);
        for number in 0..MAX_CHATS {
            assert!(sockets.enter_chat(socket, &number.to_string(), false, now));
        }
        assert!(sockets.enter_chat(socket, "0", true, now), "already in it");
        assert!(!sockets.enter_chat(socket, "another", false, now));
        for number in 0..MAX_MODELS {
            assert!(sockets.use_model(socket, &number.to_string()));
        }
        assert!(sockets.use_model(socket, "0"), "already used");
        assert!(!sockets.use_model(socket, "another"));
        assert!(!sockets.use_model(socket, &"m".repeat(MAX_MODEL_NAME + 1)));
        let rejected: Vec<bool> = (0..MAX_REJECTED_TOKENS)
            .map(|_| sockets.count_rejected_token(socket))
            .collect();
        assert_eq!(rejected, [false, false, false, false, true]);
    }

    #[test]
    fn a_token_of_several_sockets_is_listed_once() {
        let mut sockets = Sockets::default();
        let shared = login("a");
        for _ in 0..3 {
            let socket = socket();
            sockets.connect(socket);
            sockets.log_in(socket, shared.clone());
        }
        let tokens = sockets.tokens();
        assert_eq!((tokens.len(), tokens[0].1.len()), (1, 3));
        let renamed = user(r#"{"id":"a","name":"New","role":"user"}"#).unwrap();
        sockets.update_user(&tokens[0].1, &Arc::new(renamed));
        let ids = sockets.ids();
        sockets.connect(socket());
        assert_eq!(sockets.session_entries(&sockets.ids(), 7).len(), 3);
        sockets.enter_chat(ids[0], "c", true, Instant::now());
        let (_, entry) = &sockets.session_entries(&ids[..1], 7)[0];
        let expected = r#"{"id":"a","name":"New","role":"user","last_seen_at":7,"chat_ids":["c"]}"#;
        assert_eq!(entry, expected);
        let names = sockets.of_user("a");
        assert!(names.iter().all(|(_, login)| login.user.name == "New"));
    }
}
