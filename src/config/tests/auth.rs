//! `[auth]`: keys in every form, and what is wrong with them.

use super::*;

const SECRET: &str = "a secret of thirty-two characters";
const PUBLIC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/token/test_keys/p256.pub.pem"
);

/// The first problem of a configuration.
fn problem(text: &str) -> String {
    let rejected = load_text(text, &[]).unwrap_err();
    assert_eq!(rejected.problems.len(), 1, "{rejected}");
    rejected.problems[0].to_string()
}

#[test]
fn authentication_is_off_without_a_key_and_required_with_one() {
    let shipped = load_text("", &[]).unwrap().config.auth;
    assert!(!shipped.is_on() && !shipped.required);
    for text in [
        format!("[auth]\nsecret = \"{SECRET}\"\n"),
        format!("[auth]\npublic_key_file = \"{PUBLIC}\"\n"),
        format!("[[auth.keys]]\nsecret = \"{SECRET}\"\n"),
        "[auth]\njwks_url = \"https://login.example/jwks\"\n".to_owned(),
    ] {
        let auth = load_text(&text, &[]).unwrap().config.auth;
        assert!(auth.is_on() && auth.required, "{text}");
    }
    let off = format!("[auth]\nsecret = \"{SECRET}\"\nrequired = \"off\"\n");
    assert!(!load_text(&off, &[]).unwrap().config.auth.required);
    let without_key = problem("[auth]\nrequired = \"on\"\n");
    assert!(
        without_key.contains("needs a key: set one of"),
        "{without_key}"
    );
}

#[test]
fn a_key_that_cannot_be_used_is_a_problem_that_repeats_no_secret() {
    let secret_file = Scratch::new("short");
    let private = PUBLIC.replace(".pub", "");
    let cases = [
        ("[auth]\nsecret = \"hunter2\"\n".to_owned(), "at least 16"),
        (
            format!("[auth]\nsecret_file = {:?}\n", secret_file.0),
            "at least 16",
        ),
        (
            "[auth]\npublic_key_file = \"/does/not/exist\"\n".to_owned(),
            "cannot be read",
        ),
        (
            format!("[auth]\npublic_key_file = \"{private}\"\n"),
            "it is a private key",
        ),
        ("[[auth.keys]]\nkid = \"a\"\n".to_owned(), "exactly one of"),
        (
            format!("[[auth.keys]]\nsecret = \"{SECRET}\"\npublic_key_file = \"{PUBLIC}\"\n"),
            "exactly one of",
        ),
        (
            "[[auth.keys]]\nsecret = \"hunter2\"\n".to_owned(),
            "at least 16",
        ),
        (
            format!("[[auth.keys]]\nsecret = \"{SECRET}\"\nalgorithms = [\"RS256\"]\n"),
            "RS256 is not an algorithm of a secret",
        ),
        (
            format!("[[auth.keys]]\nsecret = \"{SECRET}\"\nnot_after = \"soon\"\n"),
            "is not a time",
        ),
        (
            "[auth]\njwks_url = \"https://login.example/jwks\"\njwks_ca = \"/does/not/exist\"\n"
                .to_owned(),
            "auth.jwks_ca",
        ),
    ];
    for (text, expected) in cases {
        let problem = problem(&text);
        assert!(problem.contains(expected), "{text}: {problem}");
        assert!(
            !problem.contains("hunter2") && !problem.contains("short`"),
            "{problem}"
        );
    }
}

#[test]
fn weak_settings_are_warned_about() {
    let warnings = |text: &str| {
        let loaded = load_text(text, &[]).unwrap();
        keys(&loaded.warnings).join(" ")
    };
    let short = "[auth]\nsecret = \"sixteen letters.\"\n";
    assert_eq!(warnings(short), "auth.secret");
    let plain = "[auth]\njwks_url = \"http://login.example/jwks\"\n";
    assert_eq!(warnings(plain), "auth.jwks_url");
    let local = "[auth]\njwks_url = \"http://127.0.0.1:9000/jwks\"\n";
    assert_eq!(warnings(local), "");
}

#[test]
fn a_reload_replaces_keys_but_does_not_switch_authentication_on_or_off() {
    let at_once = |running: &str, read: &str| {
        let running = load_text(running, &[]).unwrap();
        let file = Scratch::new(read);
        let sources = Sources {
            file: Some(file.0.clone()),
            environment: Environment::new(),
        };
        let reload = reload(&running, &sources).unwrap();
        let at_once: Vec<bool> = reload.changes.iter().map(|it| it.at_once).collect();
        (at_once, reload.loaded.config.auth.static_keys.len())
    };
    let one = format!("[auth]\nsecret = \"{SECRET}\"\n");
    let two = format!("{one}[[auth.keys]]\npublic_key_file = \"{PUBLIC}\"\n");
    assert_eq!(at_once(&one, &two), (vec![true], 2));
    assert_eq!(at_once(&two, &one), (vec![true], 1));
    assert_eq!(at_once("", &two), (vec![false, false], 0));
    assert_eq!(at_once(&two, ""), (vec![false, false], 2));
}
