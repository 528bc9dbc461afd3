//! Executes the requests of entries.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rejection::RejectedEntry;
use crate::auth::{Revocations, Subject, user_room};
use crate::broker::Ingress;
use crate::config::UserRoom;
use crate::metrics::labels::Origin;
use crate::model::{Command, Namespace, Query, Room, Selector};
use crate::verbs::{BatchRequest, CheckRules, EarlierJoins, VerbRequest};

/// Maximum number of items of a batch.
const MAX_ITEMS: usize = 1000;
/// Time limit for the responses of other nodes after a batch of entries; a node that does not respond has failed.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// A room without members.
const NO_ROOM: &str = "\0stream";
const BATCH: &str = "batch";

/// Executes requests in the cluster.
pub struct Executor {
    pub ingress: Ingress,
    /// `socket.max_depth`: levels of JSON in an event.
    pub max_depth: usize,
    /// The rooms of users.
    pub user_room: UserRoom,
    pub revocations: Arc<Revocations>,
}

/// A checked request.
enum Action {
    Dispatch(Command),
    ForceReconnect(Selector),
    Revoke(Subject, Option<SystemTime>),
}

impl Executor {
    /// Executes a request, or the requests of a batch in order. `joined` are the rooms of the requests before it.
    ///
    /// # Errors
    /// The request is rejected as a whole, and nothing was executed; or a revocation exceeds `auth.revocation_limit`,
    /// which ends a batch.
    pub(super) async fn execute(
        &self,
        verb: &str,
        body: &[u8],
        joined: &mut EarlierJoins,
    ) -> Result<(), RejectedEntry> {
        let actions = if verb == BATCH {
            let items = BatchRequest::parse(body, MAX_ITEMS)?.items;
            let actions = items.iter().enumerate();
            let actions = actions
                .map(|(index, item)| self.action(item).map_err(|error| error.in_item(index)));
            actions.collect::<Result<Vec<_>, _>>()?
        } else {
            vec![self.action(&VerbRequest::parse(verb, body)?)?]
        };
        for (index, action) in actions.into_iter().enumerate() {
            match action {
                Action::Dispatch(mut command) => {
                    joined.prepare(&mut command);
                    self.ingress.dispatch(command, Origin::Local);
                }
                Action::ForceReconnect(selector) => self.revocations.force_reconnect(&selector),
                Action::Revoke(subject, until) => {
                    let revoked = self.revocations.revoke(subject, until).await;
                    revoked.map_err(|error| {
                        let rejection =
                            RejectedEntry::new("too_many_revocations", error.to_string());
                        match verb {
                            BATCH => rejection.in_item(index),
                            _ => rejection,
                        }
                    })?;
                }
            }
        }
        Ok(())
    }

    fn action(&self, request: &VerbRequest<'_>) -> Result<Action, RejectedEntry> {
        let room = |user: &str| user_room(&self.user_room, user);
        let rules = CheckRules {
            max_depth: self.max_depth,
            user_room: &room,
            own_socket: None,
        };
        Ok(Action::Dispatch(match request {
            VerbRequest::Emit(emit) => Command::Emit(emit.check(&rules)?),
            VerbRequest::Join(join) => join.check(&rules)?,
            VerbRequest::Leave(leave) => leave.check(&rules)?,
            VerbRequest::CloseRoom(close) => close.check()?,
            VerbRequest::Disconnect(disconnect) => disconnect.check(&rules)?,
            VerbRequest::ForceReconnect(reconnect) => {
                return Ok(Action::ForceReconnect(reconnect.check(&rules)?));
            }
            VerbRequest::Revoke(revoke) => {
                let (target, until) = revoke.check()?;
                return Ok(Action::Revoke(target.into(), until));
            }
            other => {
                let message = format!(
                    "`{}` is not available in a stream: request it by the API",
                    other.verb()
                );
                return Err(RejectedEntry::new("verb_unsupported", message));
            }
        }))
    }

    /// Whether requests reach the other nodes.
    pub(super) fn is_connected(&self) -> bool {
        !self.ingress.is_cut_off()
    }

    /// Waits until everything that was executed has taken effect on this node and on all nodes that respond; false if
    /// it did not leave this node.
    pub(super) async fn settle(&self) -> bool {
        // Queries follow commands on their way to every worker and node.
        let room = Room::from(NO_ROOM);
        let query = Query::Sockets {
            selector: Selector::room(Namespace::main(), room),
            limit: 0,
        };
        self.ingress.query(query, SETTLE_TIME).finish().await;
        self.is_connected()
    }
}
