//! Gates: clients that pass them or are rejected, over both transports and through any node.

use std::sync::Arc;
use std::time::Duration;

use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRejection, GateRequest};
use roomwire::bus::memory::Hub;
use roomwire::model::Handshake;
use roomwire::server::Extensions;

use crate::support::http::Request;
use crate::support::server::config;
use crate::support::{PollingClient, TestCluster, TestServer, WebsocketClient, eventually};

const PASS: &str = "x-pass";
const NO_PASS: &str = r#"44{"message":"no pass","data":{"code":"no_pass"}}"#;
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// Rejects every session whose opening request has the header `x-pass: banned`, and every CONNECT unless that header
/// is `valid`. In the namespace `/slow` it decides after a pause.
struct HeaderGate;

fn rejection(code: &'static str, message: &str) -> Decision {
    Decision::Reject(GateRejection {
        code: code.into(),
        message: message.to_owned(),
        temporary: false,
    })
}

impl ConnectGate for HeaderGate {
    fn headers(&self) -> &[&'static str] {
        &[PASS]
    }

    fn on_open(&self, handshake: &Handshake) -> GateOutcome {
        GateOutcome::Now(match handshake.header(PASS) {
            Some("banned") => rejection("banned", "banned here"),
            _ => Decision::Pass,
        })
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let decision = match request.handshake.header(PASS) {
            Some("valid") => Decision::Pass,
            _ => rejection("no_pass", "no pass"),
        };
        if request.namespace.as_str() != "/slow" {
            return GateOutcome::Now(decision);
        }
        GateOutcome::Later(Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            decision
        }))
    }
}

fn gated() -> Extensions {
    Extensions {
        gates: vec![Arc::new(|| Box::new(HeaderGate))],
    }
}

async fn gated_node() -> TestServer {
    let config = config(&[("SOCKET__NAMESPACES", "/,/slow")]);
    TestServer::extended(config, None, gated()).await
}

#[actix_rt::test]
async fn a_gate_rejects_the_opening_request_of_either_transport() {
    let node = gated_node().await;
    let banned = [("X-Pass", "banned")];
    let response = node.send(Request::get(POLLING).headers(&banned)).await;
    assert_eq!(
        response.summary(),
        (
            403,
            r#"{"code":4,"message":"banned here","context":"banned"}"#
        )
    );
    let address = node.address();
    let rejected = WebsocketClient::handshake(&address, WEBSOCKET, &banned, false).await;
    let Err(rejected) = rejected else {
        panic!("the websocket opened")
    };
    assert_eq!(rejected.summary(), (400, "banned here"));
    node.sessions(0).await;
    eventually("no connection", || node.metrics().connections.get() == 0).await;
}

#[actix_rt::test]
async fn a_gate_decides_on_a_connect_by_the_header_of_the_opening_request() {
    let node = gated_node().await;
    let address = node.address();
    for (pass, namespace, prefix) in [
        ("valid", "", "40{"),
        ("valid", "/slow,", "40/slow,{"),
        ("expired", "", "44{"),
        ("expired", "/slow,", "44/slow,{"),
    ] {
        let headers = [("X-Pass", pass)];
        let connect = format!("40{namespace}");
        let mut polling = PollingClient::open_with(&address, &headers).await;
        polling.send(&connect).await;
        let mut websocket = WebsocketClient::open_with(&address, &headers).await;
        websocket.send(&connect).await;
        for response in [polling.next().await, websocket.text().await] {
            assert!(response.starts_with(prefix), "{pass} {connect}: {response}");
        }
    }
}

#[actix_rt::test]
async fn a_gate_checks_the_opening_request_of_a_session_whose_connect_arrives_through_another_node()
{
    let cluster = TestCluster::<2>::extended(&config(&[]), Hub::default(), &gated()).await;
    let [owner, other] = &cluster.nodes;
    let mut client = PollingClient::open_with(&owner.address(), &[("X-Pass", "valid")]).await;
    client.turn_to(&other.address());
    client.connect().await;

    let mut rejected = PollingClient::open_with(&owner.address(), &[]).await;
    rejected.turn_to(&other.address());
    rejected.send("40").await;
    rejected.expect(NO_PASS).await;

    // The header of a later request of the session does not count.
    let target = format!("{WEBSOCKET}&sid={}", rejected.sid);
    let headers = [("X-Pass", "valid")];
    let address = other.address();
    let websocket = WebsocketClient::handshake(&address, &target, &headers, false).await;
    let mut websocket = websocket.unwrap();
    websocket.send("2probe").await;
    websocket.expect("3probe").await;
    websocket.send("5").await;
    websocket.send("40").await;
    websocket.expect(NO_PASS).await;
}
