//! Checks of upstreams: whether each accepts a connection, and is not a node of this cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use awc::Client;
use futures_util::future::join_all;

use super::Finding;
use crate::config::{Config, UpstreamConfig, UpstreamUrl};
use crate::model::random::OsRandom;
use crate::model::{NodeId, Random, SocketId, ViaMark};
use crate::upstream::{ProbeError, ProbeResult, probe};

/// The result of a probe.
pub(super) struct ProbedUrl<'a> {
    pub(super) url: &'a UpstreamUrl,
    pub(super) result: Result<ProbeResult, ProbeError>,
}

/// The status and body of a response, or why there is none.
pub(super) type Reply = Result<(u16, Vec<u8>), String>;

/// A client that follows no redirects.
pub(super) fn client(timeout: Duration) -> Client {
    Client::builder()
        .timeout(timeout)
        .disable_redirects()
        .finish()
}

pub(super) async fn get(client: &Client, url: &str, token: Option<&str>) -> Reply {
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let mut response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.body().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_vec()))
}

/// Checks the upstreams of `app.kind = "upstream"`. `nodes` are the names of the nodes of this cluster.
pub(super) async fn check(config: &Config, nodes: &BTreeSet<String>) -> Vec<Finding> {
    if !config.app.uses_upstream() {
        return Vec::new();
    }
    let settings = &config.app.upstream;
    let probes = probe_all(config, settings).await;
    let evaluated = probes
        .iter()
        .map(|probed| evaluate(probed, &settings.path, "app.upstream.urls", nodes));
    let mut findings: Vec<Finding> = evaluated.collect();
    if let Some(path) = &settings.health_path {
        let client = client(settings.connect_timeout);
        for url in &settings.urls {
            let reply = get(&client, &format!("{url}{path}"), None).await;
            findings.extend(evaluate_health(url, path, &reply));
        }
    }
    findings
}

/// Probes all upstreams concurrently.
pub(super) async fn probe_all<'a>(
    config: &'a Config,
    settings: &'a UpstreamConfig,
) -> Vec<ProbedUrl<'a>> {
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let mark = ViaMark::new(&config.bus.channel_prefix, NodeId::random(&*random));
    let all = settings.urls.iter().map(async |url| {
        let result = probe(url, settings, &mark, Arc::clone(&random)).await;
        ProbedUrl { url, result }
    });
    join_all(all).await
}

/// The finding about one upstream. `nodes` are the names of the nodes of this cluster, `key` is that of the URLs.
pub(super) fn evaluate(
    probed: &ProbedUrl<'_>,
    path: &str,
    key: &str,
    nodes: &BTreeSet<String>,
) -> Finding {
    let url = probed.url;
    match &probed.result {
        Ok(ProbeResult::Connected(sid)) if is_ours(sid, nodes) => leads_back(url, key),
        Err(ProbeError::Loop) => leads_back(url, key),
        Ok(ProbeResult::Connected(_)) => {
            Finding::fine(format!("{url}: accepts a connection at {path}"))
        }
        Ok(ProbeResult::Rejected(message)) => Finding::fine(format!(
            "{url}: a Socket.IO server at {path} that requires the credentials of a client: {message}"
        )),
        Err(error) => {
            let what = format!("{url}: no connection at {path}: {error}");
            Finding::error(what, remedy(error, key))
        }
    }
}

/// A wrong health path ejects a healthy upstream.
fn evaluate_health(url: &UpstreamUrl, path: &str, reply: &Reply) -> Option<Finding> {
    let failure = match reply {
        Ok((200..400, _)) => return None,
        Ok((status, _)) => status.to_string(),
        Err(error) => error.clone(),
    };
    let what = format!("{url}: its health check at {path} fails: {failure}");
    Some(Finding::error(
        what,
        "app.upstream.health_path: a path with a status from 200 to 399, or empty",
    ))
}

/// Whether the id of a socket was made by one of the nodes.
fn is_ours(sid: &str, nodes: &BTreeSet<String>) -> bool {
    SocketId::parse(sid).is_some_and(|socket| nodes.contains(socket.node().as_str()))
}

fn leads_back(url: &UpstreamUrl, key: &str) -> Finding {
    Finding::error(
        format!(
            "{url}: leads back to this cluster, so that each connection would open another one"
        ),
        format!("{key}: the server itself, not the address that clients open"),
    )
}

fn remedy(error: &ProbeError, key: &str) -> String {
    match error {
        ProbeError::Status(502..=504, _) => format!(
            "{key}: a proxy responds there, but no server behind it; configure the server itself, not the address that clients open"
        ),
        ProbeError::Status(400, _) => {
            "the server: it must accept websockets (Open WebUI: ENABLE_WEBSOCKET_SUPPORT=true), and a proxy in front of it must forward the upgrade".to_owned()
        }
        // Responses of web servers and frameworks to an upgrade at a path without a Socket.IO server.
        ProbeError::Status(200..=399 | 401 | 403 | 404 | 405 | 426, _) | ProbeError::NoResponse => {
            no_endpoint(key)
        }
        // The stock ASGI application of python-socketio under uvicorn, at a path that is not its own.
        ProbeError::Status(500, _) => {
            format!("{}; or see the log of that server", no_endpoint(key))
        }
        ProbeError::Status(..) | ProbeError::Loop => format!("{key}, or what the response suggests"),
        ProbeError::Other(_) => {
            format!("{key}: the host and port at which the server listens inside its network; check that it runs")
        }
    }
}

/// The server is reachable, but has no Socket.IO endpoint at the path.
fn no_endpoint(key: &str) -> String {
    if key.starts_with("app.open_webui") {
        return format!("{key}: another server listens there, or a proxy that hides the path");
    }
    format!(
        "app.upstream.path: the path that its own clients use, with a leading slash; or {key}, if another server listens there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;
    use crate::model::WorkerIndex;

    fn evaluated(result: Result<ProbeResult, ProbeError>, nodes: &[&str]) -> Finding {
        let url = UpstreamUrl::parse("http://backend:3000").unwrap();
        let probed = ProbedUrl { url: &url, result };
        let nodes = nodes.iter().map(ToString::to_string).collect();
        evaluate(&probed, "/socket.io", "app.upstream.urls", &nodes)
    }

    #[test]
    fn each_result_has_the_expected_severity_and_remedy() {
        let status = |status, body: &str| Err(ProbeError::Status(status, body.to_owned()));
        let cases = [
            (Ok(ProbeResult::Connected("abc".into())), None),
            (Ok(ProbeResult::Rejected("who are you".into())), None),
            (Err(ProbeError::Loop), Some("not the address that clients")),
            (status(502, "Bad Gateway"), Some("a proxy responds there")),
            (status(404, ""), Some("app.upstream.path")),
            (status(403, ""), Some("app.upstream.path")),
            (status(200, "<html>"), Some("app.upstream.path")),
            (status(500, ""), Some("app.upstream.path")),
            (Err(ProbeError::NoResponse), Some("app.upstream.path")),
            (status(400, ""), Some("ENABLE_WEBSOCKET_SUPPORT")),
            (
                Err(ProbeError::Other("connection refused".into())),
                Some("host and port"),
            ),
        ];
        for (result, change) in cases {
            let input = format!("{result:?}");
            let finding = evaluated(result, &["aaaa"]);
            let expected = if change.is_some() {
                Severity::Error
            } else {
                Severity::Fine
            };
            assert_eq!(finding.severity, expected, "{input}");
            let text = finding.to_string();
            assert!(text.contains(change.unwrap_or("backend:3000")), "{text}");
        }
    }

    #[test]
    fn a_failed_health_check_is_a_finding() {
        let url = UpstreamUrl::parse("http://backend:3000").unwrap();
        let evaluated = |reply: Reply| evaluate_health(&url, "/health", &reply);
        assert_eq!(evaluated(Ok((204, Vec::new()))), None);
        for reply in [Ok((404, Vec::new())), Err("no".to_owned())] {
            let finding = evaluated(reply).unwrap();
            assert!(finding.to_string().contains("app.upstream.health_path"));
        }
    }

    #[test]
    fn a_socket_id_of_an_own_node_is_a_loop() {
        let node = NodeId::parse("aaaa").unwrap();
        let own = SocketId::random(node, WorkerIndex::default(), &OsRandom);
        let joined = || Ok(ProbeResult::Connected(own.as_str().into()));
        assert_eq!(evaluated(joined(), &["aaaa"]).severity, Severity::Error);
        assert_eq!(evaluated(joined(), &["bbbb"]).severity, Severity::Fine);
    }
}
