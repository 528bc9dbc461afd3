//! Which library a client probably uses, for metrics: by the header `User-Agent` of the request that opens its session, or
//! by what its query states.

use actix_web::http::header::{self, HeaderMap};

use crate::metrics::labels::{ClientKind, Label};

/// The parameter by which an application can name its client.
const PARAMETER: &str = "client";

/// How the headers of each kind begin, or what they contain.
const AGENTS: [(&str, ClientKind); 16] = [
    // A simulated browser in Node.
    ("jsdom/", ClientKind::Node),
    ("Mozilla/", ClientKind::Browser),
    // The polling transport of the stock client, and its `fetch`.
    ("node-XMLHttpRequest", ClientKind::Node),
    ("node", ClientKind::Node),
    ("Node.js", ClientKind::Node),
    ("aiohttp/", ClientKind::Python),
    ("python", ClientKind::Python),
    ("Python/", ClientKind::Python),
    ("okhttp/", ClientKind::Java),
    ("Java/", ClientKind::Java),
    // Apple's URL loading system.
    ("CFNetwork/", ClientKind::Swift),
    ("Dart/", ClientKind::Dart),
    ("WebSocket++/", ClientKind::Cpp),
    ("reqwest/", ClientKind::Rust),
    ("Go-http-client/", ClientKind::Go),
    (".NET", ClientKind::Dotnet),
];

/// The kind of the client that opens a session.
pub(super) fn client_kind(headers: &HeaderMap, query: &str) -> ClientKind {
    named(query).unwrap_or_else(|| match headers.get(header::USER_AGENT) {
        None => ClientKind::Unnamed,
        Some(agent) => of_agent(agent.to_str().unwrap_or_default()),
    })
}

/// The kind that the query names, if such a kind exists.
fn named(query: &str) -> Option<ClientKind> {
    if !query.contains(PARAMETER) {
        return None;
    }
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, name) = pairs.find(|(key, _)| key == PARAMETER)?;
    let kinds = AGENTS.iter().map(|(_, kind)| *kind);
    kinds
        .into_iter()
        .find(|kind| ClientKind::VALUES.get(kind.index()) == Some(&&*name))
}

fn of_agent(agent: &str) -> ClientKind {
    let found = AGENTS.iter().find(|(part, _)| agent.contains(part));
    found.map_or(ClientKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from the stock clients and the HTTP libraries that they use.
    #[test]
    fn libraries_are_recognised_by_their_user_agent() {
        for (agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
                ClientKind::Browser,
            ),
            (
                "Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/26.1.0",
                ClientKind::Node,
            ),
            ("node-XMLHttpRequest", ClientKind::Node),
            ("node", ClientKind::Node),
            ("Python/3.13 aiohttp/3.13.2", ClientKind::Python),
            ("python-requests/2.32.5", ClientKind::Python),
            ("okhttp/3.12.12", ClientKind::Java),
            (
                "Chat/1 CFNetwork/3860.200.71 Darwin/25.1.0",
                ClientKind::Swift,
            ),
            ("Dart/3.9 (dart:io)", ClientKind::Dart),
            ("WebSocket++/0.8.2", ClientKind::Cpp),
            ("Go-http-client/1.1", ClientKind::Go),
            ("curl/8.5.0", ClientKind::Other),
            ("", ClientKind::Other),
        ] {
            assert_eq!(of_agent(agent), expected, "{agent}");
        }
    }

    #[test]
    fn a_query_names_the_kind_of_a_client() {
        let mut headers = HeaderMap::new();
        assert_eq!(client_kind(&headers, "EIO=4"), ClientKind::Unnamed);
        assert_eq!(client_kind(&headers, "EIO=4&client=rust"), ClientKind::Rust);
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static("node"));
        assert_eq!(client_kind(&headers, "client=dotnet"), ClientKind::Dotnet);
        for query in ["", "client=", "client=x", "client=other", "xclient=rust"] {
            assert_eq!(client_kind(&headers, query), ClientKind::Node, "{query}");
        }
    }
}
