//! Pairs that cancel out: a user who disconnects and is back soon, a member who leaves a room and joins it again. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::intake::{NoticeEvent, NoticeEventKind};
use crate::model::{Namespace, Room, SocketId};

/// Maximum number of ends that are held; beyond it, the oldest are released early.
const LIMIT: usize = 65_536;

/// The subject that both halves of a pair share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PairSubject {
    User(Namespace, Arc<str>),
    Member(Namespace, Room, Member),
}

/// A user with all sockets of that user, or a socket without a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Member {
    User(Arc<str>),
    Socket(SocketId),
}

/// Holds each end (disconnect or leave) for a while, during which a return cancels it.
#[derive(Debug)]
pub(super) struct Debounce {
    window: Duration,
    next: u64,
    /// Held ends in the order in which they are due; a cancelled one has no entry in `ends`.
    due: VecDeque<(Instant, u64)>,
    ends: HashMap<u64, (PairSubject, NoticeEvent)>,
    by_subject: HashMap<PairSubject, VecDeque<u64>>,
}

/// What to do with a event.
#[derive(Debug)]
pub(super) enum Debounced {
    /// Send it as a notice now.
    Now(NoticeEvent),
    /// Nothing yet: it is held.
    Held,
    /// Nothing: it and an earlier event cancel each other out.
    Cancelled,
}

impl Debounce {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            next: 0,
            due: VecDeque::new(),
            ends: HashMap::new(),
            by_subject: HashMap::new(),
        }
    }

    pub(super) fn pass(&mut self, event: NoticeEvent, now: Instant) -> Debounced {
        if self.window.is_zero() {
            return Debounced::Now(event);
        }
        let Some((subject, is_end)) = subject_of(&event) else {
            return Debounced::Now(event);
        };
        if is_end {
            let number = self.next;
            self.next += 1;
            self.due.push_back((now + self.window, number));
            let same = self.by_subject.entry(subject.clone()).or_default();
            same.push_back(number);
            self.ends.insert(number, (subject, event));
            return Debounced::Held;
        }
        match self.by_subject.get_mut(&subject) {
            Some(same) => {
                let number = same.pop_front();
                if same.is_empty() {
                    self.by_subject.remove(&subject);
                }
                number.map(|number| self.ends.remove(&number));
                Debounced::Cancelled
            }
            None => Debounced::Now(event),
        }
    }

    /// When the next end is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.front().map(|(due, _)| *due)
    }

    /// The next end that has been held for long enough, or that exceeds the limit.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<NoticeEvent> {
        while let Some((due, number)) = self.due.front().copied() {
            let is_due = due <= now || self.ends.len() > LIMIT;
            if self.ends.contains_key(&number) && !is_due {
                return None;
            }
            self.due.pop_front();
            if let Some(end) = self.remove(number) {
                return Some(end);
            }
        }
        None
    }

    /// The next end, however long it has been held.
    pub(super) fn pop(&mut self) -> Option<NoticeEvent> {
        while let Some((_, number)) = self.due.pop_front() {
            if let Some(end) = self.remove(number) {
                return Some(end);
            }
        }
        None
    }

    fn remove(&mut self, number: u64) -> Option<NoticeEvent> {
        let (subject, end) = self.ends.remove(&number)?;
        if let Some(same) = self.by_subject.get_mut(&subject) {
            same.retain(|other| *other != number);
            if same.is_empty() {
                self.by_subject.remove(&subject);
            }
        }
        Some(end)
    }
}

/// What a event begins or ends; `None` if it does neither. A socket without a user never comes back.
fn subject_of(event: &NoticeEvent) -> Option<(PairSubject, bool)> {
    let namespace = || event.namespace.clone();
    let member = |room: &Room| {
        let member = match &event.user {
            Some(user) => Member::User(Arc::clone(user)),
            None => Member::Socket(event.socket),
        };
        PairSubject::Member(namespace(), room.clone(), member)
    };
    let user = || {
        Some(PairSubject::User(
            namespace(),
            Arc::clone(event.user.as_ref()?),
        ))
    };
    match &event.change {
        NoticeEventKind::Connected => Some((user()?, false)),
        NoticeEventKind::Disconnected(_) => Some((user()?, true)),
        NoticeEventKind::Joined(room) => Some((member(room), false)),
        NoticeEventKind::Left(room) => Some((member(room), true)),
        NoticeEventKind::Event { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::NodeId;
    use crate::model::random::OsRandom;

    const WINDOW: Duration = Duration::from_secs(3);

    fn socket() -> SocketId {
        let node = NodeId::random(&OsRandom);
        SocketId::random(node, Default::default(), &OsRandom)
    }

    fn event(user: Option<&str>, socket: SocketId, change: NoticeEventKind) -> NoticeEvent {
        NoticeEvent {
            is_in_doubt: false,
            at: SystemTime::UNIX_EPOCH,
            namespace: Namespace::main(),
            socket,
            user: user.map(Arc::from),
            change,
        }
    }

    fn passed(debounce: &mut Debounce, event: NoticeEvent, now: Instant) -> &'static str {
        match debounce.pass(event, now) {
            Debounced::Now(_) => "now",
            Debounced::Held => "held",
            Debounced::Cancelled => "cancelled",
        }
    }

    #[test]
    fn a_user_who_is_back_in_time_neither_left_nor_came() {
        let now = crate::clock::now();
        let mut debounce = Debounce::new(WINDOW);
        let gone = |user| event(user, socket(), NoticeEventKind::Disconnected("x"));
        let back = |user| event(user, socket(), NoticeEventKind::Connected);
        assert_eq!(passed(&mut debounce, back(Some("a")), now), "now");
        assert_eq!(passed(&mut debounce, gone(Some("a")), now), "held");
        assert_eq!(passed(&mut debounce, gone(Some("b")), now), "held");
        assert_eq!(passed(&mut debounce, gone(None), now), "now");
        let later = now + Duration::from_secs(2);
        assert_eq!(passed(&mut debounce, back(Some("a")), later), "cancelled");
        assert_eq!(passed(&mut debounce, back(Some("a")), later), "now");
        assert!(debounce.pop_due(later).is_none());
        let due = now + WINDOW;
        let left = debounce.pop_due(due).unwrap();
        assert_eq!(left.user.as_deref(), Some("b"));
        assert!(debounce.pop_due(due).is_none());
        assert_eq!(passed(&mut debounce, back(Some("b")), due), "now");
        assert!(debounce.by_subject.is_empty() && debounce.ends.is_empty());
    }

    #[test]
    fn members_cancel_by_room_and_by_user_or_socket() {
        let now = crate::clock::now();
        let mut debounce = Debounce::new(WINDOW);
        let (first, second) = (socket(), socket());
        let [a, b] = ["a", "b"].map(Room::from);
        let left =
            |user, socket, room: &Room| event(user, socket, NoticeEventKind::Left(room.clone()));
        let joined =
            |user, socket, room: &Room| event(user, socket, NoticeEventKind::Joined(room.clone()));
        for end in [
            left(Some("u"), first, &a),
            left(Some("u"), second, &a),
            left(None, first, &b),
        ] {
            assert_eq!(passed(&mut debounce, end, now), "held");
        }
        let cases = [
            (joined(Some("u"), first, &b), "now"),
            (joined(None, second, &b), "now"),
            (joined(None, first, &b), "cancelled"),
            (joined(Some("u"), second, &a), "cancelled"),
            (joined(Some("u"), second, &a), "cancelled"),
            (joined(Some("u"), second, &a), "now"),
        ];
        for (start, expected) in cases {
            assert_eq!(passed(&mut debounce, start, now), expected);
        }
        assert!(debounce.pop().is_none());
    }

    #[test]
    fn without_a_window_nothing_is_held_and_a_flush_releases_in_order() {
        let now = crate::clock::now();
        let gone = |user| event(Some(user), socket(), NoticeEventKind::Disconnected("x"));
        assert_eq!(
            passed(&mut Debounce::new(Duration::ZERO), gone("a"), now),
            "now"
        );
        let mut debounce = Debounce::new(WINDOW);
        for user in ["a", "b", "c"] {
            let _ = debounce.pass(gone(user), now);
        }
        let _ = debounce.pass(event(Some("b"), socket(), NoticeEventKind::Connected), now);
        let released: Vec<_> = std::iter::from_fn(|| debounce.pop()).collect();
        let users: Vec<_> = released
            .iter()
            .filter_map(|end| end.user.as_deref())
            .collect();
        assert_eq!(users, ["a", "c"]);
    }
}
