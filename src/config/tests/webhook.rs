//! `[webhook]` and `[app.webhook]`: routes, secrets, and what is rejected.

use super::{Loaded, Scratch, load_environment, load_text};

const KIND: (&str, &str) = ("ROOMWIRE_APP__KIND", "webhook");
const URL: (&str, &str) = ("ROOMWIRE_WEBHOOK__URL", "http://backend:3000/hook");

fn warned(loaded: &Loaded) -> Vec<&str> {
    let warnings = loaded.warnings.iter();
    let warnings = warnings.filter(|warning| warning.key.starts_with("webhook."));
    warnings.map(|warning| warning.key.as_str()).collect()
}

#[test]
fn the_app_requires_a_url_or_a_route() {
    let rejected = load_environment(&[KIND]).unwrap_err().to_string();
    assert!(rejected.contains("webhook.url"), "{rejected}");
    let route = "[[webhook.routes]]\nurl = \"http://localhost:1/\"\n";
    for (text, environment) in [("", &[KIND, URL][..]), (route, &[KIND][..])] {
        assert!(load_text(text, environment).is_ok(), "{text}");
    }
    let by_namespace = "[[app.routes]]\nnamespace = \"/\"\napp = \"webhook\"\n";
    let rejected = load_text(by_namespace, &[]).unwrap_err().to_string();
    assert!(rejected.contains("webhook.url"), "{rejected}");
}

#[test]
fn the_first_matching_route_applies_and_the_url_last() {
    let text = "[webhook]\nevents = [\"connect\", \"b*\"]\n\
        [[webhook.routes]]\nnamespace = \"/chat\"\nevents = [\"b1\"]\nurl = \"http://chat/\"\n\
        [[webhook.routes]]\nevents = [\"a\", \"b2\"]\nurl = \"http://events/\"\n";
    let webhook = load_text(text, &[URL]).unwrap().config.webhook;
    let route = |namespace, event| {
        let mut routes = webhook.route_table.iter();
        let route = routes.find(|route| route.matches(namespace, event))?;
        Some(route.url.to_string())
    };
    let cases = [
        ("/chat", "b1", Some("http://chat/")),
        ("/", "b1", Some("http://backend:3000/hook")),
        ("/chat", "b2", Some("http://events/")),
        ("/", "a", Some("http://events/")),
        ("/", "connect", Some("http://backend:3000/hook")),
        ("/", "disconnect", None),
    ];
    for (namespace, event, expected) in cases {
        assert_eq!(
            route(namespace, event).as_deref(),
            expected,
            "{namespace} {event}"
        );
    }
    assert_eq!(webhook.urls().len(), 3);
}

#[test]
fn secrets_come_from_the_value_and_from_the_lines_of_a_file() {
    let file = Scratch::new("\n another secret here \nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let environment = [
        KIND,
        URL,
        ("ROOMWIRE_WEBHOOK__SECRETS", "the first secret"),
        ("ROOMWIRE_WEBHOOK__SECRETS_FILE", file.0.to_str().unwrap()),
    ];
    let loaded = load_environment(&environment).unwrap();
    let secrets = &loaded.config.webhook.signing_secrets;
    let secrets: Vec<&str> = secrets.iter().map(|secret| secret.expose()).collect();
    let expected = [
        "the first secret",
        "another secret here",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ];
    assert_eq!(secrets, expected);
    assert!(warned(&loaded).is_empty());
    let printed = loaded.effective.to_string();
    assert!(printed.contains("secrets = [\"***\"]"), "{printed}");

    for text in ["", "too short\n"] {
        let file = Scratch::new(text);
        let path = ("ROOMWIRE_WEBHOOK__SECRETS_FILE", file.0.to_str().unwrap());
        let rejected = load_environment(&[path]).unwrap_err().to_string();
        assert!(rejected.contains("webhook.secrets_file"), "{rejected}");
        assert!(!rejected.contains("too short"), "{rejected}");
    }
}

#[test]
fn unsigned_requests_to_another_machine_and_files_without_tls_are_warnings() {
    assert_eq!(
        warned(&load_environment(&[KIND, URL]).unwrap()),
        ["webhook.secrets"]
    );
    let local = ("ROOMWIRE_WEBHOOK__URL", "http://localhost:3000");
    assert!(warned(&load_environment(&[KIND, local]).unwrap()).is_empty());
    let file = Scratch::new("");
    let path = file.0.to_str().unwrap();
    let ca = ("ROOMWIRE_WEBHOOK__TLS_CA", path);
    assert_eq!(
        warned(&load_environment(&[KIND, local, ca]).unwrap()),
        ["webhook.tls_ca"]
    );
    let certificate = ("ROOMWIRE_WEBHOOK__TLS_CERT", path);
    let rejected = load_environment(&[local, certificate])
        .unwrap_err()
        .to_string();
    assert!(rejected.contains("webhook.tls_key"), "{rejected}");
}

#[test]
fn a_url_that_nothing_uses_is_a_warning() {
    let local = ("ROOMWIRE_WEBHOOK__URL", "http://localhost:3000");
    let loaded = load_environment(&[local]).unwrap();
    assert_eq!(warned(&loaded), ["webhook.url"]);
    let backend = ("ROOMWIRE_APP__RELAY__JOIN", "backend");
    assert!(warned(&load_environment(&[local, backend]).unwrap()).is_empty());
}

#[test]
fn a_url_without_a_scheme_is_explained() {
    let bare = ("ROOMWIRE_WEBHOOK__URL", "localhost:3000");
    let rejected = load_environment(&[bare]).unwrap_err().to_string();
    assert!(
        rejected.contains("must begin with `http://` or `https://`"),
        "{rejected}"
    );
}
