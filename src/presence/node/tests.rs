//! Many users at once, and nodes that are lost, in virtual time.

use tokio::time::advance;

use super::*;
use crate::config::{Config, Pattern, PresenceConfig, PresenceRoomEntry};
use crate::model::random::OsRandom;
use crate::model::{Namespace, Room, SocketId};
use crate::store::{MemoryStore, PresencePage, Store};

const DELAY: Duration = Duration::from_secs(3);
const LIMIT: u64 = 100;

fn service(store: &MemoryStore) -> PresenceService {
    let node = NodeId::random(&OsRandom);
    let directory = Directory::new(node, 1, None, Arc::default());
    let config = PresenceConfig {
        rooms: vec![PresenceRoomEntry {
            namespace: None,
            pattern: Pattern::from("*"),
            max_members: Some(LIMIT),
            leave_delay: Some(DELAY),
            data: None,
        }],
    };
    let store: Arc<dyn Store> = Arc::new(store.clone());
    PresenceService::new(PresenceParts {
        rooms: PresenceRooms::new((&config, &Config::default().app), store, "p").unwrap(),
        directory,
        tenure: None,
    })
}

fn room() -> (Namespace, Room) {
    (Namespace::main(), Room::from("r"))
}

impl PresenceService {
    fn enter(&self, user: &str) -> SocketId {
        let (namespace, room) = room();
        let socket = SocketId::random(self.node, Default::default(), &OsRandom);
        self.rooms.enter(&namespace, &room, user, socket);
        socket
    }

    fn leave(&self, user: &str, socket: SocketId) {
        let (namespace, room) = room();
        self.rooms.leave(&namespace, &room, user, socket);
    }

    async fn page(&self) -> PresencePage {
        let (namespace, room) = room();
        let page = self.rooms.page(&namespace, &room, None, 9);
        page.await.unwrap()
    }

    fn events(&self) -> u64 {
        self.metrics.presence_events_total.get()
    }

    /// Lives for this time.
    async fn live(&self, agenda: &mut Agenda, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(agenda).await;
            advance(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_users_who_come_and_go_at_once_wait_in_a_bounded_list_and_cause_few_events() {
    const USERS: u64 = 10_000;
    let presence = service(&MemoryStore::default());
    let mut agenda = Agenda::new();
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    let sockets: Vec<SocketId> = names.iter().map(|name| presence.enter(name)).collect();
    // Further sockets of the same users need no place.
    let second: Vec<SocketId> = names.iter().map(|name| presence.enter(name)).collect();
    assert_eq!(presence.rooms.members().pending(), names.len());
    presence.turn(&mut agenda).await;
    assert_eq!(presence.rooms.members().pending(), 0);
    assert_eq!(
        (presence.page().await.count, presence.events()),
        (USERS, LIMIT)
    );
    presence.live(&mut agenda, Duration::from_secs(5)).await;
    assert_eq!(presence.events(), LIMIT + 1, "one count");
    for (name, socket) in names.iter().zip(sockets.iter()) {
        presence.leave(name, *socket);
    }
    assert_eq!(presence.rooms.members().pending(), 0);
    for (name, socket) in names.iter().zip(second) {
        presence.leave(name, socket);
    }
    assert_eq!(presence.rooms.members().pending(), names.len());
    presence.live(&mut agenda, DELAY).await;
    assert_eq!(presence.page().await.count, USERS);
    presence.live(&mut agenda, 2 * DELAY).await;
    assert_eq!(presence.page().await, PresencePage::default());
    // The last members receive events about each other, and some counts.
    assert!(presence.events() <= 2 * LIMIT + 10, "{}", presence.events());
    assert_eq!(presence.rooms.members().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn users_of_a_lost_node_leave_unless_another_node_has_them_and_it_can_enter_nobody() {
    let store = MemoryStore::default();
    let (lost, survivor) = (service(&store), service(&store));
    let (mut of_lost, mut of_survivor) = (Agenda::new(), Agenda::new());
    lost.enter("a");
    lost.enter("b");
    survivor.enter("b");
    survivor.enter("c");
    lost.turn(&mut of_lost).await;
    survivor.turn(&mut of_survivor).await;
    assert_eq!(survivor.page().await.count, 3);
    survivor.remove(lost.node).await.unwrap();
    lost.enter("ghost");
    lost.turn(&mut of_lost).await;
    survivor
        .live(&mut of_survivor, Duration::from_secs(2))
        .await;
    let users = survivor.page().await.users;
    let users: Vec<&str> = users.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(users, ["b", "c"]);
    // Two joins of the lost node; one join of the survivor, and the leave.
    assert_eq!((lost.events(), survivor.events()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_departure_is_taken_once_by_one_of_the_nodes_as_soon_as_it_is_due() {
    let store = MemoryStore::default();
    let nodes = [service(&store), service(&store)];
    let mut agendas = [Agenda::new(), Agenda::new()];
    let socket = nodes[0].enter("a");
    nodes[1].enter("b");
    for (node, agenda) in nodes.iter().zip(&mut agendas) {
        node.turn(agenda).await;
    }
    nodes[0].leave("a", socket);
    nodes[0].turn(&mut agendas[0]).await;
    assert!(agendas[0].sweep <= Instant::now() + DELAY);
    for _ in 0..40 {
        for (node, agenda) in nodes.iter().zip(&mut agendas) {
            node.turn(agenda).await;
        }
        advance(Duration::from_millis(100)).await;
    }
    let events: u64 = nodes.iter().map(PresenceService::events).sum();
    assert_eq!((events, nodes[1].page().await.count), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_join_and_a_leave_whose_response_was_lost_are_events_once() {
    let store = MemoryStore::default();
    let presence = service(&store);
    let mut agenda = Agenda::new();
    presence.enter("other");
    presence.turn(&mut agenda).await;
    let socket = presence.enter("a");
    store.lose_responses(1);
    presence.turn(&mut agenda).await;
    assert_eq!((presence.events(), presence.page().await.count), (1, 2));
    // What happens meanwhile comes after it.
    presence.leave("a", socket);
    let back = presence.enter("a");
    presence.live(&mut agenda, Duration::from_secs(1)).await;
    assert_eq!(presence.events(), 2, "the join");
    presence.leave("a", back);
    presence.live(&mut agenda, Duration::from_secs(1)).await;
    sleep_until(agenda.sweep + DELAY).await;
    store.lose_responses(1);
    presence.turn(&mut agenda).await;
    assert_eq!((presence.events(), presence.page().await.count), (2, 1));
    presence.live(&mut agenda, Duration::from_secs(30)).await;
    assert_eq!(presence.events(), 3, "the leave, once");
}

#[tokio::test(start_paused = true)]
async fn the_departures_that_a_node_took_before_it_was_lost_are_emitted_by_another_one() {
    let store = MemoryStore::default();
    let (lost, survivor) = (service(&store), service(&store));
    let (mut of_lost, mut of_survivor) = (Agenda::new(), Agenda::new());
    survivor.enter("other");
    survivor.turn(&mut of_survivor).await;
    let sockets = ["a", "b"].map(|user| (user, lost.enter(user)));
    lost.turn(&mut of_lost).await;
    for (user, socket) in sockets {
        lost.leave(user, socket);
    }
    lost.turn(&mut of_lost).await;
    advance(DELAY).await;
    store.lose_responses(1);
    lost.turn(&mut of_lost).await;
    assert_eq!((lost.events(), survivor.page().await.count), (2, 1));
    // One of them comes back before: members have not received its leave, and need no event.
    survivor.enter("b");
    survivor
        .live(&mut of_survivor, Duration::from_secs(5))
        .await;
    assert_eq!(survivor.events(), 2, "its two joins");
    survivor
        .live(&mut of_survivor, Duration::from_secs(30))
        .await;
    assert_eq!(survivor.events(), 3, "the leave of the other one, once");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_finishes_what_was_under_way() {
    let store = MemoryStore::default();
    let (stopping, survivor) = (service(&store), service(&store));
    let (mut of_stopping, mut of_survivor) = (Agenda::new(), Agenda::new());
    survivor.enter("other");
    survivor.turn(&mut of_survivor).await;
    let socket = stopping.enter("a");
    stopping.turn(&mut of_stopping).await;
    stopping.leave("a", socket);
    stopping.turn(&mut of_stopping).await;
    advance(DELAY).await;
    store.lose_responses(1);
    stopping.turn(&mut of_stopping).await;
    stopping.enter("b");
    assert!(stopping.finish().await);
    assert_eq!(stopping.events(), 3, "the leave, and the join before it");
    survivor
        .live(&mut of_survivor, Duration::from_secs(30))
        .await;
    assert_eq!(survivor.events(), 1, "nothing is left to another node");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_members_are_listed_once_other_nodes_had_the_time_to_enter_theirs() {
    let presence = service(&MemoryStore::default());
    let mut agenda = Agenda::new();
    presence.enter("a");
    presence.turn(&mut agenda).await;
    let start = Instant::now();
    presence.rooms.completed().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    agenda.is_failing = true;
    presence.enter("b");
    presence.turn(&mut agenda).await;
    presence.rooms.completed().await;
    let waited = start.elapsed();
    assert!(
        (RETURN_TIME..2 * RETURN_TIME).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn members_are_listed_once_other_nodes_had_the_time_to_enter_theirs_after_the_bus_is_back() {
    let presence = service(&MemoryStore::default());
    let mut agenda = Agenda::new();
    let directory = presence.rooms.directory.get().unwrap();
    directory.note_connect();
    presence.connected(1, &mut agenda);
    let start = Instant::now();
    presence.rooms.completed().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The store is back before the bus.
    directory.set_cut_off(true);
    presence.rooms.completes_in(RETURN_TIME);
    let back = 2 * RETURN_TIME;
    let reconnects = async {
        sleep_until(start + back).await;
        directory.note_connect();
        directory.set_cut_off(false);
        // It is noted a little later.
        sleep_until(start + back + RECONNECT_TIME).await;
        presence.connected(2, &mut agenda);
    };
    let waits = async {
        presence.rooms.completed().await;
        start.elapsed()
    };
    let ((), waited) = tokio::join!(reconnects, waits);
    let expected = back + RECONNECT_TIME + RETURN_TIME;
    assert!(
        (expected..expected + RECONNECT_TIME).contains(&waited),
        "{waited:?}"
    );
    // A bus that stays down delays nobody for ever.
    directory.set_cut_off(true);
    presence.rooms.completed().await;
    assert!(start.elapsed() < waited + 2 * back + 2 * RETURN_TIME + Duration::from_secs(5));
}
