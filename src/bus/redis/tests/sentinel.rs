//! A master found by Sentinels, and followed when it is another one.

use super::*;
use crate::bus::link_tests::server::Watched;
use crate::bus::redis::{TlsFiles, Topology};

fn watched(by: &Watched, service: &str) -> RedisSettings {
    let topology = Topology::Sentinel {
        sentinels: by.addresses(),
        service: service.to_owned(),
        user: None,
        password: None,
    };
    let mut settings = RedisSettings::new("redis://main", &topology, &TlsFiles::default()).unwrap();
    settings.ping_interval = Duration::from_millis(500);
    // A failover takes some seconds, and what is said meanwhile must not be too old then.
    settings.spool.age = PATIENCE;
    settings
}

#[tokio::test]
async fn the_suite_by_sentinel() {
    let Some(servers) = Watched::start() else {
        return;
    };
    suite(|| join(watched(&servers, "main"))).await;
    let reason = RedisStore::new(watched(&servers, "mian"))
        .get("key")
        .await
        .unwrap_err();
    let reason = reason.to_string();
    assert!(
        reason.contains("`mian`") && reason.contains("bus.sentinel_service"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_killed_master_is_followed() {
    let Some(mut servers) = Watched::start() else {
        return;
    };
    let (mut speaker, mut hearer) = (
        join(watched(&servers, "main")),
        join(watched(&servers, "main")),
    );
    speaker.up().await;
    hearer.up().await;
    hearer.hear(&["room"]).await;
    let store = RedisStore::new(watched(&servers, "main"));
    assert_eq!(store.acquire_lease("lease", "a", PATIENCE).await, Ok(true));
    servers.servers[0].stop();
    speaker.down().await;
    hearer.down().await;
    speaker.say("room", "kept meanwhile");
    hearer.up().await;
    speaker.up().await;
    assert!(servers.servers[1].says("role:master"));
    assert_eq!(hearer.message().await.1, "kept meanwhile");
    assert!(store.acquire_lease("lease", "a", PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_demoted_master_is_left() {
    let Some(servers) = Watched::start() else {
        return;
    };
    let (mut speaker, mut hearer) = (
        join(watched(&servers, "main")),
        join(watched(&servers, "main")),
    );
    speaker.up().await;
    hearer.up().await;
    hearer.hear(&["room"]).await;
    let () = servers.sentinels[0].ask(&["SENTINEL", "FAILOVER", "main"]);
    let new_master = &servers.servers[1];
    // Both halves of both are at the new one.
    until(
        new_master,
        &["PUBSUB", "NUMSUB", "room"],
        |counts: Vec<(String, u64)>| counts == [("room".to_owned(), 1)],
    )
    .await;
    let both = |names: Vec<String>| names.len() == 2;
    until(new_master, &["PUBSUB", "CHANNELS", "roomwire:ping:*"], both).await;
    let begun = std::time::Instant::now();
    while speaker.link.publish_counted(message("room", "moved")).await != Ok(1) {
        assert!(begun.elapsed() < PATIENCE, "the speaker did not move");
        sleep(Duration::from_millis(50)).await;
    }
    loop {
        if hearer.message().await.1 == "moved" {
            break;
        }
    }
}

/// A master that nobody cuts off, but that is none any more for the others.
#[tokio::test]
async fn the_watch_notices_a_move_without_a_broken_connection() {
    let Some(servers) = Watched::start() else {
        return;
    };
    let mut member = join(watched(&servers, "main"));
    member.up().await;
    member.hear(&["room"]).await;
    let other = RedisServer::start(&[]).unwrap();
    // All Sentinels say now that the master is a third server; the old one lives on.
    for sentinel in &servers.sentinels {
        let () = sentinel.ask(&["SENTINEL", "REMOVE", "main"]);
        let port = other.port.to_string();
        let () = sentinel.ask(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "2"]);
    }
    let moved = |counts: Vec<(String, u64)>| counts == [("room".to_owned(), 1)];
    until(&other, &["PUBSUB", "NUMSUB", "room"], moved).await;
    member.up().await;
    member.say("room", "there");
    assert_eq!(member.message().await.1, "there");
}
