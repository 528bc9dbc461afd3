//! Who a socket is: its token, what a backend says of it, and the rooms that follow from that.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use serde::Deserialize;

use super::backends::{Standing, Unreachable};
use super::events::{channel_room, only, user_room};
use super::sockets::{Login, Sockets, now};
use super::token::Token;
use super::token_cache::{Account, Found, TokenStatus};
use super::{done, gave_up};
use crate::app::{Action, Actions, Later};
use crate::logging::Burst;
use crate::metrics::labels::{Question, SignIn};
use crate::model::{Command, Payload, Room, SocketId};

impl Sockets {
    /// Connect: the user's own room, if the token is good.
    pub(super) async fn sign_in(self: &Rc<Self>, socket: SocketId, token: &str) -> Actions {
        match self.shown(socket, token).await {
            Ok(login) => {
                let room = user_room(&login.user.id);
                self.note_login(socket, login).await;
                [Action::Join(vec![room])].into()
            }
            Err(Unserved::Unavailable) => gave_up(),
            Err(Unserved::Refused) => Actions::new(),
            Err(Unserved::TooOften) => shown_out(),
        }
    }

    /// `user-join`: the user's own room and those of all channels.
    pub(super) async fn user_join(
        self: &Rc<Self>,
        socket: SocketId,
        token: Option<String>,
    ) -> Actions {
        let login = match self.verify_text(socket, token).await {
            Ok(login) => login,
            Err(actions) => return actions,
        };
        let Some(former) = self.note_login(socket, login.clone()).await else {
            return self.rooms_of(&login).await;
        };
        let this = Rc::clone(self);
        let joined = async move {
            this.clean_up_former(socket, former).await;
            this.rooms_of(&login).await
        };
        [Action::LeaveAll, Action::Then(Later(Box::pin(joined)))].into()
    }

    async fn rooms_of(&self, login: &Login) -> Actions {
        let mut rooms = vec![user_room(&login.user.id)];
        match self.channels(login).await {
            Ok(channels) => rooms.extend(channels),
            Err(_) => return gave_up(),
        }
        let user = serde_json::json!([{"id": login.user.id, "name": login.user.name}]);
        let ack = Action::Ack(Payload::text(user.to_string()));
        [Action::Join(rooms), ack].into()
    }

    /// `join-channels`: the rooms of all channels.
    pub(super) async fn join_channels(
        self: &Rc<Self>,
        socket: SocketId,
        token: Option<String>,
    ) -> Actions {
        let login = match self.verify_text(socket, token).await {
            Ok(login) => login,
            Err(actions) => return actions,
        };
        if !self.may_act_as(socket, &login.user) {
            return [done()].into();
        }
        match self.channels(&login).await {
            Ok(rooms) => {
                if let Some(state) = self.sockets.borrow().get(&socket) {
                    state.upstreams.join_channels(&login.token);
                }
                [Action::Join(rooms), done()].into()
            }
            Err(_) => gave_up(),
        }
    }

    /// The rooms of the user's channels.
    async fn channels(&self, login: &Login) -> Result<Vec<Room>, Unreachable> {
        if !login.user.channels {
            return Ok(Vec::new());
        }
        let channels = self.backends.ask(
            Standing::Known,
            Question::Channels,
            "/api/v1/channels/",
            &login.token,
            |reply| {
                // A no: channels are switched off.
                let none = reply.is_no().then(Vec::new);
                none.or_else(|| reply.read::<Vec<ChannelId>>())
            },
        );
        Ok(channels
            .await?
            .iter()
            .map(|channel| channel_room(&channel.id))
            .collect())
    }

    /// A backend put the user into a channel: all sockets of the user here join what they lack.
    pub(super) async fn find_channels(&self, user: &str) {
        let Some((_, login)) = self.logins_of(user).pop() else {
            return;
        };
        match self.channels(&login).await {
            Ok(rooms) if !rooms.is_empty() => {
                for (socket, login) in self.logins_of(user) {
                    if let Some(state) = self.sockets.borrow().get(&socket) {
                        state.upstreams.join_channels(&login.token);
                    }
                    self.outlet.dispatch(Command::Join {
                        selector: only(socket),
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

    fn read(&self, token: &str) -> Option<Token> {
        Token::read(token, self.config.secret_key.as_ref(), now())
            .map_err(|reason| debug!("token dropped: {reason}"))
            .ok()
    }

    /// The user of a token shown in an event; else what to answer.
    pub(super) async fn verify_text(
        self: &Rc<Self>,
        socket: SocketId,
        token: Option<String>,
    ) -> Result<Login, Actions> {
        // An event without a token asks for nothing.
        let token = token.ok_or_else(|| Actions::from([done()]))?;
        self.shown(socket, &token).await.map_err(|why| match why {
            Unserved::Unavailable => gave_up(),
            Unserved::Refused => [done()].into(),
            Unserved::TooOften => shown_out(),
        })
    }

    /// Verifies a token that a socket presents, and returns its user.
    async fn shown(self: &Rc<Self>, socket: SocketId, text: &str) -> Result<Login, Unserved> {
        let verified = match self.read(text) {
            Some(token) => match self.verify(&token, self.config.token_cache).await {
                TokenStatus::Verified(user) => Ok(Login { token, user }),
                TokenStatus::Refused => Err(SignIn::Refused),
                TokenStatus::Unknown => Err(SignIn::Unavailable),
            },
            None => Err(SignIn::Refused),
        };
        let result = verified.as_ref().err().copied();
        let sign_ins = &self.metrics.open_webui_sign_ins_total;
        sign_ins.of(result.unwrap_or(SignIn::Verified)).increment();
        verified.map_err(|result| match result {
            SignIn::Unavailable => Unserved::Unavailable,
            _ if self.note_refusal(socket) => Unserved::TooOften,
            _ => Unserved::Refused,
        })
    }

    /// Whose token it is, by a word that is at most `age` old.
    pub(super) async fn verify(self: &Rc<Self>, token: &Token, age: Duration) -> TokenStatus {
        match self.token_cache.look(token.expose(), age, Instant::now()) {
            Found::Known(status) => {
                if matches!(status, TokenStatus::Verified(_))
                    && self.pools.is_revoked(&token.claims).await
                {
                    self.token_cache.doubt(token.expose());
                    return TokenStatus::Refused;
                }
                status
            }
            Found::Wait(answer) => answer.await.unwrap_or(TokenStatus::Unknown),
            Found::Ask => {
                // To the end, even if the socket that wants to know goes: others may wait for the answer.
                let (this, token) = (Rc::clone(self), token.clone());
                let asked = actix_rt::spawn(async move {
                    let status = this.ask_whose(&token).await;
                    this.token_cache
                        .settle(token.expose(), &status, Instant::now());
                    status
                });
                asked.await.unwrap_or(TokenStatus::Unknown)
            }
        }
    }

    async fn ask_whose(&self, token: &Token) -> TokenStatus {
        let standing = if self.token_cache.is_familiar(token.expose()) {
            Standing::Known
        } else {
            Standing::Stranger
        };
        let account = self.backends.ask(
            standing,
            Question::Account,
            "/api/v1/auths/",
            token,
            |reply| match reply.status {
                401 | 403 => Some(None),
                _ => reply.read::<Account>().map(Some),
            },
        );
        match account
            .await
            .map(|account| account.and_then(Account::verified))
        {
            Ok(Some(user)) => TokenStatus::Verified(Arc::new(user)),
            Ok(None) => TokenStatus::Refused,
            Err(_) => TokenStatus::Unknown,
        }
    }
}

/// Why a token could not be verified.
enum Unserved {
    Unavailable,
    Refused,
    /// Refused, and the socket has presented too many refused tokens.
    TooOften,
}

/// Disconnects a socket that presented too many refused tokens: each can cost a backend a request.
fn shown_out() -> Actions {
    static BURST: Burst = Burst::new();
    if let Some(others) = BURST.note() {
        warn!(others; "connection closed: it presented too many refused tokens");
    }
    [Action::Disconnect { close: true }].into()
}

#[derive(Deserialize)]
struct ChannelId {
    id: String,
}
