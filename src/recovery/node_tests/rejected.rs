//! Sessions that do not continue although their records exist.

use super::*;

#[tokio::test]
async fn a_session_that_joined_a_room_at_a_position_of_a_lost_stream_begins_anew() {
    let cluster = cluster();
    let opened = cluster.open(None, None).await;
    let offset = opened.offset.unwrap();
    let (mut record, mut generation) = (opened.record.clone(), opened.generation);
    for (after, expected) in [
        (offset.n, None),
        (offset.n + (1 << 30), Some(RecoveryResult::Epoch)),
    ] {
        record.rooms = vec![(Room::from("a"), after)];
        let written = cluster.recovery.write(opened.pid, generation, &record);
        assert!(written.await.unwrap());
        let again = cluster.resume(opened.pid, offset, None).await;
        assert_eq!(reason(&again), expected);
        generation = again.generation;
    }
}

#[tokio::test]
async fn a_session_in_the_room_of_a_user_continues_for_that_user_only() {
    let cluster = cluster();
    let offset = cluster.open(None, None).await.offset.unwrap();
    let of_server = "Xa-2vT1Y_0hJqVbGAAAB";
    let pid: Pid = of_server.parse().unwrap();
    let session =
        json!({"sid": "s", "pid": of_server, "rooms": ["s", "user:ada", "r"], "data": {}});
    cluster.persist(of_server, session).await;
    for user in [Some("eve"), None] {
        let foreign = cluster.resume(pid, offset, user).await;
        assert_eq!(reason(&foreign), Some(RecoveryResult::Foreign), "{user:?}");
    }
    let own = cluster.resume(pid, offset, Some("ada")).await;
    assert_eq!(reason(&own), None);
    assert_eq!(own.record.rooms.len(), 3);
}

#[tokio::test]
async fn a_session_that_is_too_far_behind_the_end_of_the_stream_begins_anew() {
    for (entries, expected) in [(900, None), (1001, Some(RecoveryResult::TooMuch))] {
        let cluster = cluster();
        let opened = cluster.open(None, None).await;
        let offset = opened.offset.unwrap();
        for number in 1..=entries {
            // Of another namespace, or for a room in which the session is not.
            let namespace = if number % 2 == 0 { "/other" } else { "/" };
            cluster.emit(namespace, "others", "[0]");
        }
        let again = cluster.resume(opened.pid, offset, None).await;
        assert_eq!(reason(&again), expected, "{entries}");
        let counted = &cluster.recovery.metrics().recoveries_total;
        let too_much = counted.of(RecoveryResult::TooMuch).get();
        assert_eq!(too_much, u64::from(expected.is_some()));
    }
}
