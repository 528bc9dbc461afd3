//! Sessions over their connections: a client that recovers its session continues its journey.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::Kind;
use super::history::{
    Appended, Connection, ConnectionId, EVERYBODY, Emit, History, Received, Sender, Stay,
};
use super::oracle::{DELIVERY, end_of};

/// The longest time in which an event reaches a node without faults.
const LATENCY: Duration = Duration::from_millis(50);

/// A session, over one or more connections.
pub struct Journey<'a> {
    pub history: &'a History,
    /// In the order of time.
    pub connections: Vec<(ConnectionId, &'a Connection)>,
}

/// The time in which a session certainly receives the events of a room.
struct Membership {
    from: Duration,
    /// `None`: until the end of the run.
    to: Option<Duration>,
}

impl Membership {
    fn includes(&self, at: Duration) -> bool {
        self.from < at && self.to.is_none_or(|to| at < to)
    }
}

impl<'a> Journey<'a> {
    /// All journeys of a run.
    pub fn all(history: &'a History) -> Vec<Self> {
        let connections = &history.connections;
        let continued: BTreeSet<ConnectionId> = connections
            .iter()
            .filter_map(Connection::continues)
            .collect();
        let last = (0..connections.len()).filter(|number| !continued.contains(number));
        last.map(|number| {
            let chain =
                std::iter::successors(Some(number), |number| connections[*number].continues());
            let mut chain: Vec<_> = chain.map(|it| (it, &connections[it])).collect();
            chain.reverse();
            Self {
                history,
                connections: chain,
            }
        })
        .collect()
    }

    pub fn first(&self) -> &'a Connection {
        self.connections[0].1
    }

    /// Its connections, for messages.
    pub fn name(&self) -> String {
        let names = self
            .connections
            .iter()
            .map(|(number, _)| format!("c{number}"));
        names.collect::<Vec<_>>().join("+")
    }

    pub fn has_sid(&self, sid: &str) -> bool {
        let mut connections = self.connections.iter();
        connections.any(|(_, connection)| connection.sid.as_deref() == Some(sid))
    }

    /// Everything that it received, with the number of its connection.
    pub fn received(&self) -> impl Iterator<Item = (ConnectionId, &'a Received)> {
        let connections = self.connections.iter();
        connections.flat_map(|(number, connection)| {
            connection.received.iter().map(move |it| (*number, it))
        })
    }

    /// Whether the event is not for this session, because it has sent it or is excepted.
    pub fn is_excepted(&self, emit: &Emit) -> bool {
        let sent = match emit.sender {
            Sender::Client(sender) => self.connections.iter().any(|(it, _)| *it == sender),
            _ => false,
        };
        sent || emit.except.as_ref().is_some_and(|sid| self.has_sid(sid))
    }

    /// Whether the record of the session had the ids of all its sockets, by which events except it.
    pub fn has_all_ids(&self) -> bool {
        let mut connections = self.connections.iter();
        connections.all(|(_, connection)| {
            let connected = connection.connected.unwrap_or_default();
            !self.history.is_unsaved(connection.node, connected)
        })
    }

    /// Whether the session must have received an event of a log.
    pub fn must_receive(&self, appended: &Appended) -> bool {
        let mut rooms = appended.rooms.iter();
        let is_member = rooms.any(|room| {
            let mut memberships = self.memberships(room);
            memberships.any(|membership| membership.includes(appended.at))
        });
        is_member
            && !self.has_named(appended)
            && !self.is_missed_by_socket(appended)
            && !self.is_before_record(appended)
    }

    fn memberships(&self, room: &str) -> impl Iterator<Item = Membership> {
        let mut found = Vec::new();
        let last = self.connections.len() - 1;
        let end = self.certain_end();
        for (index, (_, connection)) in self.connections.iter().enumerate() {
            let until = match index {
                _ if index == last => end,
                // What follows is in the stays of the next connection.
                _ => {
                    let next = self.connections[index + 1].1;
                    next.session.as_ref().map(|session| session.at)
                }
            };
            if self.is_personal(connection, room) {
                let from = connection.connected.unwrap_or(Duration::MAX);
                // By its former ids, too.
                found.push(Membership { from, to: end });
            }
            for stay in connection.stays.iter().filter(|stay| stay.room == room) {
                let Some(from) = stay.joined else {
                    continue;
                };
                let until = match self.history.is_rolled_back(stay) {
                    true => end_of(connection).map(|end| self.on_time(connection, end)),
                    false => until,
                };
                let to = match stay.left {
                    Some(left) if !stay.lost => Some(self.on_time(connection, left)),
                    _ => until,
                };
                let left = self.left_while_catching_up(index, room);
                let to = [to, end, left].into_iter().flatten().min();
                found.push(Membership { from, to });
            }
        }
        found.into_iter()
    }

    /// If a later connection left the room and was lost: the time up to which appended events have certainly been
    /// received. A session that leaves a room while it catches up still receives what it missed there, but if it loses
    /// that connection too, its record no longer has the room.
    fn left_while_catching_up(&self, index: usize, room: &str) -> Option<Duration> {
        let last = self.connections.len() - 1;
        for (_, connection) in self.connections.iter().take(last).skip(index + 1) {
            let continues = |stay: &&Stay| stay.room == room && stay.requested == connection.began;
            let stay = connection.stays.iter().find(continues)?;
            if let Some(left) = stay.left.filter(|_| !stay.lost) {
                return Some(self.on_time(connection, left));
            }
        }
        None
    }

    fn is_personal(&self, connection: &Connection, room: &str) -> bool {
        room == EVERYBODY
            || connection.sid.as_deref() == Some(room)
            || room.strip_prefix("user:") == Some(&connection.user)
    }

    /// Until when what is appended has been received: until shortly before the end of the last connection that existed for
    /// long enough to receive what was missed.
    pub fn certain_end(&self) -> Option<Duration> {
        let mut end = Duration::ZERO;
        for (_, connection) in self.connections.iter().rev() {
            end = self.on_time(connection, end_of(connection)?);
            let begun = connection.session.as_ref().map(|session| session.at);
            if begun
                .or(connection.connected)
                .is_some_and(|begun| begun < end)
            {
                break;
            }
        }
        Some(end)
    }

    /// What is appended until the result is received by a connection until `end`: shortly before it, or earlier if its node
    /// or the client received events late.
    fn on_time(&self, connection: &Connection, end: Duration) -> Duration {
        let faults = self.history.faults.iter();
        let faults = faults.filter(|fault| fault.node == connection.node);
        let faults = faults.map(|fault| (fault.begin, fault.end.unwrap_or(Duration::MAX)));
        let mut late: Vec<_> = faults.chain(connection.paused.iter().copied()).collect();
        late.sort_by_key(|(begin, _)| std::cmp::Reverse(*begin));
        let mut time = end.saturating_sub(DELIVERY);
        for (begin, end) in late {
            if begin <= time + DELIVERY && time <= end.saturating_add(DELIVERY) {
                time = time.min(begin.saturating_sub(DELIVERY));
            }
        }
        time
    }

    /// Whether the order of an event among those of other logs is not certain: it is for one socket, whose log no node reads
    /// in order with the others, or a node that stalls sent it, so that it was overtaken.
    pub fn was_late(&self, appended: &Appended) -> bool {
        let mut faults = self.history.faults.iter();
        let stalled = faults.any(|fault| {
            let (from, to) = (appended.at.saturating_sub(DELIVERY), appended.at + DELIVERY);
            fault.kind == Kind::Stall && fault.overlaps(from, to)
        });
        stalled || self.is_missed_by_socket(appended)
    }

    /// Whether an event for the user of the session, or for all, was appended before its record was in the store, because
    /// that was out of reach when the session began.
    fn is_before_record(&self, appended: &Appended) -> bool {
        let first = self.first();
        let is_of_room = |room: &String| first.stays.iter().any(|stay| stay.room == *room);
        let connected = first.connected.unwrap_or(Duration::MAX);
        let faults = self.history.faults.iter();
        let faults = faults.filter(|it| it.node == first.node && it.kind != Kind::Deaf);
        let mut faults = faults.filter(|it| {
            it.begin <= connected && it.end.is_none_or(|end| end + DELIVERY >= connected)
        });
        let last = |end: Option<Duration>| end.is_none_or(|end| appended.at <= end + DELIVERY);
        !appended.rooms.iter().any(is_of_room) && faults.any(|fault| last(fault.end))
    }

    /// Whether an event for one socket was appended while the node of the session received nothing. It is not read from the
    /// log as long as the socket is connected (`docs/history.md#gaps`).
    fn is_missed_by_socket(&self, appended: &Appended) -> bool {
        let mut connections = self.connections.iter();
        let mut sids = connections.clone().filter_map(|(_, it)| it.sid.as_ref());
        sids.any(|sid| appended.rooms.contains(sid))
            && connections.any(|(_, connection)| {
                let mut faults = self.history.faults.iter();
                let faulty = faults.any(|fault| fault.covers(connection.node, appended.at));
                connection.began <= appended.at
                    && end_of(connection).is_none_or(|end| end >= appended.at)
                    && faulty
            })
    }

    /// Whether a node named the event as lost.
    pub fn has_named(&self, appended: &Appended) -> bool {
        let position = |text: &str| {
            let (epoch, n) = text.split_once('-').unwrap();
            (epoch == appended.epoch, n.parse::<u64>().unwrap())
        };
        let connections = self.connections.iter();
        let mut gaps = connections.flat_map(|(_, connection)| &connection.gaps);
        gaps.any(|gap| {
            let concerns = |room: &String| appended.rooms.contains(room);
            let room = gap.room.as_ref();
            let of_namespace = || appended.rooms.iter().any(|room| room == EVERYBODY);
            let Some((after, before)) = &gap.between else {
                return room.is_none_or(concerns) && appended.at <= gap.at;
            };
            let ((same_after, after), (same_before, before)) = (position(after), position(before));
            room.map_or_else(of_namespace, concerns)
                && (same_after || same_before)
                && (!same_after || appended.n > after)
                && (!same_before || appended.n < before)
        })
    }

    /// Whether some node of the session can have missed what was appended from `from` to `to`.
    fn is_late(&self, from: Duration, to: Duration) -> bool {
        let faulty = |connection: &Connection| {
            let faults = self.history.faults.iter();
            // Another node may have sent it late.
            let mut faults =
                faults.filter(|it| it.node == connection.node || it.kind == Kind::Stall);
            faults.any(|fault| fault.overlaps(from.saturating_sub(DELIVERY), to + DELIVERY))
        };
        let mut connections = self.connections.iter();
        from + LATENCY >= to || connections.any(|(_, connection)| faulty(connection))
    }

    /// Whether the session can have been in one of the rooms of an event when that was appended, or requested it from the
    /// log later.
    pub fn may_receive(&self, appended: &Appended) -> bool {
        appended.rooms.iter().any(|room| {
            let connections = self.connections.iter();
            let mut stays = connections
                .clone()
                .flat_map(|(_, it)| it.stays.iter().map(move |stay| (it, stay)))
                .filter(|(_, stay)| stay.room == *room);
            let personal = |(_, connection): &(_, &Connection)| self.is_personal(connection, room);
            self.connections.iter().any(personal)
                || stays.any(|(connection, stay)| {
                    let begun = stay.since.is_some() || stay.requested <= appended.at;
                    // A node that has missed events delivers them to those who are members then.
                    let late = || self.is_late(appended.at, stay.requested);
                    let node = connection.node;
                    // The record of the session does not have every leave that was acked.
                    let left = stay
                        .left_acked
                        .filter(|left| !self.history.is_unsaved(node, *left));
                    (begun || late()) && left.is_none_or(|left| appended.at <= left)
                })
        })
    }
}
