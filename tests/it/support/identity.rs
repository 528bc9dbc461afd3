//! Clients with identities, which a gate takes from a header.

use std::sync::Arc;

use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRequest};
use roomwire::model::{Actions, Grant, Identity};
use roomwire::server::Extensions;
use serde_json::Value;

use super::{TestServer, WebsocketClient};

/// Header with the claims of the client, in which `user` is the name of its user.
const CLAIMS: &str = "x-claims";

/// Identifies clients by the header, and passes those without it.
struct HeaderIdentity;

impl ConnectGate for HeaderIdentity {
    fn headers(&self) -> &[&'static str] {
        &[CLAIMS]
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let Some(claims) = request.handshake.header(CLAIMS) else {
            return GateOutcome::Now(Decision::Pass);
        };
        let read: Value = serde_json::from_str(claims).unwrap();
        let grants = read["can"].as_array().into_iter().flatten();
        let grants = grants.map(|rooms| Grant {
            rooms: rooms.as_str().unwrap().into(),
            actions: Actions::JOIN | Actions::EMIT,
        });
        let identity = Identity {
            user: read["user"].as_str().unwrap().to_owned(),
            claims: claims.to_owned(),
            grants: grants.collect(),
            ..Identity::default()
        };
        GateOutcome::Now(Decision::Allow(identity.into()))
    }
}

/// The gate that identifies clients.
pub fn identified() -> Extensions {
    Extensions {
        gates: vec![Arc::new(|| Box::new(HeaderIdentity))],
    }
}

/// A client in the main namespace with these claims.
pub async fn member_with(node: &TestServer, claims: &Value) -> WebsocketClient {
    let headers = [(CLAIMS, &*claims.to_string())];
    let mut client = WebsocketClient::open_with(&node.address(), &headers).await;
    client.connect("/").await;
    client
}

/// The ack of a request, which may come after events of others.
pub async fn reply(client: &mut WebsocketClient, request: &str) -> Value {
    client.send(&format!("42900{request}")).await;
    loop {
        if let Some(ack) = client.text().await.strip_prefix("43900") {
            let ack: Value = serde_json::from_str(ack).unwrap();
            return ack[0].clone();
        }
    }
}
