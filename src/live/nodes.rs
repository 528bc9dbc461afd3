//! Reports the nodes running on the bus: those of this cluster, or of another one with the same prefix.

use super::Finding;
use crate::bus::redis::ProbeReport;
use crate::config::Config;
use crate::store::lease::Holder;

pub(super) fn evaluate(report: &ProbeReport, config: &Config) -> Vec<Finding> {
    let prefix = &config.bus.channel_prefix;
    let nodes = report.nodes(prefix);
    if nodes.is_empty() {
        return Vec::new();
    }
    let holder = |node: &str| Holder::read(report.leases.get(node)?);
    let shown: Vec<String> = nodes
        .iter()
        .map(|node| match holder(node) {
            Some(Holder { place, app, .. }) => format!("{node} ({place}, {app})"),
            None => node.clone(),
        })
        .collect();
    let what = format!(
        "{} nodes are running on `{prefix}`: {}. If they belong to another cluster, set a different bus.prefix",
        nodes.len(),
        shown.join(", ")
    );
    let ours = config.app.kind.name();
    let mismatches = nodes.iter().filter_map(|node| {
        let Holder { place, app, .. } = holder(node).filter(|holder| holder.app != ours)?;
        let what = format!(
            "node {node} at {place} runs app.kind = {app} on `{prefix}`, this configuration {ours}: they receive each other's messages"
        );
        let change = "bus.prefix: a different one for one of the two clusters; or the same app.kind on all nodes";
        Some(Finding::warning(what, change))
    });
    [Finding::fine(what)]
        .into_iter()
        .chain(mismatches)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::redis::ServerReport;

    #[test]
    fn nodes_are_listed_and_those_with_another_app_kind_are_a_warning() {
        let node = |name: &str| format!("roomwire:0:node:{name}");
        let server = ServerReport {
            nodes: Some(["cccc", "bbbb", "aaaa"].map(node).to_vec()),
            ..ServerReport::default()
        };
        let lease =
            |place: &str, app: &str| format!(r#"{{"id":"x","place":"{place}","app":"{app}"}}"#);
        let report = ProbeReport {
            servers: vec![server],
            leases: [
                ("aaaa".to_owned(), lease("web-1 0.0.0.0:8080", "relay")),
                ("bbbb".to_owned(), lease("web-2 0.0.0.0:8080", "echo")),
                ("cccc".to_owned(), "of an older release".to_owned()),
            ]
            .into(),
            ..ProbeReport::default()
        };
        let findings = evaluate(&report, &Config::default());
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:#?}");
        let all = "3 nodes are running on `roomwire:0`: aaaa (web-1 0.0.0.0:8080, relay), bbbb (web-2 0.0.0.0:8080, echo), cccc.";
        assert!(texts[0].contains(all), "{texts:#?}");
        assert!(
            texts[1].starts_with("warning: node bbbb at web-2 0.0.0.0:8080 runs app.kind = echo"),
            "{texts:#?}"
        );
    }
}
