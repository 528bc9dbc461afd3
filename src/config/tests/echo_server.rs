//! `[app.echo_server]`: URLs, the source of broadcasts, and what is rejected.

use super::*;

const KIND: (&str, &str) = ("ROOMWIRE_APP__KIND", "echo_server");
const REDIS: (&str, &str) = ("ROOMWIRE_BUS__REDIS_URL", "redis://localhost");

#[test]
fn the_requests_of_the_app_have_urls_and_its_broadcasts_a_source() {
    let text = "[app.echo_server]\nauth_hosts = [\"https://a.test/sub/\", \"http://localhost\"]\n";
    let config = load_text(text, &[KIND, REDIS]).unwrap().config;
    let urls: Vec<_> = config
        .webhook
        .urls()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "https://a.test/sub/broadcasting/auth",
        "http://localhost/broadcasting/auth",
    ];
    assert_eq!(urls, expected);
    assert!(config.webhook.hook_urls().is_empty());
    let source = JsonSource::laravel("app.echo_server.redis_prefix", "laravel-database-");
    assert_eq!(config.bus.json_sources, [source]);
    assert!(config.needs_registry());
    // Off, and without the app.
    let off = ("ROOMWIRE_APP__ECHO_SERVER__REDIS", "off");
    for environment in [&[KIND, REDIS, off][..], &[REDIS][..]] {
        let config = load_environment(environment).unwrap().config;
        assert!(config.bus.json_sources.is_empty());
    }
    let config = load_environment(&[REDIS]).unwrap().config;
    assert!(config.webhook.urls().is_empty());
}

#[test]
fn the_app_of_a_route_has_its_namespace() {
    let route = "[[app.routes]]\nnamespace = \"/echo\"\napp = \"echo_server\"\n";
    let rejected = load_text(route, &[REDIS]).unwrap_err().to_string();
    assert!(rejected.contains("app.echo_server.namespace"), "{rejected}");
    let text = format!("{route}[app.echo_server]\nnamespace = \"echo\"\n");
    let config = load_text(&text, &[REDIS]).unwrap().config;
    assert!(config.app.is_echo_server("/echo") && !config.app.is_echo_server("/"));
    let namespace = JsonField::Constant("/echo".to_owned());
    assert_eq!(config.bus.json_sources[0].namespace, namespace);
}

#[test]
fn a_prefix_that_overlaps_with_other_channels_is_rejected() {
    let prefix = ("ROOMWIRE_APP__ECHO_SERVER__REDIS_PREFIX", "room");
    let rejected = load_environment(&[KIND, REDIS, prefix])
        .unwrap_err()
        .to_string();
    assert!(rejected.contains("bus.prefix"), "{rejected}");
    let empty = "[app.echo_server]\nredis_prefix = \"\"\n";
    assert!(load_text(empty, &[KIND, REDIS]).is_err());
    let loaded = load_environment(&[KIND]).unwrap();
    let warned = loaded.warnings.iter();
    assert!(
        warned
            .clone()
            .any(|warning| warning.key == "app.echo_server.redis")
    );
}

#[test]
fn the_apps_of_backends_have_keys_and_names_of_their_own() {
    let entry = |app: &str, key: &str| {
        format!("[[app.echo_server.clients]]\napp_id = \"{app}\"\nkey = \"{key}\"\n")
    };
    let two = entry("a.1", "0123456789abcdef") + &entry("b", "0123456789abcdef");
    let loaded = load_text(&two, &[KIND]).unwrap();
    assert_eq!(loaded.config.app.echo_server.clients.len(), 2);
    assert!(!loaded.effective.to_string().contains("0123456789abcdef"));
    let without_app = load_text(&two, &[]).unwrap();
    let mut warned = without_app.warnings.iter();
    assert!(warned.any(|warning| warning.key == "app.echo_server.clients"));
    for (text, key) in [
        (entry("a", "short"), "clients[0].key"),
        (entry("a/b", "0123456789abcdef"), "clients[0].app_id"),
        (entry("b", "0123456789abcdef") + &two, "clients[2].app_id"),
        (
            "[[app.echo_server.clients]]\napp_id = \"a\"\n".to_owned(),
            "requires the key `key`",
        ),
    ] {
        let rejected = load_text(&text, &[KIND]).unwrap_err().to_string();
        assert!(rejected.contains(key), "{rejected}");
    }
}
