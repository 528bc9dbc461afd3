//! `roomwire health`, the health check of a container.

use std::net::TcpListener;

use crate::support::process::{Node, free_address, run, text};

/// Exit code and everything printed by `roomwire health`.
fn health(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(&[&["health"], arguments].concat(), environment);
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), text(&printed).to_owned())
}

#[test]
fn the_probe_is_sent_to_the_configured_address() {
    let port = free_address().replace("127.0.0.1:", "");
    let everywhere = format!("0.0.0.0:{port}");
    let internal = free_address();
    let cases = [
        vec![("ROOMWIRE_SERVER__BIND", everywhere.as_str())],
        vec![
            ("ROOMWIRE_SERVER__INTERNAL_BIND", internal.as_str()),
            ("ROOMWIRE_SERVER__PUBLIC_PROBES", "off"),
        ],
    ];
    for environment in cases {
        let node = Node::start(&environment);
        node.line("path=/socket.io/");
        let ok = (Some(0), "ok\n".to_owned());
        assert_eq!(health(&[], &environment), ok, "{environment:?}");
        let (code, response) = health(&["--ready"], &environment);
        assert_eq!(code, Some(0), "{response}");
        assert!(response.starts_with("ready\n"), "{response}");
    }
}

#[test]
fn a_node_that_is_not_ready_reports_the_reason() {
    let address = free_address();
    // No process listens on port 1.
    let environment = [
        ("ROOMWIRE_SERVER__BIND", address.as_str()),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://127.0.0.1:1"),
        ("ROOMWIRE_BUS__REQUIRED", "true"),
    ];
    let node = Node::start(&environment);
    node.line("path=/socket.io/");
    assert_eq!(health(&[], &environment).0, Some(0));
    let (code, response) = health(&["--ready"], &environment);
    assert_eq!(code, Some(1), "{response}");
    assert!(response.contains("503") && response.contains("redis is away"));
}

#[test]
fn connection_refused_a_timeout_and_a_missing_port_are_reported_differently() {
    let unused = free_address();
    let (code, response) = health(&[], &[("ROOMWIRE_SERVER__BIND", &unused)]);
    assert_eq!(code, Some(1));
    assert!(
        response.contains(&unused) && response.contains("Connection refused"),
        "{response}"
    );

    let unresponsive = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unresponsive.local_addr().unwrap().to_string();
    let (code, response) = health(&[], &[("ROOMWIRE_SERVER__BIND", &address)]);
    assert_eq!(code, Some(1));
    assert!(
        response.contains("did not respond within 2 s"),
        "{response}"
    );

    let (code, response) = health(&[], &[("ROOMWIRE_SERVER__BIND", "127.0.0.1:0")]);
    assert_eq!(code, Some(1));
    assert!(response.contains("server.bind has port 0"), "{response}");
    let (code, _) = health(&[], &[("ROOMWIRE_SERVER__BIND", "nonsense")]);
    assert_eq!(code, Some(2), "an invalid configuration");
}
