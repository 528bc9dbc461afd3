//! Chats, notes and models that sockets look at: who may, and who else does.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::backends::{Reply, Standing, Unreachable};
use super::events::{self, chat_room, note_room};
use super::sockets::{Login, Sockets, now};
use super::{done, gave_up, yes_or_no};
use crate::app::{Action, Actions, Later};
use crate::metrics::labels::Question;
use crate::model::SocketId;

/// Chats one socket may look at; a browser has one open.
const MOST_CHATS: usize = 100;
/// Models one socket may use at a time.
const MOST_MODELS: usize = 32;
/// Bytes of a model's name.
const LONGEST_MODEL: usize = 512;
/// How long a backend's word about writing in a chat is believed.
const CHAT_ACCESS_AGE: Duration = Duration::from_secs(60);

impl Sockets {
    /// `join-note`: the room of a note that the user may read.
    pub(super) async fn join_note(
        self: &Rc<Self>,
        socket: SocketId,
        token: Option<String>,
        note: &str,
    ) -> Actions {
        let login = match self.verify_text(socket, token).await {
            Ok(login) => login,
            Err(actions) => return actions,
        };
        let is_served = login.user.notes && self.may_act_as(socket, &login.user);
        if !is_served || !is_plain_id(note) {
            return [done()].into();
        }
        let path = format!("/api/v1/notes/{note}");
        match self
            .backends
            .ask(
                Standing::Known,
                Question::Note,
                &path,
                &login.token,
                Reply::may,
            )
            .await
        {
            Ok(true) => [Action::Join(vec![note_room(note)]), done()].into(),
            Ok(false) => [done()].into(),
            Err(_) => gave_up(),
        }
    }

    /// `usage`: the model is in use.
    pub(super) async fn usage(&self, socket: SocketId, model: String) -> Actions {
        let known = match self.sockets.borrow_mut().get_mut(&socket) {
            Some(state) if model.len() <= LONGEST_MODEL => {
                state.models.contains(&model)
                    || state.models.len() < MOST_MODELS && state.models.insert(model.clone())
            }
            _ => false,
        };
        if known {
            self.pools.use_model(&model, socket, now()).await;
        }
        [done()].into()
    }

    /// A piece of a model's answer goes to the backend that waits for it.
    pub(super) async fn pass_piece(&self, channel: &str, data: &str) {
        self.pools.pass_piece(channel, data).await;
    }

    /// `events:chat`, join: a chat the user may read.
    pub(super) async fn join_chat(self: Rc<Self>, socket: SocketId, chat: String) -> Actions {
        let Some(login) = self.login(socket) else {
            return [yes_or_no(false)].into();
        };
        let write = match self.may_write(&login, &chat).await {
            Ok(Some(write)) => write,
            Ok(None) => return [yes_or_no(false)].into(),
            Err(_) => return gave_up(),
        };
        let noted = match self.sockets.borrow_mut().get_mut(&socket) {
            Some(state) if state.chats.len() < MOST_CHATS || state.chats.contains_key(&chat) => {
                let access = Some((write, Instant::now()));
                state.chats.insert(chat.clone(), access);
                true
            }
            _ => false,
        };
        if !noted {
            return [yes_or_no(false)].into();
        }
        let room = chat_room(&chat);
        let joined = async move {
            self.refresh(socket).await;
            self.tell_presence(&chat).await;
            [yes_or_no(true)].into()
        };
        [
            Action::Join(vec![room]),
            Action::Then(Later(Box::pin(joined))),
        ]
        .into()
    }

    /// `events:chat`, leave: it is out of the room already.
    pub(super) async fn left_chat(&self, socket: SocketId, chat: &str) -> Actions {
        if let Some(state) = self.sockets.borrow_mut().get_mut(&socket) {
            state.chats.remove(chat);
        }
        self.refresh(socket).await;
        self.tell_presence(chat).await;
        [yes_or_no(true)].into()
    }

    /// `events:chat`, typing, by a socket that is in the chat's room.
    pub(super) async fn chat_typing(
        &self,
        socket: SocketId,
        chat: String,
        typing: bool,
    ) -> Actions {
        let Some(login) = self.login(socket) else {
            return [yes_or_no(false)].into();
        };
        let believed = self.sockets.borrow().get(&socket).and_then(|state| {
            let (write, said) = (*state.chats.get(&chat)?)?;
            (said.elapsed() < CHAT_ACCESS_AGE).then_some(write)
        });
        let write = match believed {
            Some(write) => write,
            None => {
                let Ok(write) = self.may_write(&login, &chat).await else {
                    return [yes_or_no(false)].into();
                };
                let write = write.unwrap_or(false);
                if let Some(state) = self.sockets.borrow_mut().get_mut(&socket)
                    && let Some(access) = state.chats.get_mut(&chat)
                {
                    *access = Some((write, Instant::now()));
                }
                write
            }
        };
        if !write {
            return [yes_or_no(false)].into();
        }
        let typing = events::chat_typing(&chat, &login.user, typing, socket);
        [Action::Dispatch(typing), yes_or_no(true)].into()
    }

    /// Whether the user may write in the chat; `None`: not even read it.
    async fn may_write(&self, login: &Login, chat: &str) -> Result<Option<bool>, Unreachable> {
        if !is_plain_id(chat) {
            return Ok(None);
        }
        // Whose chat it is costs a backend little, the whole chat much.
        let path = format!("/api/v1/chats/{chat}/pinned");
        if self
            .backends
            .ask(
                Standing::Known,
                Question::Chat,
                &path,
                &login.token,
                Reply::may,
            )
            .await?
        {
            return Ok(Some(true));
        }
        let path = format!("/api/v1/chats/{chat}");
        let shared = self.backends.ask(
            Standing::Known,
            Question::Chat,
            &path,
            &login.token,
            |reply| {
                let none = reply.is_no().then_some(None);
                none.or_else(|| reply.read::<SharedChat>().map(Some))
            },
        );
        Ok(shared
            .await?
            .map(|shared| shared.chat.share_mode.as_deref() == Some("continue")))
    }

    /// Tells a chat who looks at it.
    pub(super) async fn tell_presence(&self, chat: &str) {
        let tell = |people: &serde_json::Value| {
            self.outlet.dispatch(events::chat_presence(chat, people));
        };
        self.pools.present(chat, now(), tell).await;
    }
}

#[derive(Deserialize)]
struct SharedChat {
    chat: SharedChatBody,
}

#[derive(Deserialize)]
struct SharedChatBody {
    share_mode: Option<String>,
}

/// Whether it can stand in a path as it is.
fn is_plain_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain)
}
