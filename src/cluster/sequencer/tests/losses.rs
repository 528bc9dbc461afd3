//! What is lost without an interruption, around one, or with the logs.

use super::*;

#[test]
fn an_event_for_two_rooms_that_is_read_from_one_log_only_is_delivered_once_to_members_who_leave_it()
{
    let mut world = following();
    world.subscribe(&["c"]);
    world.respond();
    world.publish(1, &["a", "c"]);
    let next = world.publish(2, &["c"]);
    world.arrive(next);
    world.respond_once();
    // The log of `a` cannot be read.
    let reads = std::mem::take(&mut world.reads);
    assert_eq!(reads.len(), 1);
    for _ in 0..2 {
        assert!(world.delivered.is_empty());
        world.sequencer.expire();
        world.take();
    }
    assert_eq!(world.delivered(), ["a:gap", "c,a:1", "c:2"]);
    world.sequencer.unsubscribed(&name("c"));
    world.reads = reads;
    for _ in 0..2 {
        world.sequencer.check_tails();
        world.take();
        world.respond();
    }
    assert!(world.delivered().is_empty());
}

#[test]
fn what_an_interruption_lost_before_the_end_of_a_new_log_is_read_is_named() {
    let mut world = following();
    let first = world.publish(1, &["a"]);
    world.arrive(first);
    world.subscribe(&["c"]);
    world.publish(2, &["c"]);
    world.sequencer.interrupted();
    world.take();
    let next = world.publish(3, &["c"]);
    world.arrive(next);
    for _ in 0..2 {
        assert_eq!(world.delivered, ["a:1"]);
        world.sequencer.expire();
        world.take();
    }
    world.respond();
    assert_eq!(world.delivered(), ["a:1", "c:gap", "c:3"]);
}

#[test]
fn what_was_on_its_way_to_new_members_when_the_logs_were_lost_is_named() {
    let mut world = following();
    world.subscribe(&["c"]);
    let on_its_way = world.publish(1, &["c"]);
    world.respond_once();
    world.table = LogTable::new(Epoch::random(&OsRandom), 1 << 20);
    let next = world.publish(2, &["c"]);
    world.arrive(next);
    world
        .reads
        .retain(|step| !matches!(step, LogStep::Fence(_)));
    world.respond();
    world.arrive(on_its_way.clone());
    world.gaps.sort();
    assert_eq!(world.gaps, [("a".to_owned(), 20), ("c".to_owned(), 20)]);
    assert_eq!(on_its_way.stamp.position.n, 30);
}

#[test]
fn the_last_event_of_a_log_that_is_lost_without_an_interruption_is_found_by_the_second_check() {
    let mut world = following();
    world.publish(1, &["a"]);
    for _ in 0..2 {
        assert!(world.delivered().is_empty());
        world.sequencer.check_tails();
        world.take();
        world.respond();
    }
    assert_eq!(world.delivered(), ["a:1"]);
}
