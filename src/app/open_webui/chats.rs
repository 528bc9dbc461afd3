//! Chats, notes and models: access is checked by a backend, presence is shared through Redis.

use serde::Deserialize;

use super::backends::{BackendResponse, Trust, Unavailable};
use super::events::{self, chat_room, note_room};
use super::outcomes::{backends_unavailable, bool_ack, empty_ack};
use super::unix_time::unix_now;
use super::user::Login;
use super::worker::WorkerApp;
use crate::app::{Effect, Effects, SocketHandle};
use crate::clock::now;
use crate::metrics::labels::BackendRequest;
use crate::model::SocketId;

impl WorkerApp {
    /// `join-note`: joins the room of a note that the user may read.
    pub(super) async fn join_note(
        &self,
        socket: SocketId,
        handle: &SocketHandle,
        token: Option<String>,
        note: &str,
    ) -> Effects {
        let login = match self.authenticate_event(socket, token).await {
            Ok(login) => login,
            Err(effects) => return effects,
        };
        let is_served = login.user.notes && self.sockets.borrow().may_act_as(socket, &login.user);
        if !is_served || !is_path_segment(note) {
            return [empty_ack()].into();
        }
        let path = format!("/api/v1/notes/{note}");
        let is_permitted = self.is_permitted(BackendRequest::Note, &path, &login);
        match is_permitted.await {
            Ok(true) => {
                handle.join(vec![note_room(note)]).await;
                [empty_ack()].into()
            }
            Ok(false) => [empty_ack()].into(),
            Err(_) => backends_unavailable(),
        }
    }

    /// `usage`: the socket uses a model.
    pub(super) async fn use_model(&self, socket: SocketId, model: String) -> Effects {
        let is_recorded = self.sockets.borrow_mut().use_model(socket, &model);
        if is_recorded {
            self.redis.add_model_use(&model, socket, unix_now()).await;
        }
        [empty_ack()].into()
    }

    /// `events:chat`, join: joins the room of a chat that the user may read.
    pub(super) async fn join_chat(
        &self,
        socket: SocketId,
        handle: &SocketHandle,
        chat: String,
    ) -> Effects {
        let login = self.sockets.borrow().login(socket);
        let Some(login) = login else {
            return [bool_ack(false)].into();
        };
        let may_write = match self.fetch_write_access(&login, &chat).await {
            Ok(Some(may_write)) => may_write,
            Ok(None) => return [bool_ack(false)].into(),
            Err(_) => return backends_unavailable(),
        };
        let entered = self
            .sockets
            .borrow_mut()
            .enter_chat(socket, &chat, may_write, now());
        if !entered {
            return [bool_ack(false)].into();
        }
        if handle.join(vec![chat_room(&chat)]).await.is_none() {
            // The socket has disconnected.
            return Effects::new();
        }
        self.write_session(socket).await;
        self.publish_presence(&chat).await;
        [bool_ack(true)].into()
    }

    /// `events:chat`, leave.
    pub(super) async fn leave_chat(
        &self,
        socket: SocketId,
        handle: &SocketHandle,
        chat: &str,
    ) -> Effects {
        let leave = Effect::Leave(vec![chat_room(chat)]);
        handle.apply_and_wait([leave].into()).await;
        self.sockets.borrow_mut().leave_chat(socket, chat);
        self.write_session(socket).await;
        self.publish_presence(chat).await;
        [bool_ack(true)].into()
    }

    /// `events:chat`, typing, from a socket in the room of the chat.
    pub(super) async fn chat_typing(
        &self,
        socket: SocketId,
        chat: String,
        typing: bool,
    ) -> Effects {
        let login = self.sockets.borrow().login(socket);
        let Some(login) = login else {
            return [bool_ack(false)].into();
        };
        if !self.may_write(socket, &login, &chat).await {
            return [bool_ack(false)].into();
        }
        let typing = events::chat_typing(&chat, &login.user, typing, socket);
        [Effect::dispatch(typing), bool_ack(true)].into()
    }

    /// Whether the user may write in the chat, from the cache or a backend. If no backend responds, the user may not.
    async fn may_write(&self, socket: SocketId, login: &Login, chat: &str) -> bool {
        let cached = self.sockets.borrow().may_write(socket, chat, now());
        if let Some(may_write) = cached {
            return may_write;
        }
        let Ok(access) = self.fetch_write_access(login, chat).await else {
            return false;
        };
        let may_write = access.unwrap_or(false);
        let mut sockets = self.sockets.borrow_mut();
        sockets.set_may_write(socket, chat, may_write, now());
        may_write
    }

    /// Whether the user may write in the chat; `None` if the user may not even read it.
    async fn fetch_write_access(
        &self,
        login: &Login,
        chat: &str,
    ) -> Result<Option<bool>, Unavailable> {
        if !is_path_segment(chat) {
            return Ok(None);
        }
        // Permitted to the owner only, and much cheaper for a backend than the whole chat.
        let path = format!("/api/v1/chats/{chat}/pinned");
        if self
            .is_permitted(BackendRequest::Chat, &path, login)
            .await?
        {
            return Ok(Some(true));
        }
        let path = format!("/api/v1/chats/{chat}");
        let shared = self.backends.fetch(
            Trust::Verified,
            BackendRequest::Chat,
            &path,
            &login.token,
            |response| {
                let none = response.is_denied().then_some(None);
                none.or_else(|| response.json::<SharedChat>().map(Some))
            },
        );
        Ok(shared
            .await?
            .map(|shared| shared.chat.share_mode.as_deref() == Some("continue")))
    }

    async fn is_permitted(
        &self,
        subject: BackendRequest,
        path: &str,
        login: &Login,
    ) -> Result<bool, Unavailable> {
        let request = self.backends.fetch(
            Trust::Verified,
            subject,
            path,
            &login.token,
            BackendResponse::is_permitted,
        );
        request.await
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

/// Whether an id is usable as a path segment without encoding.
fn is_path_segment(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !id.is_empty() && id.len() <= 128 && id.bytes().all(is_plain)
}
