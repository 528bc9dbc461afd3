//! Nodes on a real Redis Cluster over TLS, including the failure of a master; and the response of the readiness probe if
//! Redis cannot be used.

use std::sync::Arc;

use roomwire::model::Random;
use roomwire::model::random::OsRandom;
use roomwire::server::BusHandles;

use crate::support::redis::{Certificates, RedisCluster, RedisServer};
use crate::support::server::config;
use crate::support::{TestServer, WebsocketClient, eventually};

/// Two nodes connected to the bus.
async fn nodes(cluster: &RedisCluster, certificates: &Certificates) -> [TestServer; 2] {
    let url = format!(
        "rediss://127.0.0.1:{}",
        cluster.masters[0].tls_port.unwrap()
    );
    let [ca, certificate, key] =
        ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));
    let config = config(&[
        ("BUS__REDIS_URL", &url),
        ("BUS__CLUSTER", "true"),
        ("BUS__TLS_CA", ca.to_str().unwrap()),
        ("BUS__TLS_CERT", certificate.to_str().unwrap()),
        ("BUS__TLS_KEY", key.to_str().unwrap()),
        ("BUS__PING_INTERVAL", "500ms"),
        ("BUS__SPOOL_AGE", "1m"),
    ]);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let start = || async {
        let handles = BusHandles::from_config(&config, &random).unwrap();
        let node = TestServer::configured(config.clone(), handles).await;
        node.readyz("bus: up").await;
        node
    };
    [start().await, start().await]
}

/// One room for each master, whose channel it owns.
fn rooms(cluster: &RedisCluster) -> [String; 3] {
    [0, 1, 2].map(|master| {
        let mut names = (0..).map(|number| format!("room {number}"));
        names
            .find(|name| cluster.owner(&format!("roomwire:0:room:/#{name}")) == master)
            .unwrap()
    })
}

async fn expect_delivery(from: &mut WebsocketClient, to: &mut WebsocketClient, room: &str) {
    from.emit(room, &format!(r#""sent","{room}""#)).await;
    to.expect(&format!(r#"42["sent","{room}"]"#)).await;
}

#[actix_rt::test]
async fn two_nodes_exchange_messages_over_a_redis_cluster_with_tls() {
    let certificates = Certificates::new();
    let Some(mut cluster) = RedisCluster::start(Some(&certificates)) else {
        return;
    };
    let [first, second] = nodes(&cluster, &certificates).await;
    let rooms = rooms(&cluster);
    let (mut a, mut b) = (first.member().await, second.member().await);
    for room in &rooms {
        a.join(room).await;
        assert_eq!(b.join(room).await.get("degraded"), None);
    }
    for room in &rooms {
        expect_delivery(&mut a, &mut b, room).await;
        expect_delivery(&mut b, &mut a, room).await;
    }
    // A session whose requests are sent to the other node.
    let mut roaming = first.polling().await;
    roaming.turn_to(&second.address());
    roaming.connect().await;
    roaming.join(&rooms[0]).await;
    b.emit(&rooms[0], r#""to all""#).await;
    roaming.expect(r#"42["to all"]"#).await;
    a.expect(r#"42["to all"]"#).await;
    assert!(second.metrics().forwarded_total.get() >= 2);

    cluster.masters[0].stop();
    for node in [&first, &second] {
        eventually("a lost master is noticed", || {
            node.metrics().bus_disconnects_total.get() > 0
        })
        .await;
    }
    // Rooms of the other masters keep working, those of the failed one work once its replica is promoted.
    expect_delivery(&mut a, &mut b, &rooms[1]).await;
    expect_delivery(&mut b, &mut a, &rooms[2]).await;
    for node in [&first, &second] {
        assert_eq!(node.readyz("bus: up").await, 200);
    }
    expect_delivery(&mut a, &mut b, &rooms[0]).await;
    expect_delivery(&mut b, &mut a, &rooms[0]).await;
}

#[actix_rt::test]
async fn readyz_reports_why_redis_cannot_be_used() {
    let Some(master) = RedisServer::start(&["--requirepass", "right"]) else {
        return;
    };
    let port = master.port.to_string();
    let replica = ["--replicaof", "127.0.0.1", &port, "--masterauth", "right"];
    let Some(replica) = RedisServer::start(&replica) else {
        return;
    };
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let cases = [
        (
            format!("redis://:wrong@127.0.0.1:{port}"),
            "bus: degraded: redis rejects the user or the password; ",
        ),
        (
            format!("redis://127.0.0.1:{port}"),
            "bus: degraded: redis requires a password; ",
        ),
        (
            format!("redis://127.0.0.1:{}", replica.port),
            "bus: degraded: redis is a replica, not the master; ",
        ),
    ];
    for (url, reason) in cases {
        let config = config(&[("BUS__REDIS_URL", &url)]);
        let handles = BusHandles::from_config(&config, &random).unwrap();
        let node = TestServer::configured(config, handles).await;
        assert_eq!(node.readyz(reason).await, 200, "{reason}");
    }
}

/// Names of the keys in a database of the server.
fn keys(server: &RedisServer, database: u8) -> Vec<String> {
    let url = format!("{}/{database}", server.url());
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd("KEYS").arg("*").query(&mut connection).unwrap()
}

#[actix_rt::test]
async fn a_database_in_the_query_of_the_url_holds_the_lease_and_names_the_channels() {
    let socket = std::env::temp_dir().join(format!("roomwire-it-{}.sock", std::process::id()));
    let socket = socket.to_str().unwrap();
    let Some(server) = RedisServer::start(&["--unixsocket", socket]) else {
        return;
    };
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let urls = [
        format!("redis://127.0.0.1:{}?db=2", server.port),
        format!("unix://{socket}?db=2"),
    ];
    for url in urls {
        let config = config(&[("BUS__REDIS_URL", &url)]);
        let handles = BusHandles::from_config(&config, &random).unwrap();
        let node = TestServer::configured(config, handles).await;
        node.readyz("bus: up").await;
        let held = keys(&server, 2);
        assert_eq!(held.len(), 1, "{held:?}");
        assert!(held[0].starts_with("roomwire:2:lease:"), "{held:?}");
        assert_eq!(keys(&server, 0), [""; 0]);
        let () = server.query(&["FLUSHALL"]);
    }
}

#[actix_rt::test]
async fn a_query_to_a_room_that_was_just_left_completes_at_once() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let config = config(&[("BUS__REDIS_URL", &server.url())]);
    let start = || async {
        let handles = BusHandles::from_config(&config, &random).unwrap();
        let node = TestServer::configured(config.clone(), handles).await;
        node.readyz("bus: up").await;
        node
    };
    let (first, second) = (start().await, start().await);
    let (mut a, mut b) = (first.member().await, second.member().await);
    a.join("r").await;
    b.join("r").await;
    // Both nodes stay subscribed to the channel for some seconds.
    for client in [&mut a, &mut b] {
        client.ask(r#"["roomwire:leave","r"]"#).await;
    }
    let begun = std::time::Instant::now();
    let response = a.ask(r#"["roomwire:ask","r","q"]"#).await;
    assert!(response.contains("no_answer"), "{response}");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}
