//! Socket handles: the order of their requests, and that every wait ends.

use std::cell::RefCell;

use super::*;
use crate::app::{Effect, JoinedRooms, SocketHandle};
use crate::model::{Payload, Room};

/// Keeps the handle of the last socket that was opened.
#[derive(Default)]
struct HandleApp(RefCell<Option<SocketHandle>>);

impl App for HandleApp {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        *self.0.borrow_mut() = Some(context.access.handle());
        self
    }
}

impl SocketHandler for HandleApp {
    /// Applies an effect before the socket is connected, and returns one that is applied afterwards.
    fn on_connect(&self, _context: &SocketContext<'_>, _auth: &str) -> Outcome {
        let handle = self.handle();
        handle.apply([emit("early")]);
        let join = handle.join(vec![Room::from("r")]);
        Outcome::later(async move {
            let outcome = match join.await {
                None => "not joined",
                Some(_) => "joined",
            };
            [emit(outcome)].into()
        })
    }

    fn on_connected(&self, _context: &SocketContext<'_>) -> Outcome {
        [emit("connected")].into()
    }

    fn on_event(&self, _context: &SocketContext<'_>, _event: Event) -> Outcome {
        Outcome::none()
    }
}

impl HandleApp {
    fn handle(&self) -> SocketHandle {
        self.0.borrow().clone().unwrap()
    }
}

fn emit(name: &str) -> Effect {
    Effect::Emit(Payload::event(name, []))
}

/// A connected socket, its session, and its first packets after the CONNECT response.
async fn connected() -> (SocketHandle, Addr<Session>, String) {
    let app = Rc::new(HandleApp::default());
    let worker = worker_with(Rc::clone(&app) as Rc<dyn App>, Gates::default());
    let session = polling(&worker).await;
    post(&session, 1, "40").await;
    let handle = app.handle();
    let mut packets = String::new();
    while !packets.contains("connected") {
        packets.push_str(&body(pull(&session)).await);
    }
    let (connect, events) = packets.split_once('\u{1e}').unwrap();
    assert!(connect.starts_with("40{"), "{packets}");
    (handle, session, events.to_owned())
}

#[actix_rt::test]
async fn requests_from_before_the_connect_response_are_applied_after_it_but_a_join_fails() {
    let (_, _session, events) = connected().await;
    let expected = ["42[\"early\"]", "42[\"not joined\"]", "42[\"connected\"]"];
    assert_eq!(events.split('\u{1e}').collect::<Vec<_>>(), expected);
}

#[actix_rt::test]
async fn a_join_completes_without_the_rooms_beyond_the_limit() {
    let (handle, _session, _) = connected().await;
    let joined = handle.join(vec![Room::from("a"), Room::from("b")]).await;
    let expected = JoinedRooms {
        rooms: vec![Room::from("a")],
        degraded: false,
    };
    assert_eq!(joined, Some(expected));
}

#[actix_rt::test]
async fn an_emit_with_ack_resolves_to_the_ack_of_the_client() {
    let (handle, session, _) = connected().await;
    handle.apply([emit("before")]);
    let ack = handle.emit_with_ack(Payload::event("e", []), None);
    handle.apply_and_wait([emit("after")].into()).await;
    let packets = body(pull(&session)).await;
    assert_eq!(packets, "42[\"before\"]\u{1e}420[\"e\"]\u{1e}42[\"after\"]");
    post(&session, 2, "430[\"yes\"]").await;
    assert_eq!(ack.await, Some(Payload::text("[\"yes\"]")));
}

#[actix_rt::test]
async fn an_emit_with_ack_ends_at_its_deadline_and_then_delays_no_shutdown() {
    let (handle, session, _) = connected().await;
    let deadline = Duration::from_millis(10);
    let ack = handle.emit_with_ack(Payload::event("e", []), Some(deadline));
    assert_eq!(ack.await, None);
    session.do_send(ShutDown {
        is_fenced: false,
        ack_timeout: Duration::from_secs(3600),
    });
    let packets = body(pull(&session)).await;
    assert_eq!(packets, "420[\"e\"]");
    assert_eq!(body(pull(&session)).await, "1");
}

#[actix_rt::test]
async fn an_emit_with_ack_ends_with_its_socket_and_beyond_max_pending_acks() {
    let (handle, session, _) = connected().await;
    let oldest = handle.emit_with_ack(Payload::event("e", []), None);
    let newest = handle.emit_with_ack(Payload::event("e", []), None);
    assert_eq!(oldest.await, None);
    post(&session, 2, "41").await;
    assert_eq!(newest.await, None);
    let late = handle.emit_with_ack(Payload::event("e", []), None);
    assert_eq!(late.await, None);
    assert_eq!(handle.join(vec![Room::from("r")]).await, None);
}

#[actix_rt::test]
async fn every_wait_of_a_handle_ends_with_its_session() {
    let (handle, session, _) = connected().await;
    let ack = handle.emit_with_ack(Payload::event("e", []), None);
    session.do_send(ShutDown {
        is_fenced: false,
        ack_timeout: Duration::ZERO,
    });
    assert_eq!(ack.await, None);
    assert_eq!(handle.join(vec![Room::from("r")]).await, None);
    handle.apply_and_wait([emit("late")].into()).await;
}
