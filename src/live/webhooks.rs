//! Checks of HTTP backends: whether each of their URLs responds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Finding;
use crate::clock::now;
use crate::config::{Config, WebhookUrl};
use crate::metrics::Metrics;
use crate::model::random::OsRandom;
use crate::webhook::{WebhookClient, Webhooks};

/// The status of a response and the time until it, or why there is none.
type Probed = Result<(u16, Duration), String>;

/// Checks the URLs of `[webhook]`, all at once.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let metrics = Arc::new(Metrics::default());
    let webhooks = match Webhooks::new(&config.webhook, metrics, Arc::new(OsRandom)) {
        Ok(webhooks) => webhooks,
        Err(error) => {
            let change = "webhook.tls_ca, webhook.tls_cert, webhook.tls_key";
            return vec![Finding::error(error.to_string(), change)];
        }
    };
    let client = WebhookClient::new(Arc::clone(&webhooks));
    let probes = webhooks.targets().iter().map(async |target| {
        let begun = now();
        let probed = client.probe(target).await;
        let probed = probed.map(|status| (status, begun.elapsed()));
        evaluate(target.url(), key(config, target.url()), &probed)
    });
    join_all(probes).await
}

/// The key that contains a URL.
fn key(config: &Config, url: &WebhookUrl) -> &'static str {
    let webhook = &config.webhook;
    if webhook.url.as_ref() == Some(url) {
        return "webhook.url";
    }
    match webhook.notices.url.as_ref() == Some(url) {
        true => "webhook.notices.url",
        false if webhook.hook_urls().contains(&url) => "webhook.routes",
        false => "app.echo_server.auth_hosts",
    }
}

/// The finding about one URL.
fn evaluate(url: &WebhookUrl, key: &str, probed: &Probed) -> Finding {
    match probed {
        Ok((status @ 502..=504, _)) => Finding::error(
            format!("{url}: HTTP {status}: a proxy responds there, but no backend behind it"),
            format!("{key}: a URL at which the backend itself responds; check that it runs"),
        ),
        Ok((status, time)) => {
            let time = time.as_millis();
            Finding::fine(format!(
                "{url}: responds in {time} ms, HTTP {status} to HEAD"
            ))
        }
        Err(reason) => Finding::error(
            format!("{url}: {reason}"),
            format!("{key}: the host and port at which the backend listens; check that it runs"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Severity;

    #[test]
    fn any_response_but_that_of_a_proxy_without_a_backend_is_fine() {
        let url = WebhookUrl::parse("http://backend:3000/hook").unwrap();
        let time = Duration::from_millis(3);
        for (probed, severity, named) in [
            (Ok((200, time)), Severity::Fine, "in 3 ms"),
            (Ok((405, time)), Severity::Fine, "405"),
            (Ok((502, time)), Severity::Error, "502"),
            (
                Err("connection refused".to_owned()),
                Severity::Error,
                "connection refused",
            ),
        ] {
            let finding = evaluate(&url, "webhook.url", &probed);
            assert_eq!(finding.severity, severity, "{probed:?}");
            assert!(finding.to_string().contains(named), "{finding}");
        }
    }
}
