//! A gate that trusts clients: the payload of a CONNECT is the identity.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRejection, GateRequest};
use roomwire::model::Identity;
use roomwire::server::Extensions;
use serde_json::Value;

/// Reads `{"user":…,"token":…,"issued":…,"lives_ms":…}` from the payload of a CONNECT or of `roomwire:auth`. Without a
/// user the client is anonymous.
struct UserGate;

fn identity(auth_text: &str) -> Option<Identity> {
    let auth: Value = serde_json::from_str(auth_text).ok()?;
    let lives = auth["lives_ms"].as_u64().map(Duration::from_millis);
    Some(Identity {
        user: auth["user"].as_str()?.to_owned(),
        token: auth["token"].as_str().map(Into::into),
        claims: auth_text.to_owned(),
        grants: Box::default(),
        issued: auth["issued"]
            .as_u64()
            .map(|at| UNIX_EPOCH + Duration::from_secs(at)),
        expires: lives.map(|lives| SystemTime::now() + lives),
        generation: 0,
    })
}

impl ConnectGate for UserGate {
    fn refreshes(&self) -> bool {
        true
    }

    fn refresh(&self, request: &GateRequest<'_>) -> GateOutcome {
        let decision = match identity(request.auth) {
            Some(identity) => Decision::Allow(identity.into()),
            None => Decision::Reject(GateRejection {
                code: "token_malformed".into(),
                message: "no user".to_owned(),
                temporary: false,
            }),
        };
        if !request.auth.contains("slow") {
            return GateOutcome::Now(decision);
        }
        GateOutcome::Later(Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            decision
        }))
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let allow = |it: Identity| Decision::Allow(it.into());
        GateOutcome::Now(identity(request.auth).map_or(Decision::Pass, allow))
    }
}

/// Adds the gate to a node.
pub fn users() -> Extensions {
    Extensions {
        gates: vec![Arc::new(|| Box::new(UserGate))],
    }
}
