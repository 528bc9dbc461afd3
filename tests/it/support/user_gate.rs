//! A gate that trusts clients: the payload of a CONNECT is the identity.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRequest};
use roomwire::model::Identity;
use roomwire::server::Extensions;
use serde_json::Value;

/// Reads `{"user":…,"generation":…,"lives_ms":…}` from the payload of a CONNECT. Without a user the client is anonymous.
struct UserGate;

fn identity(auth: &str) -> Option<Identity> {
    let auth: Value = serde_json::from_str(auth).ok()?;
    let lives = auth["lives_ms"].as_u64().map(Duration::from_millis);
    Some(Identity {
        user: auth["user"].as_str()?.to_owned(),
        token: None,
        claims: String::new(),
        grants: Box::default(),
        issued: None,
        expires: lives.map(|lives| SystemTime::now() + lives),
        generation: auth["generation"].as_u64().unwrap_or_default(),
    })
}

impl ConnectGate for UserGate {
    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(identity(request.auth).map_or(Decision::Pass, Decision::Allow))
    }
}

/// Adds the gate to a node.
pub fn users() -> Extensions {
    Extensions {
        gates: vec![Arc::new(|| Box::new(UserGate))],
    }
}
