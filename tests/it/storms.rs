//! Many clients that connect at once: who comes first, who is rejected, and what the others notice of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually, within_deadline};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const RECOVERING: &str = "[recovery]\nnamespaces = [\"/\"]\n";

/// How long the worker is busy with the first session.
const BUSY: Duration = Duration::from_secs(7);

/// A gate that keeps its worker busy with the first session.
#[derive(Clone, Default)]
struct SlowGate {
    was_busy: Arc<AtomicBool>,
}

impl ConnectGate for SlowGate {
    fn on_open(&self, _: &Handshake) -> GateOutcome {
        if !self.was_busy.swap(true, Ordering::Relaxed) {
            std::thread::sleep(BUSY);
        }
        GateOutcome::Now(Decision::Pass)
    }

    fn on_connect(&self, _: &GateRequest<'_>) -> GateOutcome {
        GateOutcome::Now(Decision::Pass)
    }
}

/// A node with one worker that rejects new sessions once it is late by 5 s, and whether the worker is busy.
async fn slow_node() -> (TestServer, Arc<AtomicBool>) {
    let gate = SlowGate::default();
    let busy = Arc::clone(&gate.was_busy);
    let gates: Extensions = Extensions {
        gates: vec![Arc::new(move || Box::new(gate.clone()))],
    };
    let settings = [("SERVER__WORKERS", "1"), ("LIMITS__HANDSHAKE_DELAY", "5s")];
    let node = TestServer::extended(config(&settings), None, gates).await;
    (node, busy)
}

/// Opens the session with which the worker is busy.
async fn keep_busy(node: &TestServer) {
    let response = node.send(Request::get(POLLING)).await;
    assert_eq!(response.status, 200);
}

/// Waits until the worker is busy.
async fn is_busy(busy: &AtomicBool) {
    eventually("a busy worker", || busy.load(Ordering::Relaxed)).await;
}

#[actix_rt::test]
async fn while_a_worker_is_late_new_sessions_are_rejected_early_and_later_accepted_again() {
    let (node, busy) = slow_node().await;
    let polling = async {
        is_busy(&busy).await;
        join_all((0..50).map(|_| node.send(Request::get(POLLING)))).await
    };
    let websockets = async {
        is_busy(&busy).await;
        join_all((0..50).map(|_| async {
            let address = node.address();
            WebsocketClient::handshake(&address, WEBSOCKET, &[], false)
                .await
                .err()
        }))
        .await
    };
    let ((), polling, websockets) = tokio::join!(keep_busy(&node), polling, websockets);
    let accepted = polling.iter().filter(|it| it.status == 200).count();
    let rejected: Vec<_> = polling.iter().filter(|it| it.status != 200).collect();
    let of_websockets: Vec<_> = websockets.iter().flatten().collect();
    let accepted = accepted + websockets.len() - of_websockets.len();
    let numbers = (accepted, rejected.len(), of_websockets.len());
    assert!(
        numbers.0 > 0 && numbers.1 > 1 && numbers.2 > 0,
        "{numbers:?}"
    );
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
    within_deadline("a new session", async {
        while node.send(Request::get(POLLING)).await.status != 200 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn a_client_that_takes_part_in_recovery_is_rejected_later_if_its_query_shows_that() {
    let (node, busy) = slow_node().await;
    let recovering = format!("{POLLING}&recover=1");
    let request = async |number: usize| {
        is_busy(&busy).await;
        let is_new = number < 40;
        let target = if is_new { POLLING } else { &recovering };
        node.send(Request::get(target)).await
    };
    let ((), mut new) = tokio::join!(keep_busy(&node), join_all((0..45).map(request)));
    let continuing = new.split_off(40);
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
    let settings = [
        ("SERVER__WORKERS", "1"),
        ("ENGINE__PING_INTERVAL", "10m"),
        ("SOCKET__CONNECT_TIMEOUT", "10m"),
    ];
    let config = config_with_file(&settings, Some(RECOVERING));
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
    let most = Duration::from_secs(30);
    assert!(
        probes < most && accepts < most && acks < most,
        "{probes:?} {accepts:?} {acks:?}"
    );
    let reads = |source| second.metrics().recovery_reads_total.of(source).get();
    let (store, shared) = (reads(LogReadSource::Store), reads(LogReadSource::Shared));
    assert!(store + shared >= CLIENTS as u64, "{store} {shared}");
    assert!(store < 20, "the others are shared: {store} {shared}");
}

#[actix_rt::test]
async fn hundreds_that_join_a_room_with_presence_at_once_overflow_no_queue() {
    const CLIENTS: usize = 400;
    const LARGE: u64 = 50;
    let rooms = format!(
        "app.relay.members = \"anyone\"\n[[presence.rooms]]\npattern = \"hall\"\nmax_members = {LARGE}\n{RECOVERING}"
    );
    let config = config_with_file(&[], Some(&rooms));
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    let is_over = Cell::new(false);
    let watch = async {
        let mut most = 0;
        while !is_over.get() {
            for node in &cluster.nodes {
                most = most.max(node.metrics().presence_pending_changes.get());
            }
            sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let join = async |number: usize| {
        let mut client = cluster.nodes[number % 2].websocket().await;
        let auth = json!({"roomwire": {"recover": true}});
        client.send(&format!("40{auth}")).await;
        assert!(client.text().await.starts_with("40{"));
        client.send(r#"420["roomwire:join","hall"]"#).await;
        loop {
            let packet = client.text().await;
            if packet.starts_with("430") {
                assert!(packet.contains(r#""ok":true"#), "{packet}");
                return client;
            }
        }
    };
    let joining = async {
        let clients = join_all((0..CLIENTS).map(join)).await;
        let mut observer = cluster.nodes[0].member().await;
        within_deadline("all members", async {
            loop {
                let members = r#"["roomwire:members","hall",{"limit":1}]"#;
                let response = observer.ask(members).await;
                if response.contains(&format!(r#""count":{CLIENTS}"#)) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        is_over.set(true);
        clients
    };
    let (most, clients) = tokio::join!(watch, joining);
    assert!(most <= CLIENTS as i64, "{most}");
    // Members are notified of each other only while they are few.
    let events: u64 = cluster
        .nodes
        .iter()
        .map(|it| it.metrics().presence_events_total.get())
        .sum();
    assert!((LARGE..LARGE + 40).contains(&events), "{events} events");
    for node in &cluster.nodes {
        let metrics = node.metrics();
        assert_eq!(metrics.slow_consumers_total.get(), 0);
        assert_eq!(metrics.bus_dropped_total.get(), 0);
        assert_eq!(metrics.presence_failures_total.get(), 0);
        let in_queues = metrics.send_queue_bytes.get();
        assert!(in_queues < 1 << 20, "{in_queues} bytes wait for clients");
    }
    drop(clients);
}
