//! A backend: requests to the API of a node, in memory and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::test::TestRequest;
use roomwire::api::{self, Api, ApiSlot};
use roomwire::broker::Ingress;
use roomwire::model::{Query, QueryAnswer};
use serde_json::{Value, json};

use super::client::{Run, token};
use super::history::{ApiRequest, ApiResponse, EVERYBODY, Emit, EmitId, History, Sender, Verb};
use super::mutation::Mutation;

/// The key of the backend.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Time limit of a query that bypasses the API.
pub const QUERY_TIME: Duration = Duration::from_secs(2);
/// Entries of a list, more than a run has.
const LIMIT: u32 = 1000;
/// Fields of responses with times of the system's clock.
const WALL_TIMES: [&str; 3] = ["connected_at", "last_seen", "version"];

/// Sends requests to one node.
#[derive(Clone)]
pub struct Backend {
    pub node: usize,
    pub api: ApiSlot,
    pub ingress: Ingress,
}

impl Backend {
    /// Sends requests to the API of the node with this number.
    pub fn new(node: usize, api: Api) -> Self {
        Self {
            node,
            ingress: api.ingress.clone(),
            api: ApiSlot::new(Arc::new(api).into()),
        }
    }

    /// Requests an emit to a room, with the number of its recipients.
    pub fn emit(&self, run: &Run, room: &str) {
        let emit = note_emit(run, Sender::Api(self.node), room.to_owned(), None);
        self.request(run, Verb::Emit(emit));
    }

    /// Requests an emit to a room, a socket or everybody, perhaps without one socket.
    pub fn publish(&self, run: &Run, room: String, except: Option<String>) {
        let emit = note_emit(run, Sender::Api(self.node), room, except);
        self.request(run, Verb::Publish(emit));
    }

    /// Requests an emit whose acks are collected for at most `time`.
    pub fn call(&self, run: &Run, room: &str, time: Duration) {
        let emit = note_emit(run, Sender::Call(self.node), room.to_owned(), None);
        self.request(run, Verb::Call(emit, time));
    }

    /// Sends a request; its response is noted in the history when it arrives.
    pub fn request(&self, run: &Run, verb: Verb) {
        let number = {
            let mut history = run.history.borrow_mut();
            history.api.push(ApiRequest {
                node: self.node,
                verb: verb.clone(),
                sent: run.now(),
                response: None,
            });
            history.api.len() - 1
        };
        run.note(format_args!("n{} a{number}: {verb:?}", self.node));
        let (backend, run) = (self.clone(), run.clone());
        actix_rt::spawn(async move {
            let (status, mut body) = match &verb {
                Verb::Answers => (200, backend.answers().await),
                Verb::Revoke(_) if run.mutator.is(Mutation::IgnoreRevocation) => {
                    (200, json!({"stored": true}))
                }
                verb => {
                    let request = body_of(&run.history.borrow(), verb);
                    backend.post(request.0, &request.1).await
                }
            };
            run.mutator.change_response(&mut body);
            if run.mutator.strikes(Mutation::DelayResponse) {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let at = run.now();
            run.note(format_args!("n{} a{number}: {status} {body}", backend.node));
            let response = ApiResponse { at, status, body };
            let former = run.history.borrow_mut().api[number]
                .response
                .replace(response);
            assert!(former.is_none());
        });
    }

    async fn post(&self, verb: &str, body: &Value) -> (u16, Value) {
        let (request, payload) = TestRequest::post()
            .uri(&format!("/api/v1/{verb}"))
            .insert_header(("x-api-key", KEY))
            .set_payload(body.to_string())
            .to_http_parts();
        let response = api::serve(&self.api, request, payload).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body()).await.unwrap();
        (status, sorted(serde_json::from_slice(&body).unwrap()))
    }

    /// The sender of each answer to a query of all nodes, and the nodes without one.
    async fn answers(&self) -> Value {
        let gathered = self.ingress.query(Query::Nodes, QUERY_TIME).finish().await;
        let mut senders = Vec::new();
        for answer in gathered.answers {
            let QueryAnswer::Nodes(nodes) = answer else {
                panic!("{answer:?}")
            };
            senders.extend(nodes.iter().map(|summary| summary.node.to_string()));
        }
        let missing = gathered.missing.iter().map(ToString::to_string);
        let missing: Vec<String> = missing.collect();
        sorted(json!({"senders": senders, "missing": missing}))
    }
}

fn note_emit(run: &Run, sender: Sender, room: String, except: Option<String>) -> EmitId {
    let emit = Emit {
        sender,
        room,
        sent: run.now(),
        except,
    };
    let mut history = run.history.borrow_mut();
    history.emits.push(emit);
    history.emits.len() - 1
}

/// The name of a verb and the body of its request.
fn body_of(history: &History, verb: &Verb) -> (&'static str, Value) {
    let event = |id: EmitId| {
        let Emit { room, except, .. } = &history.emits[id];
        let mut body = json!({"event": "event", "args": [id, "x".repeat(id % 97 * 7)]});
        match room.as_str() {
            EVERYBODY => body["everybody"] = json!(true),
            room => body["rooms"] = json!([room]),
        }
        if let Some(except) = except {
            body["except"] = json!([except]);
        }
        body
    };
    let with = |mut request: Value, name: &str, value: Value| {
        request[name] = value;
        request
    };
    match verb {
        Verb::Sockets(room) => ("sockets", json!({"rooms": [room], "limit": LIMIT})),
        Verb::Socket(connection) => {
            let sid = &history.connections[*connection].sid;
            ("sockets", json!({"sockets": [sid], "limit": LIMIT}))
        }
        Verb::Everybody => ("sockets", json!({"everybody": true, "limit": LIMIT})),
        Verb::Members(room) => ("members", json!({"room": room, "limit": LIMIT})),
        Verb::Rooms => ("rooms", json!({"limit": LIMIT})),
        Verb::Users => ("users", json!({"limit": LIMIT})),
        Verb::Named => ("users", json!({ "users": super::world::USERS })),
        Verb::Info => ("info", json!({})),
        Verb::Publish(id) => ("emit", event(*id)),
        Verb::Emit(id) => ("emit", with(event(*id), "counts", json!(true))),
        Verb::Call(id, time) => {
            let milliseconds = json!(time.as_millis() as u64);
            ("call", with(event(*id), "timeout_ms", milliseconds))
        }
        Verb::Revoke(connection) => ("revoke", json!({"token": token(*connection)})),
        Verb::Answers => unreachable!("not a verb"),
    }
}

/// The same with every list in order and without times of the system's clock, which differ from run to run.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.into_iter().map(sorted).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let fields = fields.filter(|(name, _)| !WALL_TIMES.contains(&name.as_str()));
            let fields = fields.map(|(name, value)| (name, sorted(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}
