//! The users of this node in rooms with presence, and where the store differs. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::rules::store_name;
use crate::model::{Namespace, Room, SocketId};
use crate::store::{PresenceChange, PresenceChangeKind};

/// How long departed users are remembered, because the store may lose its last changes.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Time without a change of the store after which it may have failed over.
const PAUSE: Duration = Duration::from_secs(2);

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MemberKey {
    pub(super) namespace: Namespace,
    pub(super) room: Room,
    pub(super) user: Arc<str>,
}

/// A user of this node in a room.
#[derive(Debug, Default)]
struct LocalMember {
    /// The sockets of the user in the room.
    sockets: Vec<SocketId>,
    /// The data that was set on this node.
    data: Option<Arc<str>>,
    leave_delay: Duration,
    /// Whether the first of these sockets receives the event about its own join: its session may have missed a leave of
    /// the user.
    reports_return: bool,
    /// Whether the store has, or had, the user on this node.
    is_announced: bool,
    /// Whether the store has had the departure of the user.
    has_departed: bool,
    is_queued: bool,
    /// Whether a change is under way.
    is_in_flight: bool,
}

/// A change of the store that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DueChange {
    pub(super) key: MemberKey,
    pub(super) change: PresenceChange,
    /// The socket that caused a join, which receives no event about it.
    pub(super) socket: Option<SocketId>,
    /// Whether other members have been notified of the user before, so that a join is no news.
    pub(super) is_announced: bool,
}

/// The users of this node.
#[derive(Debug, Default)]
pub(super) struct LocalMembers {
    members: HashMap<MemberKey, LocalMember>,
    /// Members that the store may not have as they are, each once, in the order of their first change.
    queue: VecDeque<MemberKey>,
    /// Users whose departure the store has had since this time, oldest first, with their leave delay.
    departed: VecDeque<(Instant, MemberKey, Duration)>,
    /// When the store has applied a change last.
    last_applied: Option<Instant>,
    /// None of the departed is forgotten before: after a pause, in which the store may have failed over, it is not known yet
    /// whether it has lost its last changes.
    remember_until: Option<Instant>,
}

impl LocalMembers {
    /// A socket of the user has joined the room.
    pub(super) fn enter(&mut self, key: &MemberKey, socket: SocketId, leave_delay: Duration) {
        let member = self.members.entry(key.clone()).or_default();
        member.leave_delay = leave_delay;
        member.sockets.push(socket);
        if member.sockets.len() == 1 {
            member.reports_return = false;
            self.enqueue(key);
        }
    }

    /// Lets the socket that has just joined receive the event about the join of its own user, because it continues a
    /// session.
    pub(super) fn report_return(&mut self, key: &MemberKey) {
        let member = self.members.get_mut(key);
        if let Some(member) = member.filter(|member| member.sockets.len() == 1) {
            member.reports_return = true;
        }
    }

    /// A socket of the user has left the room.
    pub(super) fn leave(&mut self, key: &MemberKey, socket: SocketId) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        member.sockets.retain(|other| *other != socket);
        if member.sockets.is_empty() {
            self.enqueue(key);
        }
    }

    /// Sets the data of a user; `false` if the user is not in the room.
    pub(super) fn set_data(&mut self, key: &MemberKey, data: Arc<str>) -> bool {
        let member = self.members.get_mut(key);
        let Some(member) = member.filter(|member| !member.sockets.is_empty()) else {
            return false;
        };
        if member.data.as_ref() != Some(&data) {
            member.data = Some(data);
            self.enqueue(key);
        }
        true
    }

    fn enqueue(&mut self, key: &MemberKey) {
        if let Some(member) = self.members.get_mut(key)
            && !std::mem::replace(&mut member.is_queued, true)
        {
            self.queue.push_back(key.clone());
        }
    }

    /// Takes at most `limit` changes.
    pub(super) fn take(&mut self, limit: usize) -> Vec<DueChange> {
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            let Some(member) = self.members.get_mut(&key) else {
                continue;
            };
            member.is_queued = false;
            member.is_in_flight = true;
            let data = member.data.as_deref().map(str::to_owned);
            let kind = match member.sockets.first() {
                Some(_) => PresenceChangeKind::Enter { data },
                None if member.is_announced => PresenceChangeKind::Leave {
                    delay: member.leave_delay,
                    data,
                },
                None if member.has_departed => PresenceChangeKind::LeaveAgain {
                    delay: member.leave_delay,
                },
                None => {
                    self.members.remove(&key);
                    continue;
                }
            };
            taken.push(DueChange {
                change: PresenceChange {
                    room: store_name(&key.namespace, &key.room),
                    user: key.user.to_string(),
                    kind,
                },
                socket: match member.reports_return {
                    true => None,
                    false => member.sockets.first().copied(),
                },
                is_announced: std::mem::replace(&mut member.is_announced, true),
                key,
            });
        }
        taken
    }

    /// The store has a change.
    pub(super) fn applied(&mut self, due: &DueChange, now: Instant) {
        self.forget_departed(now);
        let Some(member) = self.members.get_mut(&due.key) else {
            return;
        };
        member.is_in_flight = false;
        member.has_departed = due.change.kind.leave_delay().is_some();
        if member.has_departed {
            member.is_announced = false;
            if member.sockets.is_empty() && !member.is_queued {
                let delay = member.leave_delay;
                self.members.remove(&due.key);
                self.departed.push_back((now, due.key.clone(), delay));
            }
        }
    }

    fn forget_departed(&mut self, now: Instant) {
        let last = self.last_applied.replace(now);
        if last.is_some_and(|last| last + PAUSE <= now) {
            self.remember_until = Some(now + REMEMBERED);
        }
        if self.remember_until.is_some_and(|until| now < until) {
            return;
        }
        let is_old = |departed: &mut (Instant, _, _)| departed.0 + REMEMBERED <= now;
        while self.departed.pop_front_if(is_old).is_some() {}
    }

    /// The store may have lost everything, or its last changes: the users of this node enter again, and those who have just
    /// departed leave again.
    pub(super) fn enqueue_all(&mut self) {
        for (_, key, leave_delay) in std::mem::take(&mut self.departed) {
            let member = self.members.entry(key).or_insert_with(|| LocalMember {
                leave_delay,
                ..LocalMember::default()
            });
            // One who has come back, but is not in the store yet, may leave before.
            member.has_departed |= !member.is_announced;
        }
        let keys: Vec<MemberKey> = self.members.keys().cloned().collect();
        for key in keys {
            self.enqueue(&key);
        }
    }

    /// Whether the store may not have the user as it is.
    pub(super) fn is_pending(&self, key: &MemberKey) -> bool {
        let member = self.members.get(key);
        member.is_some_and(|member| member.is_queued || member.is_in_flight)
    }

    /// Number of users in rooms; a user in two rooms counts twice.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Number of changes that are due.
    pub(super) fn pending(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    const DELAY: Duration = Duration::from_secs(3);

    fn key(user: &str) -> MemberKey {
        MemberKey {
            namespace: Namespace::main(),
            room: Room::from("r"),
            user: Arc::from(user),
        }
    }

    fn socket() -> SocketId {
        SocketId::random(NodeId::random(&OsRandom), Default::default(), &OsRandom)
    }

    fn leave(data: Option<&str>) -> PresenceChangeKind {
        PresenceChangeKind::Leave {
            delay: DELAY,
            data: data.map(str::to_owned),
        }
    }

    fn kinds(taken: &[DueChange]) -> Vec<&PresenceChangeKind> {
        taken.iter().map(|due| &due.change.kind).collect()
    }

    #[test]
    fn only_the_first_and_the_last_socket_of_a_user_change_the_store() {
        let mut members = LocalMembers::default();
        let [a, b] = [socket(), socket()];
        members.enter(&key("u"), a, DELAY);
        members.enter(&key("u"), b, DELAY);
        let taken = members.take(9);
        assert_eq!(kinds(&taken), [&PresenceChangeKind::Enter { data: None }]);
        assert_eq!((taken[0].socket, taken[0].is_announced), (Some(a), false));
        assert!(members.is_pending(&key("u")));
        members.applied(&taken[0], now());
        assert!(!members.is_pending(&key("u")));
        members.leave(&key("u"), a);
        assert_eq!(members.take(9), []);
        members.leave(&key("u"), b);
        let taken = members.take(9);
        assert_eq!(kinds(&taken), [&leave(None)]);
        members.applied(&taken[0], now());
        assert_eq!((members.len(), members.pending()), (0, 0));
    }

    #[test]
    fn a_socket_that_continues_a_session_receives_the_join_of_its_user_too() {
        let mut members = LocalMembers::default();
        let [a, b, c] = [socket(), socket(), socket()];
        members.enter(&key("u"), a, DELAY);
        members.report_return(&key("u"));
        members.enter(&key("v"), b, DELAY);
        members.enter(&key("v"), c, DELAY);
        members.report_return(&key("v"));
        let sockets: Vec<_> = members.take(9).iter().map(|due| due.socket).collect();
        assert_eq!(sockets, [None, Some(b)]);
        members.leave(&key("u"), a);
        members.enter(&key("u"), c, DELAY);
        assert_eq!(members.take(9)[0].socket, Some(c), "it has a new session");
    }

    #[test]
    fn a_user_who_has_left_before_the_store_was_changed_never_was_there() {
        let mut members = LocalMembers::default();
        let a = socket();
        members.enter(&key("u"), a, DELAY);
        members.leave(&key("u"), a);
        assert_eq!(members.pending(), 1);
        assert_eq!(members.take(9), []);
        assert_eq!(members.len(), 0);
        assert!(!members.set_data(&key("u"), "1".into()));
    }

    #[test]
    fn a_repetition_of_everything_is_no_news() {
        let mut members = LocalMembers::default();
        let a = socket();
        members.enter(&key("u"), a, DELAY);
        let taken = members.take(9);
        members.applied(&taken[0], now());
        assert!(members.set_data(&key("u"), "1".into()));
        members.enqueue_all();
        let taken = members.take(9);
        let data = Some("1".to_owned());
        assert_eq!(kinds(&taken), [&PresenceChangeKind::Enter { data }]);
        assert!(taken[0].is_announced);
        // The leave is under way when a socket returns.
        members.applied(&taken[0], now());
        members.leave(&key("u"), a);
        let leaving = members.take(9);
        // With the data that a store that lost the user does not have.
        assert_eq!(kinds(&leaving), [&leave(Some("1"))]);
        members.enter(&key("u"), a, DELAY);
        members.applied(&leaving[0], now());
        assert_eq!((members.len(), members.take(9).len()), (1, 1));
    }

    #[test]
    fn a_departure_that_the_store_may_have_lost_is_repeated_unless_the_user_is_back() {
        let mut members = LocalMembers::default();
        let begun = now();
        let at = |second| begun + Duration::from_secs(second);
        // Every second the store applies a change.
        let others = |members: &mut LocalMembers, seconds: std::ops::Range<u64>| {
            seconds.for_each(|second| members.forget_departed(at(second)));
        };
        for user in ["u", "back", "old"] {
            members.enter(&key(user), socket(), DELAY);
        }
        for taken in members.take(9) {
            members.applied(&taken, begun);
            members.leave(&taken.key, taken.socket.unwrap());
        }
        let leaving = members.take(9);
        members.applied(&leaving[2], begun);
        others(&mut members, 1..5);
        for taken in &leaving[..2] {
            members.applied(taken, at(5));
        }
        others(&mut members, 6..11);
        members.enter(&key("back"), socket(), DELAY);
        let entered = members.take(9);
        members.applied(&entered[0], at(11));
        members.enqueue_all();
        let mut taken = members.take(9);
        taken.sort_by_key(|due| due.key.user.clone());
        let users: Vec<&str> = taken.iter().map(|due| &*due.key.user).collect();
        assert_eq!(users, ["back", "u"]);
        let enter = PresenceChangeKind::Enter { data: None };
        let again = PresenceChangeKind::LeaveAgain { delay: DELAY };
        assert_eq!(kinds(&taken), [&enter, &again]);
        for due in &taken {
            members.applied(due, at(12));
        }
        assert_eq!((members.len(), members.pending()), (1, 0));
        // The store was away since: it is too early to forget.
        members.leave(&key("back"), taken[0].socket.unwrap());
        let leaving = members.take(9);
        members.applied(&leaving[0], at(60));
        members.enqueue_all();
        let mut again = members.take(9);
        again.sort_by_key(|due| due.key.user.clone());
        let users: Vec<&str> = again.iter().map(|due| &*due.key.user).collect();
        assert_eq!(users, ["back", "u"]);
        for due in &again {
            members.applied(due, at(61));
        }
        // Before the store is known to have it, a user comes and goes.
        members.enqueue_all();
        let socket = socket();
        members.enter(&key("u"), socket, DELAY);
        members.leave(&key("u"), socket);
        let again = PresenceChangeKind::LeaveAgain { delay: DELAY };
        assert_eq!(kinds(&members.take(9)), [&again, &again]);
    }
}
