//! Claims whose responses are lost.

use super::*;
use crate::config::{Config, NoticesConfig};
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::store::MemoryStore;

fn occupancy(store: &MemoryStore) -> (Occupancy, Arc<Metrics>) {
    let directory = Directory::new(NodeId::random(&OsRandom), 1, None, Arc::default());
    let config = NoticesConfig {
        kinds: vec![NoticeKind::RoomOccupied, NoticeKind::RoomVacated],
        debounce: Duration::ZERO,
        ..Config::default().webhook.notices
    };
    let metrics = Arc::clone(directory.metrics());
    let (intake, _messages) = Intake::new(config.clone(), Arc::clone(&metrics), None);
    let backlog = NoticeBacklog::new(
        config,
        directory.node(),
        Arc::clone(&metrics),
        Arc::new(OsRandom),
    );
    let store = Arc::new(store.clone());
    let occupancy = Occupancy::new(intake, Rc::new(backlog), directory, store, "p".to_owned());
    (occupancy, metrics)
}

impl Occupancy {
    /// Examines the room that was marked.
    async fn examine_due(&self) -> Examined {
        let (mut due, _) = self.intake.marks.take_due(1);
        let (room, mark) = due.remove(0);
        let examined = self.examine(&room, mark).await;
        if let Examined::Again(mark) = examined {
            self.intake.marks.again(room, mark, Duration::ZERO);
        }
        examined
    }
}

#[actix_rt::test]
async fn a_room_is_reported_once_if_the_response_to_its_claim_or_release_is_lost() {
    let store = MemoryStore::default();
    let (occupancy, metrics) = occupancy(&store);
    let (namespace, room) = (Namespace::main(), Room::from("r"));
    let queued = || metrics.webhook_notices_queued.get();
    let marks = &occupancy.intake.marks;
    marks.occupied(&namespace, &room);
    store.lose_responses(1);
    assert!(matches!(occupancy.examine_due().await, Examined::Again(_)));
    assert_eq!(queued(), 0);
    occupancy.examine_due().await;
    assert_eq!(queued(), 1, "occupied");
    marks.vacated(&namespace, &room);
    let (due, _) = marks.take_due(1);
    let (name, mark) = &due[0];
    let release = occupancy.new_attempt(true, *mark);
    store.lose_responses(1);
    assert!(occupancy.attempt(name, release).await.is_err());
    // Meanwhile another node claims it.
    let other = store.hash_claim(&occupancy.key(), "/,r", "zzzz 1".into());
    assert_eq!(other.await, Ok(true));
    marks.occupied(&namespace, &room);
    occupancy.examine_due().await;
    assert_eq!(queued(), 2, "vacated");
    let claims = store.hash_scan(&occupancy.key()).await.unwrap();
    assert_eq!(claims, [("/,r".to_owned(), "zzzz 1".into())]);
    assert!(occupancy.unanswered.borrow().is_empty());
}

#[actix_rt::test]
async fn a_change_that_was_not_executed_is_not_reported() {
    let store = MemoryStore::default();
    let (occupancy, metrics) = occupancy(&store);
    let (namespace, room) = (Namespace::main(), Room::from("r"));
    let marks = &occupancy.intake.marks;
    marks.occupied(&namespace, &room);
    store.lose_responses(1);
    occupancy.examine_due().await;
    // As a server that has lost its data.
    store.delete(&occupancy.key()).await.unwrap();
    marks.vacated(&namespace, &room);
    occupancy.examine_due().await;
    assert_eq!(metrics.webhook_notices_queued.get(), 0);
}
