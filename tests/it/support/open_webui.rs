//! A backend that serves the REST requests of the Open WebUI app and records them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roomwire::store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::python::PythonProcess;
use super::upstream::RawUpstream;
use super::{TestCluster, TestServer, WebsocketClient, within_deadline};

/// Responses and recorded requests.
#[derive(Default)]
struct State {
    /// Accounts by token.
    accounts: BTreeMap<String, Value>,
    channels: Vec<String>,
    /// Responses of other paths.
    responses: BTreeMap<String, (u16, Value)>,
    /// Responses that take precedence, for any token.
    overrides: BTreeMap<String, (u16, Value)>,
    requests: Vec<String>,
    /// The reported version, if not the default one.
    version: Option<String>,
    /// Responds with 503 to everything.
    down: bool,
}

/// A running backend.
pub struct Backend {
    state: Arc<Mutex<State>>,
    /// Delay of each response in milliseconds.
    delay: Arc<AtomicU64>,
    pub url: String,
}

impl Backend {
    /// Starts a backend without accounts.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let delay = Arc::new(AtomicU64::new(0));
        let (shared, pause) = (Arc::clone(&state), Arc::clone(&delay));
        let server = HttpServer::new(move || {
            let (state, delay) = (Arc::clone(&shared), Arc::clone(&pause));
            App::new().default_service(web::to(move |request: HttpRequest| {
                let (state, delay) = (Arc::clone(&state), Arc::clone(&delay));
                async move {
                    tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
                    respond_to(&state, &request)
                }
            }))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_rt::spawn(server.run());
        Self { state, delay, url }
    }

    /// Adds a user with all permissions and this role; returns the token.
    pub fn account(&self, name: &str, role: &str) -> String {
        self.account_with(name, role, token(name))
    }

    /// Adds such a user with the given token.
    pub fn account_with(&self, name: &str, role: &str, token: String) -> String {
        let account = json!({
            "id": name, "name": name.to_uppercase(), "role": role, "email": format!("{name}@x"),
            "permissions": {"features": {"channels": true, "notes": true}},
        });
        self.state
            .lock()
            .unwrap()
            .accounts
            .insert(token.clone(), account);
        token
    }

    /// Removes all accounts.
    pub fn revoke_all_tokens(&self) {
        self.state.lock().unwrap().accounts.clear();
    }

    /// Sets the channels of every user.
    pub fn set_channels(&self, channels: &[&str]) {
        self.state.lock().unwrap().channels = channels.iter().map(ToString::to_string).collect();
    }

    /// Sets the response of a path; 404 by default.
    pub fn set_response(&self, path: &str, status: u16, body: Value) {
        let mut state = self.state.lock().unwrap();
        state.responses.insert(path.to_owned(), (status, body));
    }

    /// Sets the reported version.
    pub fn set_version(&self, version: &str) {
        self.state.lock().unwrap().version = Some(version.to_owned());
    }

    /// Sets the response of a path for any token.
    pub fn set_override(&self, path: &str, status: u16, body: Value) {
        let mut state = self.state.lock().unwrap();
        state.overrides.insert(path.to_owned(), (status, body));
    }

    /// Makes every response 503.
    pub fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// Delays each response.
    pub fn set_delay(&self, delay: Duration) {
        self.delay
            .store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// The paths requested since the last call, except the version.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

/// Accepts the upstream connections to a backend, for a test to serve.
pub struct Upstreams(mpsc::UnboundedReceiver<TcpStream>);

impl Upstreams {
    /// Changes the URL of `backend`, so that REST requests still reach it and upstream connections are accepted here.
    pub async fn in_front_of(backend: &mut Backend) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rest = backend.url.replacen("http://", "", 1);
        backend.url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, upstreams) = mpsc::unbounded_channel();
        actix_rt::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (sender, rest) = (sender.clone(), rest.clone());
                actix_rt::spawn(async move {
                    let mut first = [0; 18];
                    // Clients send a request at once.
                    while client.peek(&mut first).await.unwrap() < first.len() {}
                    if first.starts_with(b"GET /ws/socket.io/") {
                        // The test may be over.
                        let _ = sender.send(client);
                        return;
                    }
                    let mut backend = TcpStream::connect(rest).await.unwrap();
                    // Ends when either side closes.
                    let _ = copy_bidirectional(&mut client, &mut backend).await;
                });
            }
        });
        Self(upstreams)
    }

    /// The next upstream connection, which must be of this user. Its `user-join` is acknowledged.
    pub async fn next(&mut self, token: &str) -> RawUpstream {
        let (mut upstream, id) = self.next_unacknowledged(token).await;
        upstream.send(&format!(r#"43{id}[{{"id":"u"}}]"#)).await;
        upstream
    }

    /// The same without the ack of `user-join`; returns the id of the ack.
    pub async fn next_unacknowledged(&mut self, token: &str) -> (RawUpstream, String) {
        let mut upstream = RawUpstream::serve(self.stream().await).await;
        upstream
            .expect(&format!(r#"40{{"token":"{token}"}}"#))
            .await;
        upstream.send(r#"40{"sid":"at-the-backend"}"#).await;
        let join = json!(["user-join", {"auth": {"token": token}}]);
        let id = upstream.expect_event(&join.to_string()).await;
        (upstream, id)
    }

    /// Rejects the next upstream connection, like a backend that has websockets disabled.
    pub async fn reject_next(&mut self) {
        let mut stream = self.stream().await;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let response = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(response).await.unwrap();
    }

    async fn stream(&mut self) -> TcpStream {
        within_deadline("an upstream connection", self.0.recv())
            .await
            .unwrap()
    }

    /// Whether no further upstream connection was opened.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// A token of a user, like those of backends but not signed.
pub fn token(user: &str) -> String {
    token_until(user, None)
}

/// Such a token with a time of expiry, in seconds since 1970.
pub fn token_until(user: &str, expires: Option<u64>) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let expires = expires.map_or_else(String::new, |time| format!(r#","exp":{time}"#));
    let body = format!(r#"{{"id":"{user}","jti":"jti-{user}","iat":1000{expires}}}"#);
    format!("{}.{}.AAAA", part(r#"{"alg":"HS256"}"#), part(&body))
}

fn respond(status: u16, body: &Value) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).json(body)
}

fn respond_to(state: &Mutex<State>, request: &HttpRequest) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let path = request.path().to_owned();
    if path == "/api/version" {
        let version = state.version.as_deref().unwrap_or("0.12.4");
        return HttpResponse::Ok().json(json!({"version": version}));
    }
    state.requests.push(path.clone());
    if state.down {
        return HttpResponse::ServiceUnavailable().finish();
    }
    if let Some((status, body)) = state.overrides.get(&path) {
        return respond(*status, body);
    }
    let token = request.headers().get("Authorization");
    let token = token.and_then(|token| token.to_str().ok()?.strip_prefix("Bearer "));
    let Some(account) = token.and_then(|token| state.accounts.get(token)) else {
        return HttpResponse::Unauthorized().json(json!({"detail": "no"}));
    };
    match path.as_str() {
        "/api/v1/auths/" => HttpResponse::Ok().json(account),
        "/api/v1/channels/" => {
            let channels = state.channels.iter();
            let channels: Vec<Value> = channels.map(|id| json!({"id": id, "name": id})).collect();
            HttpResponse::Ok().json(channels)
        }
        path => match state.responses.get(path) {
            Some((status, body)) => respond(*status, body),
            None => HttpResponse::NotFound().json(json!({"detail": "nothing"})),
        },
    }
}

/// Nodes in front of a backend.
pub async fn cluster<const N: usize>(backend: &Backend, more: &[(&str, &str)]) -> TestCluster<N> {
    let usual = [
        ("APP__KIND", "open_webui"),
        ("APP__OPEN_WEBUI__UPSTREAMS", backend.url.as_str()),
        ("BUS__REDIS_URL", "redis://in-memory"),
        ("ENGINE__PATH", "/socket.io"),
        ("APP__OPEN_WEBUI__RETRY_TIMEOUT", "30s"),
    ];
    TestCluster::with(&[&usual, more].concat()).await
}

/// Connects with this token, and stores the id of the socket.
pub async fn connect(node: &TestServer, token: &str) -> WebsocketClient {
    let mut client = node.websocket().await;
    client.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
    let response = client.text().await;
    let body = response
        .strip_prefix("40")
        .unwrap_or_else(|| panic!("{response}"));
    client.socket = super::field(body, "sid");
    client
}

/// Sends `user-join`; returns the ack.
pub async fn user_join(client: &mut WebsocketClient, token: &str) -> String {
    let event = json!(["user-join", {"auth": {"token": token}}]);
    client.ask(&event.to_string()).await
}

/// Connects with this token and sends `user-join`.
pub async fn joined(node: &TestServer, token: &str) -> WebsocketClient {
    let mut client = connect(node, token).await;
    user_join(&mut client, token).await;
    client
}

/// The session pool entry of a socket.
pub async fn session_entry<const N: usize>(
    cluster: &TestCluster<N>,
    client: &WebsocketClient,
) -> Option<Value> {
    let entry = cluster
        .store
        .hash_get("open-webui:session_pool", &client.socket);
    let entry = entry.await.unwrap()?;
    Some(serde_json::from_slice(&entry).unwrap())
}

/// Publishes an emit to a room as a backend does, on the channel of the room.
pub fn emit_to(python: &PythonProcess, room: &str, event: &str, data: &str) {
    let fields = format!(
        r#""event":"{event}","data":[{data}],"binary":false,"namespace":"/","room":"{room}","skip_sid":null,"callback":null"#
    );
    python.publish_on(&format!("socketio#/#{room}"), "emit", &fields);
}
