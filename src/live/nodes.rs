//! The nodes that are under way on the bus already: of this cluster, or of another one that has its prefix.

use super::Finding;
use crate::bus::redis::Facts;
use crate::config::Config;
use crate::store::lease::Holder;

pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let prefix = &config.bus.channel_prefix;
    let nodes = facts.nodes(prefix);
    if nodes.is_empty() {
        return Vec::new();
    }
    let holder = |node: &str| Holder::read(facts.leases.get(node)?);
    let shown: Vec<String> = nodes
        .iter()
        .map(|node| match holder(node) {
            Some(Holder { place, app, .. }) => format!("{node} ({place}, {app})"),
            None => node.clone(),
        })
        .collect();
    let what = format!(
        "{} nodes are under way on `{prefix}`: {}. If they are not of this cluster, give it a bus.prefix of its own",
        nodes.len(),
        shown.join(", ")
    );
    let ours = config.app.kind.name();
    let strange = nodes.iter().filter_map(|node| {
        let Holder { place, app, .. } = holder(node).filter(|holder| holder.app != ours)?;
        let what = format!(
            "node {node} at {place} runs app.kind = {app} on `{prefix}`, this configuration {ours}: they hear each other"
        );
        let change = "bus.prefix: another one for one of the two clusters; or the same app.kind on all nodes";
        Some(Finding::warning(what, change))
    });
    [Finding::fine(what)].into_iter().chain(strange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::redis::ServerFacts;

    #[test]
    fn nodes_are_named_and_those_of_another_kind_twice() {
        let node = |name: &str| format!("roomwire:0:node:{name}");
        let server = ServerFacts {
            nodes: Some(["cccc", "bbbb", "aaaa"].map(node).to_vec()),
            ..ServerFacts::default()
        };
        let lease =
            |place: &str, app: &str| format!(r#"{{"id":"x","place":"{place}","app":"{app}"}}"#);
        let facts = Facts {
            servers: vec![server],
            leases: [
                ("aaaa".to_owned(), lease("web-1 0.0.0.0:8080", "relay")),
                ("bbbb".to_owned(), lease("web-2 0.0.0.0:8080", "echo")),
                ("cccc".to_owned(), "of an older release".to_owned()),
            ]
            .into(),
            ..Facts::default()
        };
        let findings = judge(&facts, &Config::default());
        let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        let all = "3 nodes are under way on `roomwire:0`: aaaa (web-1 0.0.0.0:8080, relay), bbbb (web-2 0.0.0.0:8080, echo), cccc.";
        assert!(told[0].contains(all), "{told:#?}");
        assert!(
            told[1].starts_with("warning: node bbbb at web-2 0.0.0.0:8080 runs app.kind = echo"),
            "{told:#?}"
        );
    }
}
