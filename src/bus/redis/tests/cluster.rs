//! A Redis Cluster of three masters and three replicas.

use super::*;
use crate::bus::link_tests::presence::presence;
use crate::bus::link_tests::server::RedisCluster;
use crate::bus::link_tests::stores::{shared_keys, shared_streams};
use crate::bus::redis::Topology;
use crate::tls::ClientTlsFiles;

/// Settings with which every channel is sharded.
fn sharded(cluster: &RedisCluster) -> RedisSettings {
    let mut settings = plain(cluster);
    settings.sharded_prefix = String::new();
    settings
}

/// Settings with which only ping channels are sharded.
fn plain(cluster: &RedisCluster) -> RedisSettings {
    let url = cluster.masters[0].url();
    let mut settings =
        RedisSettings::new(&url, &Topology::Cluster, &ClientTlsFiles::default()).unwrap();
    settings.ping_interval = Duration::from_millis(500);
    settings.spool.age = TIMEOUT;
    settings
}

/// One name for each of the three masters, whose slot it owns.
fn one_each(cluster: &RedisCluster, form: &str) -> [String; 3] {
    [0, 1, 2].map(|master| {
        let mut names = (0..).map(|number| format!("{form}{number}"));
        names.find(|name| cluster.owner(name) == master).unwrap()
    })
}

#[tokio::test]
async fn the_suite_on_a_cluster() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    suite(|| join(sharded(&cluster))).await;
    suite(|| join(plain(&cluster))).await;
    patterns(|| join(plain(&cluster))).await;
    let store = RedisStore::new(sharded(&cluster));
    presence(&store).await;
    shared_keys(&store).await;
    shared_streams(&store).await;
    for key in one_each(&cluster, "key") {
        assert_eq!(store.acquire_lease(&key, "a", TIMEOUT).await, Ok(true));
        assert_eq!(store.acquire_lease(&key, "b", TIMEOUT).await, Ok(false));
        assert_eq!(store.delete(&key).await, Ok(true));
    }
}

#[tokio::test]
async fn plain_channels_reach_clients_without_cluster_support() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let mut member = join(plain(&cluster));
    member.up().await;
    member.subscribe(&["socketio"]).await;
    for master in &cluster.masters {
        let () = master.query(&["PUBLISH", "socketio", "from another client"]);
        assert_eq!(member.message().await.1, "from another client");
    }
    let mut other = join(settings(&cluster.masters[1]));
    other.up().await;
    other.subscribe(&["socketio"]).await;
    member.publish("socketio", "to another client");
    assert_eq!(other.message().await.1, "to another client");
}

#[tokio::test]
async fn the_receivers_of_plain_channels_are_counted_at_all_masters() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let mut publisher = join(plain(&cluster));
    publisher.up().await;
    let count = || {
        publisher
            .link
            .publish_counted(message("socket.io-request#/#", "x"))
    };
    assert_eq!(count().await, Ok(0));
    let mut subscribers = Vec::new();
    for master in &cluster.masters {
        let mut other = join(settings(master));
        other.up().await;
        other.subscribe(&["socket.io-request#/#"]).await;
        subscribers.push(other);
    }
    assert_eq!(count().await, Ok(3));
    let mut member = join(plain(&cluster));
    member.up().await;
    member.subscribe(&["socket.io-request#/#"]).await;
    assert_eq!(count().await, Ok(4));
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.message().await.1, "x");
    }
}

#[tokio::test]
async fn channels_follow_their_slots() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut publisher, mut subscriber) = (join(sharded(&cluster)), join(sharded(&cluster)));
    publisher.up().await;
    subscriber.up().await;
    let [name, _, other] = one_each(&cluster, "room");
    subscriber.subscribe(&[&name, &other]).await;
    cluster.move_slot(&name, 0, 2);
    subscriber.confirmed(channels(&[&name])).await;
    for number in 0..50 {
        publisher.publish(&name, &number.to_string());
    }
    for number in 0..50 {
        assert_eq!(
            subscriber.message().await,
            (name.clone(), Bytes::from(number.to_string()))
        );
    }
    publisher.publish(&other, "undisturbed");
    assert_eq!(subscriber.message().await.1, "undisturbed");
}

#[tokio::test]
async fn order_is_kept_while_slots_move() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut publisher, mut subscriber) = (join(sharded(&cluster)), join(sharded(&cluster)));
    publisher.up().await;
    subscriber.up().await;
    let [name, ..] = one_each(&cluster, "room");
    subscriber.subscribe(&[&name]).await;
    let publishing = async {
        for number in 0..400_u64 {
            publisher.publish(&name, &number.to_string());
            sleep(Duration::from_millis(2)).await;
        }
        // Repeated until it is received, because messages published while the subscription moves may be lost.
        loop {
            publisher.publish(&name, "400");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let receiving = async {
        let mut last = None;
        while last != Some(400_u64) {
            let number: u64 = String::from_utf8_lossy(&subscriber.message().await.1)
                .parse()
                .unwrap();
            assert!(last < Some(number), "{last:?} before {number}");
            last = Some(number);
        }
    };
    let moving = async {
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            sleep(Duration::from_millis(200)).await;
            cluster.move_slot(&name, from, to);
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = receiving => {}
        () = publishing => unreachable!(),
        () = moving => unreachable!(),
    }
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_the_others_keep_working() {
    let Some(mut cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut publisher, mut subscriber) = (join(sharded(&cluster)), join(sharded(&cluster)));
    publisher.up().await;
    subscriber.up().await;
    let [name, other, _] = one_each(&cluster, "room");
    subscriber.subscribe(&[&name, &other]).await;
    cluster.masters[0].stop();
    publisher.down().await;
    subscriber.down().await;
    publisher.publish(&name, "kept meanwhile");
    publisher.publish(&other, "undisturbed");
    assert_eq!(subscriber.message().await.1, "undisturbed");
    subscriber.up().await;
    publisher.up().await;
    assert_eq!(
        subscriber.message().await,
        (name.clone(), "kept meanwhile".into())
    );
    assert!(cluster.replicas[0].has_info("role:master"));
    let counted = publisher.link.publish_counted(message(&name, "counted"));
    assert_eq!(counted.await, Ok(1));
}

#[tokio::test]
async fn a_killed_subscription_of_one_master_is_restored() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let mut member = join(sharded(&cluster));
    member.up().await;
    let names = one_each(&cluster, "room");
    member.subscribe(&[&names[0], &names[1]]).await;
    let killed: u64 = cluster.masters[1].query(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 1);
    member.down().await;
    member.confirmed(channels(&[&names[1]])).await;
    member.up().await;
    for name in &names[..2] {
        member.publish(name, "received");
        assert_eq!(member.message().await, (name.clone(), "received".into()));
    }
}

#[tokio::test]
async fn a_wrong_topology_is_named_in_the_error() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let Some(single) = RedisServer::start(&[]) else {
        return;
    };
    let store = RedisStore::new(settings(&cluster.masters[0]));
    let [_, elsewhere, _] = one_each(&cluster, "key");
    let reason = store.get(&elsewhere).await.unwrap_err().to_string();
    assert!(reason.contains("bus.cluster = true"), "{reason}");
    let alone = RedisSettings::new(
        &single.url(),
        &Topology::Cluster,
        &ClientTlsFiles::default(),
    );
    let store = RedisStore::new(alone.unwrap());
    let reason = store.get("key").await.unwrap_err().to_string();
    assert!(reason.contains("bus.cluster = false"), "{reason}");
}
