//! `[[app.routes]]`: apps by namespace.

use super::load_text;

const ROUTES: &str = "[[app.routes]]\nnamespace = \"/chat\"\napp = \"relay\"\n\
    [[app.routes]]\nnamespace = \"/legacy-*\"\napp = \"upstream\"\n";

#[test]
fn a_route_brings_the_checks_of_its_app() {
    let echo = ("ROOMWIRE_APP__KIND", "echo");
    let rejected = load_text(ROUTES, &[echo]).unwrap_err().to_string();
    assert!(rejected.contains("app.upstream.urls"), "{rejected}");
    let urls = ("ROOMWIRE_APP__UPSTREAM__URLS", "http://behind:3000");
    let app = load_text(ROUTES, &[echo, urls]).unwrap().config.app;
    let urls: Vec<_> = app.upstreams().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://behind:3000"]);
    assert!(app.relays() && app.uses_upstream() && !app.is_open_webui());
}

#[test]
fn a_route_of_a_namespace_that_no_client_can_reach_is_a_warning() {
    let names = |namespaces| {
        let environment = [
            ("ROOMWIRE_APP__UPSTREAM__URLS", "http://behind:3000"),
            ("ROOMWIRE_SOCKET__NAMESPACES", namespaces),
        ];
        let loaded = load_text(ROUTES, &environment).unwrap();
        let routes = loaded
            .warnings
            .iter()
            .filter(|warning| warning.key.starts_with("app.routes"));
        routes
            .map(|warning| warning.key.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("/,/chat,/legacy-*"), [""; 0]);
    assert_eq!(names("*"), [""; 0]);
    assert_eq!(names("/,/chat"), ["app.routes[1].namespace"]);
}

#[test]
fn an_app_that_changes_defaults_of_the_node_is_rejected_in_a_route() {
    let text = "[[app.routes]]\nnamespace = \"/ui\"\napp = \"open_webui\"\n";
    let rejected = load_text(text, &[]).unwrap_err().to_string();
    assert!(rejected.contains("app.routes[0].app"), "{rejected}");
    assert!(rejected.contains("relay"), "{rejected}");
}
