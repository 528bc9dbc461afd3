//! Sign-in by events: `user-join` and `join-channels`, and the rooms that follow from the user.

use log::warn;
use serde::Deserialize;

use super::backends::{Trust, Unavailable};
use super::events::{channel_room, single_socket, user_room};
use super::outcomes::{backends_unavailable, empty_ack, too_many_rejected_tokens};
use super::user::Login;
use super::worker::{SignedIn, TokenRejection, WorkerApp};
use crate::app::{Effect, Effects, SocketHandle};
use crate::logging::Burst;
use crate::metrics::labels::BackendRequest;
use crate::model::{Command, Payload, Room, SocketId};

impl WorkerApp {
    /// `user-join`: the socket is that of the user from now on, and joins the rooms of the user and of all its channels.
    pub(super) async fn user_join(
        &self,
        socket: SocketId,
        handle: &SocketHandle,
        token: Option<String>,
    ) -> Effects {
        let login = match self.authenticate_event(socket, token).await {
            Ok(login) => login,
            Err(effects) => return effects,
        };
        let SignedIn {
            by_new_token,
            other_user,
        } = self.log_in(socket, login.clone()).await;
        if by_new_token {
            let mut effects = Effects::from([Effect::Identify(Box::new(login.identity()))]);
            if other_user.is_some() {
                effects.push(Effect::LeaveAll);
            }
            handle.apply_and_wait(effects).await;
        }
        if let Some(leftovers) = other_user {
            self.clean_up(socket, leftovers).await;
        }
        self.join_user_rooms(handle, &login).await
    }

    async fn join_user_rooms(&self, handle: &SocketHandle, login: &Login) -> Effects {
        let mut rooms = vec![user_room(&login.user.id)];
        match self.fetch_channels(login).await {
            Ok(channels) => rooms.extend(channels),
            Err(_) => return backends_unavailable(),
        }
        let user = serde_json::json!([{"id": login.user.id, "name": login.user.name}]);
        handle.join(rooms).await;
        [Effect::Ack(Payload::text(user.to_string()))].into()
    }

    /// `join-channels`: joins the rooms of all channels of the user.
    pub(super) async fn join_channels(
        &self,
        socket: SocketId,
        handle: &SocketHandle,
        token: Option<String>,
    ) -> Effects {
        let login = match self.authenticate_event(socket, token).await {
            Ok(login) => login,
            Err(effects) => return effects,
        };
        if !self.sockets.borrow().may_act_as(socket, &login.user) {
            return [empty_ack()].into();
        }
        match self.fetch_channels(&login).await {
            Ok(rooms) => {
                self.upstreams.join_channels(socket, &login.token);
                handle.join(rooms).await;
                [empty_ack()].into()
            }
            Err(_) => backends_unavailable(),
        }
    }

    /// The rooms of the channels of a user.
    async fn fetch_channels(&self, login: &Login) -> Result<Vec<Room>, Unavailable> {
        if !login.user.channels {
            return Ok(Vec::new());
        }
        let channels = self.backends.fetch(
            Trust::Verified,
            BackendRequest::Channels,
            "/api/v1/channels/",
            &login.token,
            |response| {
                // Denied if channels are disabled.
                let none = response.is_denied().then(Vec::new);
                none.or_else(|| response.json::<Vec<ListedChannel>>())
            },
        );
        Ok(channels
            .await?
            .iter()
            .map(|channel| channel_room(&channel.id))
            .collect())
    }

    /// After a backend added a user to a channel: all sockets of the user join the rooms of its channels.
    pub(super) async fn join_new_channels(&self, user: &str) {
        let sockets = self.sockets.borrow().of_user(user);
        let Some((_, login)) = sockets.last() else {
            return;
        };
        match self.fetch_channels(login).await {
            Ok(rooms) if !rooms.is_empty() => {
                // Sockets may have connected or disconnected meanwhile.
                let sockets = self.sockets.borrow().of_user(user);
                for (socket, login) in sockets {
                    self.upstreams.join_channels(socket, &login.token);
                    self.commands.dispatch(Command::Join {
                        selector: single_socket(socket),
                        rooms: rooms.clone(),
                    });
                }
            }
            Ok(_) => {}
            Err(error) => {
                static BURST: Burst = Burst::new();
                if let Some(others) = BURST.note() {
                    warn!(user:%, error:%, others; "new channel not joined");
                }
            }
        }
    }

    /// The login that the token in an event proves, or what to respond.
    pub(super) async fn authenticate_event(
        &self,
        socket: SocketId,
        token: Option<String>,
    ) -> Result<Login, Effects> {
        let token = token.ok_or_else(|| Effects::from([empty_ack()]))?;
        let result = self.authenticate(socket, &token).await;
        result.map_err(|rejection| match rejection {
            TokenRejection::Unavailable => backends_unavailable(),
            TokenRejection::Rejected => [empty_ack()].into(),
            TokenRejection::TooManyRejected => too_many_rejected_tokens(),
        })
    }
}

#[derive(Deserialize)]
struct ListedChannel {
    id: String,
}
