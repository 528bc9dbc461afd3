//! The servers behind this one: whether each takes an upstream connection, and whether it is really behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use awc::Client;
use futures_util::future::join_all;

use super::Finding;
use crate::config::{AppKind, Config, UpstreamConfig, UpstreamUrl};
use crate::model::random::OsRandom;
use crate::model::{NodeId, Random, SocketId, ViaMark};
use crate::upstream::{ProbeError, ProbeResult, probe};

/// What was met at one URL.
pub(super) struct Sight<'a> {
    pub(super) url: &'a UpstreamUrl,
    pub(super) greeting: Result<ProbeResult, ProbeError>,
}

/// Status and body of a GET, or why there is none.
pub(super) type Reply = Result<(u16, Vec<u8>), String>;

/// Asks one question at a time, and follows nobody elsewhere.
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

/// Any Socket.IO server; those of Open WebUI have a part of their own. `nodes` are the names of our own cluster's.
pub(super) async fn check(config: &Config, nodes: &BTreeSet<String>) -> Vec<Finding> {
    if config.app.kind != AppKind::Upstream {
        return Vec::new();
    }
    let settings = &config.app.upstream;
    let sights = look(config, settings).await;
    let judged = sights
        .iter()
        .map(|sight| judge(sight, &settings.path, "app.upstream.urls", nodes));
    let mut findings: Vec<Finding> = judged.collect();
    if let Some(path) = &settings.health_path {
        let client = client(settings.connect_timeout);
        for url in &settings.urls {
            let reply = get(&client, &format!("{url}{path}"), None).await;
            findings.extend(judge_health(url, path, &reply));
        }
    }
    findings
}

/// Tries all at once, each as an upstream connection would.
pub(super) async fn look<'a>(config: &'a Config, settings: &'a UpstreamConfig) -> Vec<Sight<'a>> {
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let mark = ViaMark::new(&config.bus.channel_prefix, NodeId::random(&*random));
    let looks = settings.urls.iter().map(async |url| {
        let greeting = probe(url, settings, &mark, Arc::clone(&random)).await;
        Sight { url, greeting }
    });
    join_all(looks).await
}

/// Judges one; `nodes` are the names of our own cluster's nodes, `key` names the URLs.
pub(super) fn judge(sight: &Sight<'_>, path: &str, key: &str, nodes: &BTreeSet<String>) -> Finding {
    let url = sight.url;
    match &sight.greeting {
        Ok(ProbeResult::Connected(sid)) if is_ours(sid, nodes) => leads_back(url, key),
        Err(ProbeError::Loop) => leads_back(url, key),
        Ok(ProbeResult::Connected(_)) => {
            Finding::fine(format!("{url}: takes a upstream at {path}"))
        }
        Ok(ProbeResult::Refused(words)) => Finding::fine(format!(
            "{url}: a Socket.IO server at {path}; it wants what clients show: {words}"
        )),
        Err(obstacle) => {
            let what = format!("{url}: no upstream at {path}: {obstacle}");
            Finding::error(what, remedy(obstacle, key))
        }
    }
}

/// A health check that fails puts a good server out.
fn judge_health(url: &UpstreamUrl, path: &str, reply: &Reply) -> Option<Finding> {
    let answer = match reply {
        Ok((200..400, _)) => return None,
        Ok((status, _)) => status.to_string(),
        Err(error) => error.clone(),
    };
    let what = format!("{url}: its health check at {path} fails: {answer}");
    Some(Finding::error(
        what,
        "app.upstream.health_path: one that answers 200 to 399, or empty",
    ))
}

/// The head of an id names its owner.
fn is_ours(sid: &str, nodes: &BTreeSet<String>) -> bool {
    SocketId::parse(sid).is_some_and(|socket| nodes.contains(socket.node().as_str()))
}

fn leads_back(url: &UpstreamUrl, key: &str) -> Finding {
    Finding::error(
        format!("{url}: leads back to this cluster, so that each upstream would open another one"),
        format!("{key}: the server behind, not the address that clients open"),
    )
}

fn remedy(obstacle: &ProbeError, key: &str) -> String {
    match obstacle {
        ProbeError::Status(502..=504, _) => format!(
            "{key}: a proxy answers there, and nobody behind it; name the server behind, not the address that clients open"
        ),
        ProbeError::Status(400, _) => {
            "the server: it must take websockets (Open WebUI: ENABLE_WEBSOCKET_SUPPORT=true), and a proxy before it must pass the upgrade on".to_owned()
        }
        // Responses of web servers and frameworks to an upgrade at a path without a Socket.IO server.
        ProbeError::Status(200..=399 | 401 | 403 | 404 | 405 | 426, _) | ProbeError::NoResponse => {
            no_endpoint(key)
        }
        // The stock ASGI application of python-socketio under uvicorn, at a path that is not its own.
        ProbeError::Status(500, _) => {
            format!("{}; or see the log of that server", no_endpoint(key))
        }
        ProbeError::Status(..) | ProbeError::Loop => format!("{key}, or what the answer says"),
        ProbeError::Other(_) => {
            format!("{key}: host and port at which it listens in its own network; and that it runs")
        }
    }
}

/// The server is reachable, but there is no Socket.IO at that path.
fn no_endpoint(key: &str) -> String {
    if key.starts_with("app.open_webui") {
        return format!("{key}: another server listens there, or a proxy that hides the path");
    }
    format!(
        "app.upstream.path: the path its own clients use, with the slash at its begin; or {key}, if another server listens there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;
    use crate::model::WorkerIndex;

    fn judged(greeting: Result<ProbeResult, ProbeError>, nodes: &[&str]) -> Finding {
        let url = UpstreamUrl::parse("http://backend:3000").unwrap();
        let sight = Sight {
            url: &url,
            greeting,
        };
        let nodes = nodes.iter().map(ToString::to_string).collect();
        judge(&sight, "/socket.io", "app.upstream.urls", &nodes)
    }

    #[test]
    fn each_sight_names_what_to_change() {
        let status = |status, words: &str| Err(ProbeError::Status(status, words.to_owned()));
        let cases = [
            (Ok(ProbeResult::Connected("abc".into())), None),
            (Ok(ProbeResult::Refused("who are you".into())), None),
            (Err(ProbeError::Loop), Some("not the address that clients")),
            (status(502, "Bad Gateway"), Some("a proxy answers there")),
            (status(404, ""), Some("app.upstream.path")),
            (status(403, ""), Some("app.upstream.path")),
            (status(200, "<html>"), Some("app.upstream.path")),
            (status(500, ""), Some("app.upstream.path")),
            (Err(ProbeError::NoResponse), Some("app.upstream.path")),
            (status(400, ""), Some("ENABLE_WEBSOCKET_SUPPORT")),
            (
                Err(ProbeError::Other("refused".into())),
                Some("host and port"),
            ),
        ];
        for (greeting, change) in cases {
            let shown = format!("{greeting:?}");
            let finding = judged(greeting, &["aaaa"]);
            let expected = if change.is_some() {
                Severity::Error
            } else {
                Severity::Fine
            };
            assert_eq!(finding.severity, expected, "{shown}");
            let text = finding.to_string();
            assert!(text.contains(change.unwrap_or("backend:3000")), "{text}");
        }
    }

    #[test]
    fn a_health_check_must_succeed() {
        let url = UpstreamUrl::parse("http://backend:3000").unwrap();
        let judged = |reply: Reply| judge_health(&url, "/health", &reply);
        assert_eq!(judged(Ok((204, Vec::new()))), None);
        for reply in [Ok((404, Vec::new())), Err("no".to_owned())] {
            let finding = judged(reply).unwrap();
            assert!(finding.to_string().contains("app.upstream.health_path"));
        }
    }

    #[test]
    fn an_id_of_our_own_is_a_loop() {
        let node = NodeId::parse("aaaa").unwrap();
        let own = SocketId::random(node, WorkerIndex::default(), &OsRandom);
        let joined = || Ok(ProbeResult::Connected(own.as_str().into()));
        assert_eq!(judged(joined(), &["aaaa"]).severity, Severity::Error);
        assert_eq!(judged(joined(), &["bbbb"]).severity, Severity::Fine);
    }
}
