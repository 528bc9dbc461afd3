//! The binary as an operator runs it: arguments, environment, exit codes, signals.

use crate::support::process::{Node, run, text};
use crate::support::server::write_file;

#[test]
fn every_problem_is_reported_at_once_with_code_2() {
    let environment = [
        ("ROOMWIRE_ENGINE__PING_INTERVALL", "1s"),
        ("ROOMWIRE_SOCKET__MAX_NAMESPACES", "0"),
        ("ROOMWIRE_SERVER__WORKERS", "many"),
    ];
    for verb in ["serve", "check", "config"] {
        let output = run(&[verb], &environment);
        let problems = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{verb}: {problems}");
        assert!(
            problems.contains("did you mean ROOMWIRE_ENGINE__PING_INTERVAL?"),
            "{problems}"
        );
        assert!(problems.contains("socket.max_namespaces"), "{problems}");
        assert!(problems.contains("server.workers"), "{problems}");
    }
}

#[test]
fn a_mistyped_key_in_a_file_is_named_with_its_likely_meaning() {
    let file = write_file(
        "mistyped.toml",
        "[engine]\nping_intervall = \"1s\"\n\n[sockets]\n",
    );
    let path = file.to_str().unwrap();
    let output = run(&["check", "--config", path], &[]);
    let problems = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(problems.contains("mistyped.toml"), "{problems}");
    assert!(
        problems.contains("did you mean") && problems.contains("ping_interval"),
        "{problems}"
    );
    let missing = run(&["check", "--config", "/nowhere/roomwire.toml"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("/nowhere/roomwire.toml"));
}

#[test]
fn a_valid_configuration_is_accepted() {
    let output = run(&["check"], &[]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "configuration is fine\n")
    );
    let wrong = run(&["sevre"], &[]);
    assert_eq!(wrong.status.code(), Some(2));
    let version = run(&["--version"], &[]);
    assert_eq!(
        text(&version.stdout),
        concat!("roomwire ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn secrets_are_never_printed() {
    let environment = [(
        "ROOMWIRE_BUS__REDIS_URL",
        "redis://user:s3cret@localhost:6379/3",
    )];
    let output = run(&["config"], &environment);
    let printed = text(&output.stdout);
    assert!(output.status.success());
    assert!(
        printed.contains("localhost:6379/3") && !printed.contains("s3cret"),
        "{printed}"
    );
    let wrong = [environment[0], ("ROOMWIRE_SERVER__WORKERS", "many")];
    assert!(!text(&run(&["check"], &wrong).stderr).contains("s3cret"));
    let unusable = run(
        &["check"],
        &[("ROOMWIRE_BUS__REDIS_URL", "redis://user:s3cret@:port")],
    );
    assert_eq!(unusable.status.code(), Some(2));
    assert!(
        !text(&unusable.stderr).contains("s3cret"),
        "{}",
        text(&unusable.stderr)
    );
}

#[test]
fn secrets_are_printed_in_no_form_of_a_url() {
    let printed = |arguments: &[&str], name: &str, value: &str| {
        let output = run(
            arguments,
            &[(name, value), ("ROOMWIRE_APP__KIND", "upstream")],
        );
        let printed = [output.stdout, output.stderr].concat();
        text(&printed).to_owned()
    };
    for (name, value) in [
        ("ROOMWIRE_BUS__REDIS_URL", "redis://s3cret@localhost"),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://:s3cret@localhost"),
        (
            "ROOMWIRE_BUS__REDIS_URL",
            "redis://localhost?PASSWORD=s3cret",
        ),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://localhost?auth=s3cret"),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://localhost/s3cret"),
        ("ROOMWIRE_BUS__REDIS_URL", "redis://localhost#s3cret"),
        ("ROOMWIRE_BUS__REDIS_URL", "s3cret@localhost:6379"),
        ("ROOMWIRE_BUS__SENTINELS", "redis://:s3cret@localhost:26379"),
        ("ROOMWIRE_BUS__SENTINELS", "user:s3cret@localhost:26379"),
        ("ROOMWIRE_BUS__SENTINEL_PASSWORD", "s3cret"),
        (
            "ROOMWIRE_APP__UPSTREAM__URLS",
            "http://user:s3cret@localhost",
        ),
        ("ROOMWIRE_APP__UPSTREAM__URLS", "http://s3cret@localhost"),
        (
            "ROOMWIRE_APP__UPSTREAM__URLS",
            "http://localhost/?token=s3cret",
        ),
        (
            "ROOMWIRE_APP__UPSTREAM__URLS",
            "https://localhost/?token=s3cret",
        ),
        (
            "ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS",
            "http://localhost/s3cret",
        ),
        ("ROOMWIRE_APP__OPEN_WEBUI__SECRET_KEY", "s3cret"),
        ("WEBSOCKET_MANAGER", "redis://:s3cret@localhost"),
    ] {
        for verb in ["check", "config"] {
            let printed = printed(&[verb], name, value);
            assert!(!printed.is_empty(), "{verb} {name}={value}");
            assert!(
                !printed.contains("s3cret"),
                "{verb} {name}={value}: {printed}"
            );
        }
    }
}

#[test]
fn an_unknown_log_level_is_rejected_by_name() {
    for (name, value) in [
        ("RUST_LOG", "bogus"),
        ("ROOMWIRE_LOG__FILTER", "verbose"),
        ("RUST_LOG", "info,roomwire=loud"),
    ] {
        for verb in ["check", "serve"] {
            let output = run(&[verb], &[(name, value)]);
            assert_eq!(output.status.code(), Some(2), "{verb} {name}={value}");
            let printed = text(&output.stderr);
            assert!(
                printed.contains(&format!("error: log.filter ({name})"))
                    && printed.contains("not one of off, error, warn, info, debug, trace"),
                "{printed}"
            );
        }
    }
    let others = run(&["check"], &[("RUST_LOG", "hyper=debug")]);
    assert!(others.status.success());
    let printed = text(&others.stdout);
    assert!(
        printed.contains(
            "warning: log.filter (RUST_LOG): `hyper=debug` hides all log lines of Roomwire"
        ),
        "{printed}"
    );
}

#[test]
fn an_unknown_variable_is_reported_with_the_key_it_probably_means() {
    let environment = [
        ("ROOMWIRE_REDIS_URL", "redis://localhost"),
        ("ROOMWIRE_BIND", "127.0.0.1:0"),
        ("ROOMWIRE_LOG__FILTER", "info"),
    ];
    let printed = run(&["check"], &environment);
    assert!(printed.status.success());
    let node = Node::start(&environment[..1]);
    for (name, meant) in [
        ("ROOMWIRE_REDIS_URL", "ROOMWIRE_BUS__REDIS_URL"),
        (
            "ROOMWIRE_BIND",
            "ROOMWIRE_SERVER__BIND or ROOMWIRE_API__BIND",
        ),
    ] {
        let line = format!("{name} (environment): has no effect");
        let hint = format!("did you mean {meant}?");
        let printed = text(&printed.stdout);
        assert!(
            printed.contains(&line) && printed.contains(&hint),
            "{printed}"
        );
    }
    let line = node.line("ROOMWIRE_REDIS_URL (environment): has no effect");
    assert!(
        line.contains("did you mean ROOMWIRE_BUS__REDIS_URL?"),
        "{line}"
    );
}

#[test]
fn a_public_url_without_a_scheme_is_rejected() {
    let output = run(&["check", "--live", "--url", "example.org"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let printed = text(&output.stderr);
    assert!(printed.contains("https://example.org"), "{printed}");
}

#[test]
fn the_manager_redis_without_any_url_is_an_error() {
    let output = run(&["check"], &[("WEBSOCKET_MANAGER", "redis")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("WEBSOCKET_MANAGER"),
        "{}",
        text(&output.stderr)
    );
    let output = run(
        &["check"],
        &[
            ("WEBSOCKET_MANAGER", "redis"),
            ("WEBSOCKET_REDIS_URL", "redis://localhost"),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn an_address_in_use_is_reported_with_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&[], &[("ROOMWIRE_SERVER__BIND", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&format!("cannot listen on {address} (server.bind)")),
        "{output:?}"
    );
}

#[test]
fn signals_stop_a_node_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut node = Node::start(&[]);
        let listening = node.line("listening on http://127.0.0.1:");
        assert!(!listening.contains("127.0.0.1:0 "), "{listening}");
        node.signal(signal);
        node.line("stopped node=");
        assert_eq!(node.exit_code(), Some(0), "{signal}");
    }
}

#[test]
fn the_bus_is_named_in_the_debug_log_and_a_node_starts_without_redis() {
    // No process listens on port 1.
    let environment = [
        ("WEBSOCKET_MANAGER", "redis"),
        ("WEBSOCKET_REDIS_URL", "redis://127.0.0.1:1"),
        ("ROOMWIRE_LOG__FILTER", "info,roomwire::cluster=debug"),
    ];
    let mut node = Node::start(&environment);
    let line = node.line("Using Redis to manage websockets.");
    assert!(line.contains("DEBUG roomwire::cluster]"), "{line}");
    node.line("listening on http://127.0.0.1:");
    node.signal("TERM");
    assert_eq!(node.exit_code(), Some(0));
}
