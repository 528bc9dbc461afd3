//! Executes the requests of entries.

use std::time::Duration;

use super::rejection::RejectedEntry;
use crate::auth::user_room;
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
}

impl Executor {
    /// Executes a request, or the requests of a batch in order. `joined` are the rooms of the requests before it.
    ///
    /// # Errors
    /// The request is rejected as a whole: nothing was executed.
    pub(super) fn execute(
        &self,
        verb: &str,
        body: &[u8],
        joined: &mut EarlierJoins,
    ) -> Result<(), RejectedEntry> {
        let commands = if verb == BATCH {
            let items = BatchRequest::parse(body, MAX_ITEMS)?.items;
            let commands = items.iter().enumerate();
            let commands = commands.map(|(index, item)| {
                let command = self.command(item);
                command.map_err(|rejection| RejectedEntry {
                    message: format!("item {index}: {}", rejection.message),
                    ..rejection
                })
            });
            commands.collect::<Result<Vec<_>, _>>()?
        } else {
            vec![self.command(&VerbRequest::parse(verb, body)?)?]
        };
        for mut command in commands {
            joined.prepare(&mut command);
            self.ingress.dispatch(command, Origin::Local);
        }
        Ok(())
    }

    fn command(&self, request: &VerbRequest<'_>) -> Result<Command, RejectedEntry> {
        let room = |user: &str| user_room(&self.user_room, user);
        let rules = CheckRules {
            max_depth: self.max_depth,
            user_room: &room,
            own_socket: None,
        };
        Ok(match request {
            VerbRequest::Emit(emit) => Command::Emit(emit.check(&rules)?),
            VerbRequest::Join(join) => join.check(&rules)?,
            VerbRequest::Leave(leave) => leave.check(&rules)?,
            VerbRequest::CloseRoom(close) => close.check()?,
            VerbRequest::Disconnect(disconnect) => disconnect.check(&rules)?,
            other => {
                let message = format!(
                    "`{}` is not available in a stream: request it by the API",
                    other.verb()
                );
                return Err(RejectedEntry::new("verb_unsupported", message));
            }
        })
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
