//! The interface to a backend that decides about requests under the policy `backend`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::RoomAction;
use crate::model::{Identity, Namespace, Room, SocketId};

/// Decides about requests of clients; one instance a worker.
pub trait RoomAuthority {
    /// Decides about one request. The client and its next events wait for the decision.
    fn decide(&self, request: AuthorityRequest) -> LocalBoxFuture<'static, AuthorityAnswer>;
}

/// A request that a [`RoomAuthority`] decides.
#[derive(Debug, Clone)]
pub struct AuthorityRequest {
    pub action: RoomAction,
    pub namespace: Namespace,
    pub room: Room,
    /// Name of the event that the client emits; `None` for other actions.
    pub event: Option<String>,
    pub socket: SocketId,
    pub identity: Option<Rc<Identity>>,
}

/// The decision of a [`RoomAuthority`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityAnswer {
    Allow,
    /// It rejects the request, or could not decide.
    Reject {
        /// A stable code for the client, such as `backend_rejected` or `backend_timeout`.
        code: String,
        message: String,
        /// Whether the same request may succeed later.
        temporary: bool,
        /// When it may succeed.
        retry_after: Option<Duration>,
    },
}

/// Makes the authority of one worker, on its thread.
pub type AuthorityFactory = Arc<dyn Fn() -> Rc<dyn RoomAuthority> + Send + Sync>;
