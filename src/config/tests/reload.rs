//! Reloads of a running node.

use super::*;

/// The reload of `read` by a node that runs with `running`.
fn reload_text(running: &str, read: &str) -> Result<Reload, Rejected> {
    let running = load_text(running, &[]).unwrap();
    let sources = |file: &Scratch| Sources {
        file: Some(file.0.clone()),
        environment: Environment::new(),
    };
    reload(&running, &sources(&Scratch::new(read)))
}

/// The changes of a reload, without their origins.
fn changes(reload: &Reload) -> Vec<String> {
    let shown = reload.changes.iter().map(|change| {
        let text = change.to_string();
        text.replace(&format!(" ({})", change.origin), "")
    });
    shown.collect()
}

#[test]
fn a_reload_applies_reloadable_keys_and_names_the_others() {
    let before = "[limits]\nconnections = 10\n[engine]\npath = \"/a\"\n";
    let after = "[limits]\nconnections = 20\n[engine]\npath = \"/b\"\n[cors]\norigins = [\"https://a.example\"]\n\
                 [[app.relay.rooms]]\npattern = \"x\"\njoin = \"nobody\"\n";
    let reload = reload_text(before, after).unwrap();
    assert_eq!(
        changes(&reload),
        [
            r#"engine.path: "/a" → "/b", takes effect at the next start"#,
            r#"limits.connections: "10" → "20""#,
            r#"cors.origins: ["same"] → ["https://a.example"]"#,
            r#"app.relay.rooms: [] → [{ pattern = "x", join = "nobody" }]"#,
        ]
    );
    let config = reload.loaded.config;
    assert_eq!(
        (config.engine.path.as_str(), config.limits.connections),
        ("/a", Some(20))
    );
    assert_eq!(policies(&config, "x")[0], "nobody");
}

#[test]
fn pending_changes_are_named_at_every_reload_and_applied_ones_once() {
    let file = Scratch::new("[limits]\nconnections = 20\n[server]\nworkers = 3\n");
    let sources = Sources {
        file: Some(file.0.clone()),
        environment: Environment::new(),
    };
    let first = reload(&load_environment(&[]).unwrap(), &sources).unwrap();
    assert_eq!(first.changes.len(), 2);
    let second = reload(&first.loaded, &sources).unwrap();
    assert_eq!(
        changes(&second),
        ["server.workers: 0 → 3, takes effect at the next start"]
    );
    assert_eq!(second.loaded.config.limits.connections, Some(20));
    std::fs::write(&file.0, "[limits]\nconnections = 20\n").unwrap();
    assert!(reload(&second.loaded, &sources).unwrap().changes.is_empty());
}

#[test]
fn a_rejected_reload_names_all_problems() {
    let running = "[limits]\nconnections = 10\n";
    let rejected = reload_text(running, "[limits]\nconnections = 0\nevents = 1\n").unwrap_err();
    assert_eq!(
        places(&rejected),
        [("limits.events", Some(3)), ("limits.connections", Some(2))]
    );
}

#[test]
fn applied_changes_must_fit_pending_ones() {
    // The listener still expects a PROXY header, so without a trusted proxy no client could connect.
    let running = "[server]\nproxy_protocol = true\ntrusted_proxies = [\"10.0.0.1\"]\n";
    let rejected = reload_text(running, "[server]\n").unwrap_err();
    assert_eq!(keys(&rejected.problems), ["server.proxy_protocol"]);
    let message = &rejected.problems[0].message;
    assert!(message.contains("wait for the next start"), "{message}");
}

#[test]
fn changes_show_no_secrets() {
    let url = |password: &str| {
        format!(
            "[bus]\nredis_url = \"redis://u:{password}@localhost\"\nsentinel_password = \"{password}\"\n"
        )
    };
    let reload = reload_text(&url("s3cret"), &url("0ther")).unwrap();
    assert_eq!(
        changes(&reload),
        [
            "bus.redis_url: changed, takes effect at the next start",
            "bus.sentinel_password: changed, takes effect at the next start",
        ]
    );
}

#[test]
fn all_changes_wait_if_the_app_changes() {
    let before = "[app]\nkind = \"open_webui\"\n[app.open_webui]\nupstreams = [\"http://b:1\"]\n[bus]\nredis_url = \"redis://r\"\n";
    let reload = reload_text(before, "[limits]\nconnections = 10\n").unwrap();
    assert!(reload.changes.iter().all(|change| !change.at_once));
    let open = &reload.loaded.config.cors.origins;
    assert_eq!(*open, [OriginRule::Any], "as its app has it");
    assert_eq!(reload.loaded.config.limits.connections, None);
}
