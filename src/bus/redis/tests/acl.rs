//! Passwords, ACL users with exactly the documented permissions, and the errors for missing ones.

use super::*;
use crate::bus::link_tests::room_logs;
use crate::bus::link_tests::server::{RedisCluster, SentinelSetup};
use crate::bus::redis::Topology;
use crate::config::Secret;
use crate::tls::ClientTlsFiles;

/// The rules in docs/operations.md in their order: single server, Redis Cluster, Sentinel.
fn documented_rules() -> Vec<Vec<String>> {
    let text = include_str!("../../../../docs/operations.md");
    let rules = text.lines().filter(|line| line.starts_with("ACL SETUSER "));
    rules
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

fn set_user(server: &RedisServer, rule: &[String]) {
    let () = server.query(&rule.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Verifies that the link, the python channel and the lease work with these settings, and no permission is missing.
async fn works(mut settings: RedisSettings) {
    settings.channel_prefix = "roomwire:0".to_owned();
    settings.sharded_prefix = "roomwire:0:".to_owned();
    settings.linger = Duration::from_millis(10);
    let store = RedisStore::new(settings.clone());
    for number in 0..20 {
        let key = format!("roomwire:0:lease:{number}");
        assert_eq!(store.acquire_lease(&key, "a", TIMEOUT).await, Ok(true));
        assert!(store.renew(&key, "a", TIMEOUT).await.is_ok());
        assert_eq!(store.release(&key, "a").await, Ok(()));
    }
    let mut member = join(settings);
    member.up().await;
    member
        .subscribe(&["roomwire:0:all", "roomwire:0:room:/#x", "socketio"])
        .await;
    for name in ["roomwire:0:all", "roomwire:0:room:/#x", "socketio"] {
        member.publish(name, "allowed");
        assert_eq!(member.message().await, (name.to_owned(), "allowed".into()));
    }
    member
        .link
        .unsubscribe(channels(&["roomwire:0:all", "socketio"]));
    // The channels are unsubscribed by now; an error would have closed the connection.
    sleep(Duration::from_millis(300)).await;
    member.subscribe(&["roomwire:0:all"]).await;
    while let Some(event) = member.events.try_next() {
        assert!(
            !matches!(
                event,
                LinkEvent::Down { .. } | LinkEvent::SpoolDropped { .. }
            ),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn the_documented_permissions_suffice() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    set_user(&server, &documented_rules()[0]);
    let () = server.query(&["ACL", "SETUSER", "default", "on", ">other"]);
    let url = format!("redis://roomwire:secret@127.0.0.1:{}/0", server.port);
    works(RedisSettings::parse(&url).unwrap()).await;
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_logs() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let text = include_str!("../../../../docs/operations.md");
    let begin = text.find("~{roomwire:0:log}:*").unwrap();
    let (added, _) = text[begin..].split_once('`').unwrap();
    let mut rule = documented_rules()[0].clone();
    // The channels of the suite have names of their own.
    rule.extend(
        added
            .split_whitespace()
            .chain(["&log:*"])
            .map(str::to_owned),
    );
    set_user(&server, &rule);
    let url = format!("redis://roomwire:secret@127.0.0.1:{}/0", server.port);
    let mut settings = RedisSettings::parse(&url).unwrap();
    settings.channel_prefix = "roomwire:0".to_owned();
    room_logs::suite(|| join(settings.clone())).await;
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_a_cluster() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    for server in &cluster.masters {
        set_user(server, &documented_rules()[1]);
    }
    let url = format!(
        "redis://roomwire:secret@127.0.0.1:{}",
        cluster.masters[0].port
    );
    let settings = RedisSettings::new(&url, &Topology::Cluster, &ClientTlsFiles::default());
    works(settings.unwrap()).await;
}

#[tokio::test]
async fn the_documented_permissions_suffice_for_sentinels() {
    let Some(servers) = SentinelSetup::start() else {
        return;
    };
    let rules = documented_rules();
    for server in &servers.servers {
        set_user(server, &rules[2]);
    }
    for sentinel in &servers.sentinels {
        set_user(sentinel, &rules[3]);
    }
    let topology = Topology::Sentinel {
        sentinels: servers.addresses(),
        service: "main".to_owned(),
        user: Some("roomwire".to_owned()),
        password: Some(Secret::from("secret")),
    };
    let settings = RedisSettings::new(
        "redis://roomwire:secret@main/0",
        &topology,
        &ClientTlsFiles::default(),
    );
    works(settings.unwrap()).await;
}

#[tokio::test]
async fn missing_credentials_are_named_in_the_error() {
    let Some(server) = RedisServer::start(&["--requirepass", "s3cret"]) else {
        return;
    };
    let rejected = "redis rejects the user or the password";
    for (login, named, summary) in [
        ("", "NOAUTH", "redis requires a password"),
        (
            ":wrong-s3cret@",
            "user and password in bus.redis_url",
            rejected,
        ),
        (
            "ann:s3cret@",
            "user and password in bus.redis_url",
            rejected,
        ),
    ] {
        let url = format!("redis://{login}127.0.0.1:{}", server.port);
        let mut member = join(RedisSettings::parse(&url).unwrap());
        let store = RedisStore::new(RedisSettings::parse(&url).unwrap());
        let reason = store.get("key").await.unwrap_err().to_string();
        assert!(
            reason.contains(named) && reason.contains("bus.redis_url"),
            "{reason}"
        );
        assert!(!reason.contains("s3cret"), "{reason}");
        let reason = LinkEvent::Unreachable { reason: summary };
        assert_eq!(member.any().await, reason);
        assert_eq!(member.events.try_next(), None, "never up");
        drop(member);
    }
}

#[tokio::test]
async fn a_denied_channel_is_named_in_the_error() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let rules = "ACL SETUSER ann on >s3cret +@all ~* resetchannels &roomwire:* &allowed";
    let () = server.query(&rules.split(' ').collect::<Vec<_>>());
    let url = format!("redis://ann:s3cret@127.0.0.1:{}", server.port);
    let mut member = join(RedisSettings::parse(&url).unwrap());
    member.up().await;
    member.link.subscribe(channels(&["forbidden"]));
    let down = member
        .wait(|event| matches!(event, LinkEvent::Down { .. }))
        .await;
    let LinkEvent::Down { reason } = down else {
        unreachable!()
    };
    assert!(
        reason.contains("SUBSCRIBE forbidden") && reason.contains("ACL user"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_password_is_sent_to_the_server() {
    let Some(server) = RedisServer::start(&["--requirepass", "s3cret"]) else {
        return;
    };
    let with = |password: &str| {
        let url = format!("redis://:{password}@127.0.0.1:{}", server.port);
        RedisSettings::parse(&url).unwrap()
    };
    let mut member = join(with("s3cret"));
    member.up().await;
    member.subscribe(&["room"]).await;
    member.publish("room", "open");
    assert_eq!(member.message().await.1, "open");
    let wrong = join(with("wrong-s3cret"));
    let counted = wrong.link.publish_counted(message("room", "x"));
    assert_eq!(counted.await, Err(LinkDown));
}

#[tokio::test]
async fn a_denied_message_does_not_affect_others() {
    let Some(server) = RedisServer::start(&[]) else {
        return;
    };
    let rules = "ACL SETUSER ann on >s3cret +@all ~* resetchannels &roomwire:* &allowed";
    let _: String = query(&server, &rules.split(' ').collect::<Vec<_>>()).await;
    let url = format!("redis://ann:s3cret@127.0.0.1:{}", server.port);
    let mut member = join(RedisSettings::parse(&url).unwrap());
    member.up().await;
    member.subscribe(&["allowed"]).await;
    let rejected = member.link.publish_counted(message("forbidden", "x"));
    member.publish("allowed", "received");
    assert_eq!(rejected.await, Err(LinkDown));
    let dropped = member.next().await;
    assert!(
        matches!(dropped, LinkEvent::SpoolDropped { messages: 1, .. })
            || matches!(dropped, LinkEvent::Message { .. }),
        "{dropped:?}"
    );
    let next = member.next().await;
    assert!(!matches!(next, LinkEvent::Down { .. }), "{next:?}");
}
