//! TLS with server and client certificates, and the errors for invalid ones.

use super::*;
use crate::bus::link_tests::server::Certificates;
use crate::bus::redis::Topology;
use crate::tls::ClientTlsFiles;

fn start(certificates: &Certificates, name: &str, clients: &str) -> Option<RedisServer> {
    let options = certificates.options(name, clients);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    RedisServer::start_tls(&options)
}

fn over_tls(server: &RedisServer, files: &ClientTlsFiles) -> RedisSettings {
    let url = format!("rediss://127.0.0.1:{}", server.port);
    RedisSettings::new(&url, &Topology::Single, files).unwrap()
}

fn trusting(certificates: &Certificates) -> ClientTlsFiles {
    ClientTlsFiles {
        ca: Some(certificates.path("ca.pem")),
        identity: None,
    }
}

fn identified(certificates: &Certificates) -> ClientTlsFiles {
    ClientTlsFiles {
        identity: Some((
            certificates.path("client.pem"),
            certificates.path("client.key"),
        )),
        ..trusting(certificates)
    }
}

#[tokio::test]
async fn the_suite_over_tls() {
    let certificates = Certificates::new();
    let Some(server) = start(&certificates, "server", "no") else {
        return;
    };
    suite(|| join(over_tls(&server, &trusting(&certificates)))).await;
}

#[tokio::test]
async fn client_certificates_are_sent() {
    let certificates = Certificates::new();
    let Some(server) = start(&certificates, "server", "yes") else {
        return;
    };
    let mut member = join(over_tls(&server, &identified(&certificates)));
    member.up().await;
    member.subscribe(&["room"]).await;
    member.publish("room", "trusted");
    assert_eq!(member.message().await.1, "trusted");
    let store = RedisStore::new(over_tls(&server, &identified(&certificates)));
    assert_eq!(store.get("key").await, Ok(None));
}

/// The error of a store with these settings.
async fn rejection(settings: RedisSettings) -> String {
    RedisStore::new(settings)
        .get("key")
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn the_setting_at_fault_is_named() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let Some(server) = start(&certificates, "server", "yes") else {
        return;
    };
    let Some(elsewhere) = start(&certificates, "other", "no") else {
        return;
    };
    let Some(plain) = RedisServer::start(&[]) else {
        return;
    };
    let cases = [
        (over_tls(&server, &trusting(&others)), "bus.tls_ca"),
        (over_tls(&server, &trusting(&certificates)), "bus.tls_cert"),
        (
            over_tls(
                &server,
                &ClientTlsFiles {
                    ca: Some(certificates.path("ca.pem")),
                    ..identified(&others)
                },
            ),
            "bus.tls_cert",
        ),
        (
            over_tls(&elsewhere, &trusting(&certificates)),
            "bus.redis_url must be on it",
        ),
        (
            over_tls(&plain, &trusting(&certificates)),
            "bus.redis_url begins with redis://",
        ),
    ];
    for (settings, named) in cases {
        let reason = rejection(settings).await;
        assert!(reason.contains(named), "{named}: {reason}");
    }
}

#[tokio::test]
async fn invalid_files_are_named() {
    let certificates = Certificates::new();
    let rejected = |ca: &str, certificate: &str, key: &str| {
        let files = ClientTlsFiles {
            ca: Some(certificates.path(ca)),
            identity: Some((certificates.path(certificate), certificates.path(key))),
        };
        let settings = RedisSettings::new("rediss://x", &Topology::Single, &files);
        settings.unwrap_err().to_string()
    };
    for (files, named) in [
        (["missing.pem", "client.pem", "client.key"], "bus.tls_ca"),
        (["client.key", "client.pem", "client.key"], "bus.tls_ca"),
        (["ca.pem", "client.key", "client.key"], "bus.tls_cert"),
        (["ca.pem", "client.pem", "client.pem"], "bus.tls_key"),
        (["ca.pem", "client.pem", "other.key"], "bus.tls_key"),
    ] {
        let reason = rejected(files[0], files[1], files[2]);
        assert!(reason.starts_with(named), "{named}: {reason}");
    }
}
