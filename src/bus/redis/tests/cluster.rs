//! A Redis Cluster of three masters and three replicas.

use super::*;
use crate::bus::link_tests::server::RedisCluster;
use crate::bus::redis::{TlsFiles, Topology};

/// Every channel is sharded.
fn sharded(cluster: &RedisCluster) -> RedisSettings {
    let mut settings = plain(cluster);
    settings.sharded_prefix = String::new();
    settings
}

/// Only pings are.
fn plain(cluster: &RedisCluster) -> RedisSettings {
    let url = cluster.masters[0].url();
    let mut settings = RedisSettings::new(&url, &Topology::Cluster, &TlsFiles::default()).unwrap();
    settings.ping_interval = Duration::from_millis(500);
    settings.spool.age = PATIENCE;
    settings
}

/// The first names of this form whose slots the three masters own.
fn one_each(cluster: &RedisCluster, form: &str) -> [String; 3] {
    [0, 1, 2].map(|wanted| {
        let mut names = (0..).map(|number| format!("{form}{number}"));
        names.find(|name| cluster.owner(name) == wanted).unwrap()
    })
}

#[tokio::test]
async fn the_suite_on_a_cluster() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    suite(|| join(sharded(&cluster))).await;
    suite(|| join(plain(&cluster))).await;
    let store = RedisStore::new(sharded(&cluster));
    for key in one_each(&cluster, "key") {
        assert_eq!(store.acquire_lease(&key, "a", PATIENCE).await, Ok(true));
        assert_eq!(store.acquire_lease(&key, "b", PATIENCE).await, Ok(false));
        assert_eq!(store.delete(&key).await, Ok(true));
    }
}

#[tokio::test]
async fn plain_channels_reach_those_who_know_no_cluster() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let mut member = join(plain(&cluster));
    member.up().await;
    member.hear(&["socketio"]).await;
    for master in &cluster.masters {
        let () = master.ask(&["PUBLISH", "socketio", "from a stranger"]);
        assert_eq!(member.message().await.1, "from a stranger");
    }
    let mut stranger = join(settings(&cluster.masters[1]));
    stranger.up().await;
    stranger.hear(&["socketio"]).await;
    member.say("socketio", "to a stranger");
    assert_eq!(stranger.message().await.1, "to a stranger");
}

#[tokio::test]
async fn channels_follow_their_slots() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut speaker, mut hearer) = (join(sharded(&cluster)), join(sharded(&cluster)));
    speaker.up().await;
    hearer.up().await;
    let [name, _, other] = one_each(&cluster, "room");
    hearer.hear(&[&name, &other]).await;
    cluster.move_slot(&name, 0, 2);
    hearer.confirmed(channels(&[&name])).await;
    for number in 0..50 {
        speaker.say(&name, &number.to_string());
    }
    for number in 0..50 {
        assert_eq!(
            hearer.message().await,
            (name.clone(), Bytes::from(number.to_string()))
        );
    }
    speaker.say(&other, "undisturbed");
    assert_eq!(hearer.message().await.1, "undisturbed");
}

#[tokio::test]
async fn order_is_kept_while_slots_move() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut speaker, mut hearer) = (join(sharded(&cluster)), join(sharded(&cluster)));
    speaker.up().await;
    hearer.up().await;
    let [name, ..] = one_each(&cluster, "room");
    hearer.hear(&[&name]).await;
    let said = async {
        for number in 0..400_u64 {
            speaker.say(&name, &number.to_string());
            sleep(Duration::from_millis(2)).await;
        }
        // Said until it is heard, because what is said while the hearer moves is not.
        loop {
            speaker.say(&name, "400");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let heard = async {
        let mut last = None;
        while last != Some(400_u64) {
            let number: u64 = String::from_utf8_lossy(&hearer.message().await.1)
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
        () = heard => {}
        () = said => unreachable!(),
        () = moving => unreachable!(),
    }
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_the_others_work_on() {
    let Some(mut cluster) = RedisCluster::start(None) else {
        return;
    };
    let (mut speaker, mut hearer) = (join(sharded(&cluster)), join(sharded(&cluster)));
    speaker.up().await;
    hearer.up().await;
    let [name, other, _] = one_each(&cluster, "room");
    hearer.hear(&[&name, &other]).await;
    cluster.masters[0].stop();
    speaker.down().await;
    hearer.down().await;
    speaker.say(&name, "kept meanwhile");
    speaker.say(&other, "undisturbed");
    assert_eq!(hearer.message().await.1, "undisturbed");
    hearer.up().await;
    speaker.up().await;
    assert_eq!(
        hearer.message().await,
        (name.clone(), "kept meanwhile".into())
    );
    assert!(cluster.replicas[0].says("role:master"));
    let counted = speaker.link.publish_counted(message(&name, "counted"));
    assert_eq!(counted.await, Ok(1));
}

#[tokio::test]
async fn a_single_subscription_lost_comes_back() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let mut member = join(sharded(&cluster));
    member.up().await;
    let names = one_each(&cluster, "room");
    member.hear(&[&names[0], &names[1]]).await;
    let killed: u64 = cluster.masters[1].ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 1);
    member.down().await;
    member.confirmed(channels(&[&names[1]])).await;
    member.up().await;
    for name in &names[..2] {
        member.say(name, "heard");
        assert_eq!(member.message().await, (name.clone(), "heard".into()));
    }
}

#[tokio::test]
async fn what_is_misconfigured_is_named() {
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
    let alone = RedisSettings::new(&single.url(), &Topology::Cluster, &TlsFiles::default());
    let store = RedisStore::new(alone.unwrap());
    let reason = store.get("key").await.unwrap_err().to_string();
    assert!(reason.contains("bus.cluster = false"), "{reason}");
}
