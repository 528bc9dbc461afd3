//! `roomwire health`: what a container asks its node.

use std::net::TcpListener;

use crate::support::process::{Node, run, text};

/// An address nobody listens on, for now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Exit code and everything printed by `roomwire health`.
fn health(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(&[&["health"], arguments].concat(), environment);
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), text(&printed).to_owned())
}

#[test]
fn a_node_is_asked_where_its_configuration_says() {
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
        let (code, answer) = health(&["--ready"], &environment);
        assert_eq!(code, Some(0), "{answer}");
        assert!(answer.starts_with("ready\n"), "{answer}");
    }
}

#[test]
fn a_node_that_is_alive_but_not_ready_says_why() {
    let address = free_address();
    // Nobody listens on port 1.
    let environment = [
        ("ROOMWIRE_SERVER__BIND", address.as_str()),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://127.0.0.1:1"),
        ("ROOMWIRE_BUS__REQUIRED", "true"),
    ];
    let node = Node::start(&environment);
    node.line("path=/socket.io/");
    assert_eq!(health(&[], &environment).0, Some(0));
    let (code, answer) = health(&["--ready"], &environment);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer.contains("503") && answer.contains("redis is away"));
}

#[test]
fn no_node_a_deaf_one_and_no_port_are_told_apart() {
    let nobody = free_address();
    let (code, answer) = health(&[], &[("ROOMWIRE_SERVER__BIND", &nobody)]);
    assert_eq!(code, Some(1));
    assert!(
        answer.contains(&nobody) && answer.contains("refused"),
        "{answer}"
    );

    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = deaf.local_addr().unwrap().to_string();
    let (code, answer) = health(&[], &[("ROOMWIRE_SERVER__BIND", &address)]);
    assert_eq!(code, Some(1));
    assert!(answer.contains("did not respond within 2 s"), "{answer}");

    let (code, answer) = health(&[], &[("ROOMWIRE_SERVER__BIND", "127.0.0.1:0")]);
    assert_eq!(code, Some(1));
    assert!(answer.contains("server.bind has port 0"), "{answer}");
    let (code, _) = health(&[], &[("ROOMWIRE_SERVER__BIND", "nonsense")]);
    assert_eq!(code, Some(2), "a configuration that is refused");
}
