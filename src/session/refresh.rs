//! `roomwire:auth`: a client replaces its credentials while it is connected (docs/identities.md#refresh).

use std::rc::Rc;
use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::FutureExt;
use log::debug;
use serde_json::json;

use super::gates::token_revoked;
use super::state::Session;
use crate::app::gate::{GateRejection, GateRequest};
use crate::clock;
use crate::limits::Limit;
use crate::metrics::labels::IdentityRefresh;
use crate::model::{AckId, Identity, Payload, SocketId};
use crate::protocol::socket_io::state::Slot;

/// The event.
const EVENT: &str = r#""roomwire:auth""#;

/// A refresh that waits for the gates.
struct Refresh {
    slot: Slot,
    socket: SocketId,
    ack: Option<AckId>,
}

impl Session {
    /// Whether an event replaces the credentials of its client.
    pub(super) fn is_refresh(&self, payload: &Payload) -> bool {
        self.worker.gates.refreshes() && payload.elements().next() == Some(EVENT)
    }

    /// Lets the gates check the new credentials. Unlike other events it does not wait for the app, which may be slow.
    pub(super) fn refresh(
        &mut self,
        slot: Slot,
        payload: &Payload,
        ack: Option<AckId>,
        ctx: &mut Context<Self>,
    ) {
        let Some(socket) = self.socket(slot).map(|socket| socket.id) else {
            return;
        };
        let refresh = Refresh { slot, socket, ack };
        let auth = match self.refresh_request(slot, payload, ctx) {
            Ok(auth) => auth,
            Err(rejection) => return self.respond_to_refresh(&refresh, Err(rejection)),
        };
        let namespace = self.connection.namespace(slot).cloned();
        let (Some(namespace), Some(credentials)) = (namespace, self.credentials.clone()) else {
            return;
        };
        let worker = Rc::clone(&self.worker);
        let live = self.socket_mut(slot).and_then(|s| s.identity.as_mut());
        let Some(live) = live else { return };
        live.refreshing = true;
        let current = Rc::clone(&live.identity);
        let mut check = Box::pin(async move {
            let request = GateRequest {
                handshake: &credentials.handshake,
                identity: Some(&current),
                socket,
                namespace: &namespace,
                auth: &auth,
            };
            worker.gates.refresh(request).await
        });
        if let Some(decided) = (&mut check).now_or_never() {
            return self.refreshed(&refresh, decided);
        }
        let waiting = check.into_actor(self);
        ctx.spawn(waiting.map(move |decided, session, _ctx| session.refreshed(&refresh, decided)));
    }

    /// The new credentials, in the form of the payload of a CONNECT.
    fn refresh_request(
        &mut self,
        slot: Slot,
        payload: &Payload,
        ctx: &mut Context<Self>,
    ) -> Result<String, GateRejection> {
        if !self.is_in_pace(ctx) {
            return Err(beyond(Limit::Events));
        }
        let socket = self.socket(slot).filter(|socket| socket.key.is_some());
        match socket.and_then(|socket| socket.identity.as_ref()) {
            None => return Err(reject("no_identity", "this client is anonymous")),
            Some(live) if live.refreshing => {
                let message = "the check of earlier credentials is pending";
                return Err(reject("refresh_pending", message));
            }
            Some(_) => {}
        }
        let argument = payload.elements().nth(1).unwrap_or_default();
        if argument.len() > self.worker.limits.connect_payload() {
            return Err(beyond(Limit::ConnectPayload));
        }
        match argument.as_bytes().first() {
            Some(b'{') => Ok(argument.to_owned()),
            Some(b'"') => Ok(format!(r#"{{"token":{argument}}}"#)),
            _ => Err(reject(
                "bad_request",
                "the argument must be a token, or an object like that of a CONNECT",
            )),
        }
    }

    /// The gates have decided: the new identity takes effect if the user is the same.
    fn refreshed(&mut self, refresh: &Refresh, decided: Result<Rc<Identity>, GateRejection>) {
        let users = Arc::clone(&self.worker.users);
        let socket = self
            .socket_mut(refresh.slot)
            .filter(|socket| socket.id == refresh.socket);
        // The client may have left the namespace meanwhile.
        let Some(live) = socket.and_then(|socket| socket.identity.as_mut()) else {
            return;
        };
        live.refreshing = false;
        let former = Rc::clone(&live.identity);
        let applied = decided.and_then(|identity| {
            if former.user != identity.user {
                let message = "the credentials are those of another user";
                return Err(reject("user_changed", message));
            }
            if users.revocations.covers(&identity) {
                return Err(token_revoked());
            }
            live.replace(identity, clock::now());
            Ok(live.expires_at())
        });
        if applied.is_ok() {
            self.remove_from_index(&former, refresh.socket);
            self.add_to_index(refresh.slot);
        }
        self.respond_to_refresh(refresh, applied);
    }

    /// Counts the result, and acknowledges the event.
    fn respond_to_refresh(&self, refresh: &Refresh, result: Result<Option<u64>, GateRejection>) {
        let (result, answer) = match result {
            Ok(expires_at) => {
                let answer = json!({"ok": true, "expires_at": expires_at});
                (IdentityRefresh::Refreshed, answer)
            }
            Err(GateRejection {
                code,
                message,
                temporary,
            }) => {
                debug!(socket = refresh.socket.log_name(), code; "credentials not refreshed");
                let mut error = json!({"code": code, "message": message});
                if temporary {
                    error["temporary"] = true.into();
                }
                (
                    IdentityRefresh::Rejected,
                    json!({"ok": false, "error": error}),
                )
            }
        };
        let refreshes = &self.worker.metrics().identity_refreshes_total;
        refreshes.of(result).increment();
        if let Some(id) = &refresh.ack {
            self.send_ack(refresh.slot, id, &Payload::text(format!("[{answer}]")));
        }
    }
}

fn reject(code: &'static str, message: &str) -> GateRejection {
    GateRejection {
        code: code.into(),
        message: message.to_owned(),
        temporary: false,
    }
}

fn beyond(limit: Limit) -> GateRejection {
    reject(limit.code(), limit.message())
}
