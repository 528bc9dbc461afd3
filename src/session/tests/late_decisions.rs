//! Gates that decide after the CONNECT response.

use super::*;
use crate::app::gate::GateRejection;

/// Decides 20 ms after the CONNECT response: the payload of the CONNECT is the decision, or else the user.
struct LateGate;

impl ConnectGate for LateGate {
    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let reject = |temporary| {
            Decision::Reject(GateRejection {
                code: "not_admitted".into(),
                message: "not admitted".to_owned(),
                temporary,
            })
        };
        let decision = match request.auth {
            r#"{"late":"pass"}"# => Decision::Pass,
            r#"{"late":"reject"}"# => reject(false),
            r#"{"late":"retry"}"# => reject(true),
            auth => {
                let user = auth.trim_matches(['{', '}', '"', ':']).to_owned();
                let identity = Identity {
                    user,
                    ..Identity::default()
                };
                Decision::Allow(identity.into())
            }
        };
        GateOutcome::AfterConnect(Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            decision
        }))
    }
}

/// Emits to a client what happens to its socket, with its user.
struct ReportingApp;

impl App for ReportingApp {
    fn open(self: Rc<Self>, _socket: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        self
    }
}

fn report(what: &str, socket: &SocketContext<'_>) -> Outcome {
    let user = socket.identity.map_or("nobody", |identity| &identity.user);
    let user = format!("\"{user}\"");
    [Effect::Emit(Payload::event(what, [user.as_str()]))].into()
}

impl SocketHandler for ReportingApp {
    fn on_connected(&self, socket: &SocketContext<'_>) -> Outcome {
        report("connected", socket)
    }

    fn on_event(&self, socket: &SocketContext<'_>, _event: Event) -> Outcome {
        report("event", socket)
    }
}

fn late_worker() -> Rc<Worker> {
    let gates = Gates::new(&[std::sync::Arc::new(|| Box::new(LateGate))]);
    worker_with(Rc::new(ReportingApp), gates)
}

/// A session whose client has sent a CONNECT with this payload and an event, and received the CONNECT response.
async fn connecting(worker: &Rc<Worker>, packets: &'static str) -> Addr<Session> {
    let session = polling_with(worker, Some(credentials())).await;
    post(&session, 1, packets).await;
    let response = body(pull(&session)).await;
    assert!(response.starts_with("40{"), "{response}");
    assert!(
        !response.contains('\u{1e}'),
        "the app is called: {response}"
    );
    session
}

/// What the client receives once the gate has decided. No flusher runs here that would end an earlier poll.
async fn decided(session: &Addr<Session>) -> String {
    tokio::time::sleep(Duration::from_millis(60)).await;
    body(pull(session)).await
}

#[actix_rt::test]
async fn events_wait_for_a_decision_that_follows_the_connect_response() {
    for (packets, user) in [
        ("40{\"ada\":\"\"}\u{1e}42[\"event\"]", "ada"),
        ("40{\"late\":\"pass\"}\u{1e}42[\"event\"]", "nobody"),
    ] {
        let worker = late_worker();
        let session = connecting(&worker, packets).await;
        let reports = decided(&session).await;
        let expected = format!("42[\"connected\",\"{user}\"]\u{1e}42[\"event\",\"{user}\"]");
        assert_eq!(reports, expected);
        for (room, event) in [("user:nobody", "gone"), ("user:ada", "there")] {
            worker.shard.dispatch(Command::Emit(Emit {
                to: Selector::room(Namespace::main(), Room::from(room)),
                payload: Payload::event(event, []),
                volatile: false,
                ack: None,
                conflate: None,
            }));
        }
        if user == "ada" {
            assert_eq!(body(pull(&session)).await, r#"42["there"]"#);
        }
    }
}

#[actix_rt::test]
async fn a_rejection_after_the_connect_response_disconnects_the_socket() {
    let worker = late_worker();
    let packets = "40{\"late\":\"reject\"}\u{1e}42[\"event\"]";
    let session = connecting(&worker, packets).await;
    assert_eq!(decided(&session).await, "41");
    assert_eq!(worker.session_ids().len(), 1, "the session continues");
}

#[actix_rt::test]
async fn a_temporary_rejection_after_the_connect_response_closes_the_session() {
    let worker = late_worker();
    let packets = "40{\"late\":\"retry\"}\u{1e}42[\"event\"]";
    let session = connecting(&worker, packets).await;
    assert_eq!(decided(&session).await, "1");
    assert_gone(&worker, &session).await;
}

#[actix_rt::test]
async fn a_decision_on_a_socket_that_has_left_has_no_effect() {
    let worker = late_worker();
    let session = connecting(&worker, "40{\"ada\":\"\"}\u{1e}42[\"event\"]").await;
    post(&session, 2, "41").await;
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(worker.identity_index.borrow().all().count(), 0);
    post(&session, 3, "40{\"bob\":\"\"}").await;
    assert!(body(pull(&session)).await.starts_with("40{"));
    assert_eq!(decided(&session).await, r#"42["connected","bob"]"#);
    assert_eq!(worker.identity_index.borrow().all().count(), 1);
}
