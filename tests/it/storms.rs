//! Many clients that connect at once: who comes first, who is rejected, and what the others notice of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use roomwire::app::gate::{ConnectGate, Decision, GateOutcome, GateRequest};
use roomwire::bus::memory::Hub;
use roomwire::metrics::labels::{LimitRejection, LogReadSource};
use roomwire::model::Handshake;
use roomwire::server::Extensions;
use serde_json::json;
use tokio::time::sleep;

use crate::support::api::{WITH_API, request};
use crate::support::http::Request;
use crate::support::returning::{Network, ReturningClient};
use crate::support::server::{config, config_with_file};
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const RECOVERING: &str = "[recovery]\nnamespaces = [\"/\"]\n";

/// A gate that keeps its worker busy with each new session.
struct SlowGate(Duration);

impl ConnectGate for SlowGate {
    fn on_open(&self, _: &Handshake) -> GateOutcome {
        std::thread::sleep(self.0);
        GateOutcome::Now(Decision::Pass)
    }

    fn on_connect(&self, _: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(Decision::Pass)
    }
}

#[actix_rt::test]
async fn while_a_worker_is_late_new_sessions_are_rejected_early_and_later_accepted_again() {
    let delay = Duration::from_millis(1000);
    let gate = Extensions {
        gates: vec![Arc::new(|| Box::new(SlowGate(Duration::from_millis(60))))],
    };
    let settings = config(&[("SERVER__WORKERS", "1"), ("LIMITS__HANDSHAKE_DELAY", "1s")]);
    let node = TestServer::extended(settings, None, gate).await;
    let mut client = node.member().await;
    let started = Instant::now();
    let polling = join_all((0..50).map(|_| node.send(Request::get(POLLING))));
    let websockets = join_all((0..20).map(|_| async {
        let address = node.address();
        match WebsocketClient::handshake(&address, WEBSOCKET, &[], false).await {
            Ok(_) => None,
            Err(rejection) => Some(rejection),
        }
    }));
    let (polling, websockets) = tokio::join!(polling, websockets);
    assert!(started.elapsed() >= delay);
    let accepted = polling.iter().filter(|it| it.status == 200).count();
    let rejected: Vec<_> = polling.iter().filter(|it| it.status != 200).collect();
    let of_websockets: Vec<_> = websockets.iter().flatten().collect();
    assert!(accepted > 0 && !rejected.is_empty() && !of_websockets.is_empty());
    let mut pauses = BTreeSet::new();
    for rejection in &rejected {
        let body = r#"{"code":14,"message":"Too busy for new sessions","context":"limits.handshake_delay"}"#;
        assert_eq!(rejection.summary(), (503, body));
        let pause = rejection.header("retry-after").unwrap();
        pauses.insert(pause.parse::<u32>().unwrap());
    }
    assert!(pauses.len() > 1 && pauses.iter().all(|pause| (1..=5).contains(pause)));
    for rejection in &of_websockets {
        assert_eq!(rejection.summary(), (503, "Too busy for new sessions"));
        assert!(rejection.header("retry-after").is_some());
    }
    let counted = node
        .metrics()
        .limit_rejected_total
        .of(LimitRejection::HandshakeDelay);
    assert_eq!(counted.get() as usize, rejected.len() + of_websockets.len());
    // Rejections are cheap: those who are connected are served again at once, and so are new ones.
    client.quiet().await;
    assert_eq!(node.send(Request::get(POLLING)).await.status, 200);
}

#[actix_rt::test]
async fn a_client_that_takes_part_in_recovery_is_rejected_later_if_its_query_shows_that() {
    let gate = Extensions {
        gates: vec![Arc::new(|| Box::new(SlowGate(Duration::from_millis(60))))],
    };
    let settings = config(&[("SERVER__WORKERS", "1"), ("LIMITS__HANDSHAKE_DELAY", "1s")]);
    let node = TestServer::extended(settings, None, gate).await;
    let recovering = format!("{POLLING}&recover=1");
    let new = join_all((0..40).map(|_| node.send(Request::get(POLLING))));
    let continuing = async {
        sleep(Duration::from_millis(200)).await;
        join_all((0..5).map(|_| node.send(Request::get(&recovering)))).await
    };
    let (new, continuing) = tokio::join!(new, continuing);
    assert!(new.iter().any(|response| response.status == 503));
    assert!(continuing.iter().all(|response| response.status == 200));
}

/// A gate that notes who comes, and decides about new sessions only when it is opened.
#[derive(Clone, Default)]
struct ClosedGate {
    came: Arc<Mutex<Vec<bool>>>,
    opened: Arc<tokio::sync::Notify>,
}

impl ConnectGate for ClosedGate {
    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let continues = request.auth.contains("pid");
        self.came.lock().unwrap().push(continues);
        if continues {
            return GateOutcome::Now(Decision::Pass);
        }
        let opened = Arc::clone(&self.opened);
        GateOutcome::Later(Box::pin(async move {
            opened.notified().await;
            Decision::Pass
        }))
    }
}

#[actix_rt::test]
async fn clients_that_continue_a_session_are_connected_before_new_ones_that_wait() {
    let gate = ClosedGate::default();
    let gates = gate.clone();
    let extensions = Extensions {
        gates: vec![Arc::new(move || Box::new(gates.clone()))],
    };
    let config = config_with_file(&[("SERVER__WORKERS", "1")], Some(RECOVERING));
    let node = TestServer::extended(config, None, extensions).await;
    let mut clients = join_all((0..400).map(|_| node.websocket())).await;
    for client in &mut clients[..380] {
        client.send("40").await;
    }
    eventually("a full worker", || gate.came.lock().unwrap().len() >= 256).await;
    let auth = json!({"roomwire": {"recover": true}, "pid": "abcdefghijklmnopqrstuvwx"});
    for client in &mut clients[380..] {
        client.send(&format!("40{auth}")).await;
    }
    for client in &mut clients[380..] {
        // The session does not exist; what counts is that it is decided.
        assert!(client.text().await.starts_with("40{"));
    }
    let came = gate.came.lock().unwrap().clone();
    let first = came.iter().position(|continues| *continues).unwrap();
    let last = came.iter().rposition(|continues| *continues).unwrap();
    let new = came[first..last].iter().filter(|continues| !**continues);
    assert!(new.count() <= 20 / 7 + 1, "of eight that follow one is new");
    // Nobody is left out.
    eventually("all others", || gate.came.lock().unwrap().len() == 400).await;
    gate.opened.notify_waiters();
    for client in &mut clients[..380] {
        assert!(client.text().await.starts_with("40{"));
    }
}

/// The longest time that something took, repeated until the storm is over.
async fn longest<F: Future>(is_over: &Cell<bool>, mut attempt: impl FnMut() -> F) -> Duration {
    let mut longest = Duration::ZERO;
    while !is_over.get() {
        let started = Instant::now();
        attempt().await;
        longest = longest.max(started.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    longest
}

#[actix_rt::test]
async fn hundreds_that_come_back_at_once_receive_everything_while_others_are_served() {
    const CLIENTS: usize = 200;
    const MISSED: u64 = 100;
    let config = config_with_file(&WITH_API, Some(RECOVERING));
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let [first, second] = &cluster.nodes;
    let network = Network::new(vec![first.address(), second.address()]);
    let clients = (0..CLIENTS).map(|_| ReturningClient::start(&network, 0, "storm"));
    let (seen, _running): (Vec<_>, Vec<_>) = clients.unzip();
    ReturningClient::ready(&seen).await;
    let emit = async |number: u64| {
        let body = json!({"event": "n", "rooms": ["storm"], "args": [number]});
        request(second, "emit", &body.to_string()).await;
    };
    emit(1).await;
    join_all(seen.iter().map(|seen| seen.received_all(1))).await;
    network.cut();
    for number in 2..=MISSED {
        emit(number).await;
    }
    let mut live = second.member().await;
    let is_over = Cell::new(false);
    let storm = async {
        network.heal();
        join_all(seen.iter().map(|seen| seen.received_all(MISSED))).await;
        is_over.set(true);
    };
    let probes = longest(&is_over, || second.send(Request::get("/readyz")));
    let accepts = longest(&is_over, || second.websocket());
    let acks = async {
        let mut longest = Duration::ZERO;
        while !is_over.get() {
            let started = Instant::now();
            live.quiet().await;
            longest = longest.max(started.elapsed());
        }
        longest
    };
    let ((), probes, accepts, acks) = tokio::join!(storm, probes, accepts, acks);
    assert!(seen.iter().all(|seen| seen.recovered.get() == 1));
    // Far more than on a machine that has nothing else to do.
    let most = Duration::from_secs(2);
    assert!(
        probes < most && accepts < most && acks < most,
        "{probes:?} {accepts:?} {acks:?}"
    );
    let reads = |source| second.metrics().recovery_reads_total.of(source).get();
    let (store, shared) = (reads(LogReadSource::Store), reads(LogReadSource::Shared));
    assert!(store + shared >= CLIENTS as u64, "{store} {shared}");
    assert!(store < 20, "the others are shared: {store} {shared}");
}
