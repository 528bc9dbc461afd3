//! A planned failover behind one name: the old master becomes a replica, and no connection is closed.

use super::*;
use crate::bus::link_tests::server::wait_until;

/// A master and its replica, and a name that resolves to the master.
struct Pair {
    master: RedisServer,
    replica: RedisServer,
    name: Proxy,
}

impl Pair {
    async fn start() -> Option<Self> {
        let master = RedisServer::start(&[])?;
        let port = master.port.to_string();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port])?;
        wait_until("the replica is linked", || {
            replica.has_info("master_link_status:up")
        });
        let name = Proxy::start(master.port).await;
        Some(Self {
            master,
            replica,
            name,
        })
    }

    /// Swaps the roles; the name still resolves to the old master.
    fn fail_over(&self) {
        let port = self.replica.port.to_string();
        wait_until("the master has discovered its replica", || {
            let command = ["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "10000"];
            self.master.try_query::<()>(&command).is_ok()
        });
        wait_until("the replica is promoted", || {
            self.replica.has_info("role:master")
        });
        wait_until("the master is demoted", || {
            self.master.has_info("role:slave")
        });
    }

    /// Makes the name resolve to the former replica.
    fn update_name(&self) {
        self.name.target.store(self.replica.port, Ordering::Relaxed);
    }

    fn settings(&self) -> RedisSettings {
        let url = format!("redis://127.0.0.1:{}", self.name.port);
        let mut settings = RedisSettings::parse(&url).unwrap();
        settings.ping_interval = Duration::from_millis(200);
        settings.spool.age = TIMEOUT;
        settings
    }
}

/// Waits until the link is down because it found a replica.
async fn demoted(member: &mut Member) {
    let is_replica = |event: &LinkEvent| matches!(event, LinkEvent::Down { reason } if reason.contains("is a replica"));
    member.wait(is_replica).await;
}

#[tokio::test]
async fn the_link_follows_a_failover_behind_the_same_name() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut moved = join(pair.settings());
    moved.up().await;
    moved.subscribe(&["room"]).await;
    let store = RedisStore::new(pair.settings());
    assert_eq!(store.acquire_lease("lease", "a", TIMEOUT).await, Ok(true));
    pair.fail_over();
    demoted(&mut moved).await;
    // Nothing may be published to the demoted server, whose subscribers are isolated from the cluster.
    moved.publish("room", "kept during the failover");
    // The name still resolves to the old master, so the link stays down.
    let counted = moved.link.publish_counted(message("room", "x")).await;
    assert_eq!(counted, Err(LinkDown));
    let mut other = join(settings(&pair.replica));
    other.up().await;
    other.subscribe(&["room"]).await;
    pair.update_name();
    moved.up().await;
    assert_eq!(other.message().await.1, "kept during the failover");
    other.publish("room", "from the new master");
    loop {
        if moved.message().await.1 == "from the new master" {
            break;
        }
    }
    // Both connections are at the new master.
    until(
        &pair.replica,
        &["PUBSUB", "NUMSUB", "room"],
        |counts: Vec<(String, u64)>| counts == [("room".to_owned(), 2)],
    )
    .await;
    assert_eq!(store.acquire_lease("other", "a", TIMEOUT).await, Ok(true));
    let held: Option<String> = query(&pair.replica, &["GET", "other"]).await;
    assert_eq!(held.as_deref(), Some("a"));
}

#[tokio::test]
async fn the_link_stays_down_at_a_replica_until_it_is_promoted() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut member = join(settings(&pair.replica));
    let reason = member
        .wait(|event| matches!(event, LinkEvent::Unreachable { .. }))
        .await;
    let reason_of = |event| match event {
        LinkEvent::Unreachable { reason } => reason,
        _ => "",
    };
    assert_eq!(reason_of(reason), "redis is a replica, not the master");
    let store = RedisStore::new(settings(&pair.replica));
    let error = store.acquire_lease("lease", "a", TIMEOUT).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is a replica"), "{error}");
    // A message published through the store would not reach any subscriber either.
    assert!(store.publish("room", "x".into()).await.is_err());
    let () = query(&pair.replica, &["REPLICAOF", "NO", "ONE"]).await;
    member.up().await;
    assert_eq!(store.acquire_lease("lease", "a", TIMEOUT).await, Ok(true));
}

/// A message that must not be published twice goes through the store, which verifies its connection first.
#[tokio::test]
async fn the_store_does_not_publish_to_a_demoted_server() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let store = RedisStore::new(pair.settings());
    store.publish("room", "first".into()).await.unwrap();
    pair.fail_over();
    let mut other = join(settings(&pair.replica));
    other.up().await;
    other.subscribe(&["room"]).await;
    // A connection that has just published is not verified again at once.
    sleep(Duration::from_millis(1100)).await;
    assert!(store.publish("room", "lost".into()).await.is_err());
    pair.update_name();
    store.publish("room", "second".into()).await.unwrap();
    assert_eq!(other.message().await.1, "second");
}

#[tokio::test]
async fn a_user_without_permission_for_role_can_connect() {
    let user = "default on nopass ~* &* +@all -role".split(' ');
    let arguments: Vec<&str> = std::iter::once("--user").chain(user).collect();
    let Some(server) = RedisServer::start(&arguments) else {
        return;
    };
    let mut member = join(settings(&server));
    member.up().await;
    member.subscribe(&["room"]).await;
    member.publish("room", "received");
    assert_eq!(member.message().await.1, "received");
    let store = RedisStore::new(settings(&server));
    assert_eq!(store.acquire_lease("lease", "a", TIMEOUT).await, Ok(true));
}
