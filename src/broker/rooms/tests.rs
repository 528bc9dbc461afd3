//! The index against expected results and a naive model.

use super::*;
use crate::model::random::OsRandom;
use crate::model::{NodeId, Selector, WorkerIndex};
use crate::outbox::{Bounds, Lanes, Share};
use crate::protocol::WireFormat;

struct Fixture {
    rooms: Rooms,
    lanes: Lanes,
    changes: Vec<RoomChange>,
    sockets: Vec<(SocketKey, SocketId)>,
}

fn fixture(count: usize) -> Fixture {
    let mut f = Fixture {
        rooms: Rooms::default(),
        lanes: Lanes::new(Bounds::default(), Share::default()),
        changes: Vec::new(),
        sockets: Vec::new(),
    };
    let worker = WorkerIndex::new(0).unwrap();
    for _ in 0..count {
        let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
        let key = f
            .rooms
            .register(&Namespace::main(), id, f.lanes.open(WireFormat::default()));
        f.sockets.push((key, id));
    }
    f
}

#[test]
fn the_id_of_a_socket_also_names_those_that_have_recovered_its_session() {
    let mut f = fixture(3);
    let former = f.sockets[0].1;
    f.join(1, former.as_str());
    f.join(2, "a");
    f.join(1, "a");
    let to = |room: &str, except: &str| {
        Selector::room(Namespace::main(), Room::from(room)).except(Room::from(except))
    };
    let members = |f: &mut Fixture, selector: &Selector| {
        let members = f.rooms.selected(selector).into_iter();
        let mut members: Vec<usize> = members
            .map(|it| {
                f.sockets
                    .iter()
                    .position(|(key, _)| *key == it.socket)
                    .unwrap()
            })
            .collect();
        members.sort_unstable();
        members
    };
    for is_open in [true, false] {
        let personal = Selector::socket(Namespace::main(), former);
        let expected = if is_open { vec![0, 1] } else { vec![1] };
        assert_eq!(members(&mut f, &personal), expected);
        assert_eq!(members(&mut f, &to("a", former.as_str())), [2]);
        assert!(f.rooms.is_member(f.sockets[1].0, former.as_str()));
        assert_eq!(f.rooms.is_member(f.sockets[0].0, former.as_str()), is_open);
        assert_eq!(
            f.rooms.details(f.sockets[1].0).unwrap().rooms,
            ["a"].map(Room::from)
        );
        let listed = f.rooms.listed(&Namespace::main(), "", "", 9);
        assert_eq!(listed, [(Room::from("a"), 2)]);
        if is_open {
            f.rooms.unregister(f.sockets[0].0, &mut f.changes);
        }
    }
}

#[test]
fn listed_rooms_are_the_first_by_name_after_another_with_the_numbers_of_their_members() {
    let mut f = fixture(3);
    for (socket, room) in [(0, "b:2"), (1, "b:2"), (0, "b:1"), (2, "b:3"), (2, "a")] {
        f.join(socket, room);
    }
    let list = |prefix: &str, after: &str, limit| {
        let rooms = f.rooms.listed(&Namespace::main(), prefix, after, limit);
        let rooms = rooms
            .into_iter()
            .map(|(room, count)| format!("{room}={count}"));
        rooms.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("", "", 10), "a=1 b:1=1 b:2=2 b:3=1");
    assert_eq!(list("b:", "", 2), "b:1=1 b:2=2");
    assert_eq!(list("b:", "b:2", 2), "b:3=1");
    assert_eq!(list("c", "", 2), "");
    let names = ["b:2", "none", "a"].map(Room::from);
    let counted = f.rooms.counted(&Namespace::main(), &names);
    assert_eq!(counted, [(Room::from("a"), 1), (Room::from("b:2"), 2)]);
    let other = f.rooms.listed(&Namespace::from("/x"), "", "", 5);
    assert!(other.is_empty());
    f.rooms.set_connected_at(f.sockets[0].0, 77);
    let details = f.rooms.details(f.sockets[0].0).unwrap();
    assert_eq!(
        (details.socket, details.connected_at, details.rooms.len()),
        (f.sockets[0].1, 77, 2)
    );
}

impl Fixture {
    fn join(&mut self, socket: usize, room: &str) -> bool {
        self.rooms
            .join(self.sockets[socket].0, &Room::from(room), &mut self.changes)
    }

    fn leave(&mut self, socket: usize, room: &str) -> bool {
        self.rooms
            .leave(self.sockets[socket].0, &Room::from(room), &mut self.changes)
    }

    /// Sorted positions in `sockets` of the selected ones; panics if one is selected twice.
    fn select(&mut self, rooms: &[&str], except: &[&str]) -> Vec<usize> {
        let selector = Selector {
            namespace: Namespace::main(),
            rooms: rooms.iter().map(|r| Room::from(*r)).collect(),
            except: except.iter().map(|r| Room::from(*r)).collect(),
        };
        let members = self.rooms.selected(&selector);
        let position = |m: &Member| {
            self.sockets
                .iter()
                .position(|(key, _)| *key == m.socket)
                .unwrap()
        };
        let mut selected: Vec<usize> = members.iter().map(position).collect();
        selected.sort_unstable();
        let before = selected.len();
        selected.dedup();
        assert_eq!(before, selected.len(), "a socket was selected twice");
        selected
    }
}

#[test]
fn a_selector_visits_the_union_minus_exceptions_each_socket_once() {
    let mut f = fixture(5);
    for (socket, room) in [(0, "a"), (1, "a"), (1, "b"), (2, "b"), (3, "c")] {
        assert!(f.join(socket, room));
    }
    assert!(!f.join(1, "a"));
    let own = f.sockets[1].1.to_string();
    let cases: [(&[&str], &[&str], &[usize]); 9] = [
        (&[], &[], &[0, 1, 2, 3, 4]),
        (&["a"], &[], &[0, 1]),
        (&["a", "b"], &[], &[0, 1, 2]),
        (&["a", "b"], &["c"], &[0, 1, 2]),
        (&["a"], &["b"], &[0]),
        (&[], &["a", "c"], &[2, 4]),
        (&[&own], &[], &[1]),
        (&["a", &own], &[], &[0, 1]),
        (&["b", "nobody"], &[&own], &[2]),
    ];
    for (rooms, except, expected) in cases {
        assert_eq!(
            f.select(rooms, except),
            expected,
            "{rooms:?} except {except:?}"
        );
    }
}

#[test]
fn a_room_appears_with_its_first_member_and_vanishes_with_its_last() {
    let mut f = fixture(3);
    f.join(0, "x");
    f.join(1, "x");
    f.leave(0, "x");
    assert!(!f.leave(0, "x"));
    f.rooms.unregister(f.sockets[1].0, &mut f.changes);
    let room = || (Namespace::main(), Room::from("x"));
    let (a, b) = (room(), room());
    assert_eq!(
        f.changes,
        [
            RoomChange::Appeared(a.0, a.1),
            RoomChange::Vanished(b.0, b.1)
        ]
    );
    assert_eq!(f.select(&["x"], &[]), [0usize; 0]);
}

/// Random joins, leaves and departures against a naive model.
#[test]
fn the_index_agrees_with_a_naive_model() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut f = fixture(20);
    let mut model = vec![std::collections::BTreeSet::new(); 20];
    for step in 0..5000 {
        let (socket, room) = (random.random_range(0..20), random.random_range(0..6));
        let name = format!("room{room}");
        if random.random_bool(0.5) {
            assert_eq!(f.join(socket, &name), model[socket].insert(room));
        } else {
            assert_eq!(f.leave(socket, &name), model[socket].remove(&room));
        }
        if step % 50 == 0 {
            f.rooms.unregister(f.sockets[socket].0, &mut f.changes);
            model[socket].clear();
            let id = f.sockets[socket].1;
            f.sockets[socket].0 =
                f.rooms
                    .register(&Namespace::main(), id, f.lanes.open(WireFormat::default()));
        }
        let expected: Vec<usize> = (0..20).filter(|s| model[*s].contains(&room)).collect();
        assert_eq!(f.select(&[&name], &[]), expected);
        assert_eq!(f.rooms.room_count(f.sockets[socket].0), model[socket].len());
    }
}

#[test]
fn an_empty_namespace_is_removed_from_the_index() {
    let mut f = fixture(0);
    let worker = WorkerIndex::new(0).unwrap();
    for n in 0..100 {
        let id = SocketId::random(NodeId::random(&OsRandom), worker, &OsRandom);
        let key = f.rooms.register(
            &Namespace::from(format!("/n{n}")),
            id,
            f.lanes.open(WireFormat::default()),
        );
        f.rooms.join(key, &Room::from("r"), &mut f.changes);
        f.rooms.unregister(key, &mut f.changes);
    }
    assert_eq!(
        (
            f.rooms.namespaces.len(),
            f.rooms.rooms.len(),
            f.rooms.sockets.len()
        ),
        (1, 2, 1)
    );
}
