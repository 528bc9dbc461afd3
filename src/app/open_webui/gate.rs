//! The gate of browsers: the token of a CONNECT is checked by a backend.

use std::rc::Rc;

use super::events::user_room;
use super::requests::token_of;
use super::worker::{TokenRejection, WorkerApp};
use crate::app::gate::{Admitted, ConnectGate, Decision, GateOutcome, GateRejection, GateRequest};
use crate::model::SocketId;

/// Establishes the account of a token as the identity of the client. It decides after the CONNECT response, because
/// stock backends send that first, and rejects no client: one without a valid token is connected but in no room, as at
/// the backends.
pub(super) struct AccountGate {
    worker: Rc<WorkerApp>,
}

impl AccountGate {
    /// The gate of the clients of `worker`.
    pub(super) fn new(worker: &Rc<WorkerApp>) -> Self {
        let worker = Rc::clone(worker);
        Self { worker }
    }
}

impl ConnectGate for AccountGate {
    fn reads_query(&self) -> bool {
        false
    }

    fn reads_cookies(&self) -> bool {
        false
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let Some(token) = token_of(request.auth) else {
            return GateOutcome::Now(Decision::Pass);
        };
        let (worker, socket) = (Rc::clone(&self.worker), request.socket);
        GateOutcome::AfterConnect(Box::pin(
            async move { worker.sign_in(socket, &token).await },
        ))
    }
}

impl WorkerApp {
    /// Logs in a socket by the token of its CONNECT.
    async fn sign_in(&self, socket: SocketId, token: &str) -> Decision {
        match self.authenticate(socket, token).await {
            Ok(login) => {
                let identity = login.identity();
                let rooms = vec![user_room(&login.user.id)];
                self.log_in(socket, login).await;
                Decision::Allow(Admitted { identity, rooms })
            }
            // One token alone is never too many.
            Err(TokenRejection::Rejected | TokenRejection::TooManyRejected) => Decision::Pass,
            Err(TokenRejection::Unavailable) => Decision::Reject(GateRejection {
                code: "backend_unavailable".into(),
                message: "no backend responded in time".to_owned(),
                temporary: true,
            }),
        }
    }
}
