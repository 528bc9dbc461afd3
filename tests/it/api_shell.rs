//! The verbs of the API as commands of the built binary.

use std::path::Path;

use serde_json::Value;

use crate::support::process::{Node, free_address, run, text};
use crate::support::server::write_file;
use crate::support::tls::{self, Files, Pair};

const KEY: (&str, &str) = ("ROOMWIRE_API__KEY", "key-of-the-tests-0123456789");

/// The settings of a node in the environment.
struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// A listener of the API with TLS.
    fn with_tls(files: &Files) -> Self {
        let [certificate, key] = [&files.certificate, &files.key].map(|path| path_text(path));
        Self(vec![
            ("ROOMWIRE_API__BIND", free_address()),
            ("ROOMWIRE_API__TLS_CERT", certificate),
            ("ROOMWIRE_API__TLS_KEY", key),
        ])
    }

    fn add(mut self, name: &'static str, path: &Path) -> Self {
        self.0.push((name, path_text(path)));
        self
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        let own = self.0.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain([KEY]).collect()
    }

    /// The URL of the listener.
    fn url(&self) -> String {
        format!("https://{}", self.0[0].1)
    }

    fn start(&self) -> Node {
        let node = Node::start(&self.environment());
        node.line("path=/socket.io/");
        node
    }

    /// Exit code and everything printed by a command with these settings.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        printed(arguments, &self.environment())
    }
}

fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(arguments, environment);
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), text(&printed).to_owned())
}

const EMIT: [&str; 4] = ["emit", "hello", "--everybody", "--counts"];
const SENT: &str = "sent to 0 sockets on 0 nodes\n";

#[test]
fn requests_are_sent_to_the_internal_listener_and_rejections_are_printed() {
    let address = free_address();
    let environment = [("ROOMWIRE_SERVER__INTERNAL_BIND", address.as_str()), KEY];
    let node = Node::start(&environment);
    node.line("path=/socket.io/");
    assert_eq!(printed(&EMIT, &environment), (Some(0), SENT.to_owned()));
    let (code, info) = printed(&["info", "--json"], &environment);
    assert_eq!(code, Some(0), "{info}");
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["nodes"][0]["sockets"], 0);
    let (code, error) = printed(&["close-room", ""], &environment);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("name_invalid: "), "{error}");
    let with_key = |key| [&EMIT[..], &["--conflate", key]].concat();
    let sent = printed(&with_key("price:7"), &environment);
    assert_eq!(sent, (Some(0), SENT.to_owned()));
    let (code, error) = printed(&with_key(""), &environment);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("conflate_invalid: "), "{error}");
    let wrong = [&EMIT[..], &["--key", "key-of-someone-else-0123"]].concat();
    let (code, error) = printed(&wrong, &environment);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("key_invalid: "), "{error}");
}

#[test]
fn the_events_of_a_log_are_printed_in_pages_of_both_directions() {
    let address = free_address();
    let file = write_file("history.toml", "[[history.rooms]]\nrooms = \"log:*\"\n");
    let environment = [
        ("ROOMWIRE_CONFIG", file.to_str().unwrap()),
        ("ROOMWIRE_SERVER__INTERNAL_BIND", &address),
        KEY,
    ];
    let node = Node::start(&environment);
    node.line("path=/socket.io/");
    let run = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let (code, printed) = printed(&arguments, &environment);
        assert_eq!(code, Some(0), "{printed}");
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines
    };
    for number in 1..=5 {
        run(&format!(r#"emit n {number} {{"a":"ä"}} --room log:1"#));
    }
    let all = run("history log:1");
    assert_eq!(all.len(), 5, "{all:?}");
    let mut offsets = Vec::new();
    for (line, number) in all.iter().zip(1..) {
        let (offset, event) = line.split_once(' ').unwrap();
        assert_eq!(event, format!(r#"n [{number},{{"a":"ä"}}]"#));
        offsets.push(offset);
    }
    let before = run(&format!("history log:1 --limit 2 --before {}", offsets[3]));
    let more = format!("more: --before {}", offsets[1]);
    assert_eq!(before, [all[1].clone(), all[2].clone(), more]);
    let after = run(&format!("history log:1 --limit 2 --after {}", offsets[0]));
    let more = format!("more: --after {}", offsets[2]);
    assert_eq!(after, [all[1].clone(), all[2].clone(), more]);
    let json = run("history log:1 --limit 1 --json").join("");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["events"][0]["offset"], offsets[4]);
    let (code, error) = printed(&["history", "other"], &environment);
    assert_eq!(code, Some(1));
    assert!(error.contains("log"), "{error}");
}

#[test]
fn the_certificate_of_the_configuration_is_accepted_whatever_its_name_and_authority() {
    // A wildcard address: the certificate has no such name.
    let files = Files::good();
    let mut settings = Settings::with_tls(&files);
    let address = settings.0[0].1.clone();
    settings.0[0].1 = address.replace("127.0.0.1", "0.0.0.0");
    let _node = settings.start();
    assert_eq!(settings.run(&EMIT), (Some(0), SENT.to_owned()));
    // The certificate of another node.
    let other = Files::good();
    let mut other = Settings::with_tls(&other);
    other.0[0].1 = address;
    let (code, error) = other.run(&EMIT);
    assert_eq!(code, Some(1));
    assert!(error.contains("presents another certificate"), "{error}");
}

#[test]
fn a_url_with_tls_requires_an_authority_and_the_name_of_the_certificate() {
    let mut settings = Settings::with_tls(&Files::good());
    let url = settings.url();
    settings.0[0].1 = settings.0[0].1.replace("127.0.0.1", "0.0.0.0");
    let _node = settings.start();
    let authority = path_text(&tls::authority().write());
    let at = |url: &str| {
        let named = [&EMIT[..], &["--url", url, "--ca", &authority]].concat();
        printed(&named, &[KEY])
    };
    assert_eq!(at(&url), (Some(0), SENT.to_owned()));
    let (code, error) = at(&url.replace("127.0.0.1", "127.0.0.2"));
    assert_eq!(code, Some(1));
    assert!(error.contains("not valid for name"), "{error}");
    let without = [&EMIT[..], &["--url", &url]].concat();
    let (code, error) = printed(&without, &[KEY]);
    assert_eq!(code, Some(1));
    assert!(error.contains("--ca"), "{error}");
    let plain = url.replace("https", "http");
    let (code, _) = printed(&[&EMIT[..], &["--url", &plain]].concat(), &[KEY]);
    assert_eq!(code, Some(1), "plain HTTP");
    let missing = [&EMIT[..], &["--url", &url, "--ca", "/no/such/file"]].concat();
    let (code, error) = printed(&missing, &[KEY]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("--ca: /no/such/file cannot"), "{error}");
}

#[test]
fn a_client_certificate_comes_from_the_configuration_or_the_options() {
    let authority = tls::authority().write();
    let settings = Settings::with_tls(&Files::good()).add("ROOMWIRE_API__CLIENT_CA", &authority);
    let _node = settings.start();
    let (code, error) = settings.run(&EMIT);
    assert_eq!(code, Some(1));
    assert!(error.contains("requires a client certificate"), "{error}");
    let own = Pair::good().write();
    let [certificate, key] = [&own.certificate, &own.key].map(|path| path_text(path));
    let (by_options, url) = (["--cert", &certificate, "--cert-key", &key], settings.url());
    let run = settings.run(&[&EMIT[..], &by_options].concat());
    assert_eq!(run, (Some(0), SENT.to_owned()));
    let authority = path_text(&authority);
    let with_url = ["--url", &url, "--ca", &authority];
    let all = [&EMIT[..], &by_options, &with_url].concat();
    assert_eq!(printed(&all, &[KEY]), (Some(0), SENT.to_owned()));
    let configured = settings.add("ROOMWIRE_API__CLIENT_CERT", &own.certificate);
    let (code, error) = configured.run(&EMIT);
    assert_eq!(code, Some(2));
    assert!(error.contains("requires api.client_key"), "{error}");
    let configured = configured.add("ROOMWIRE_API__CLIENT_KEY", &own.key);
    assert_eq!(configured.run(&EMIT), (Some(0), SENT.to_owned()));
}
