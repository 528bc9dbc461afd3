//! Users of Open WebUI: the identities that its gate and `user-join` establish, and what works because of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use roomwire::metrics::labels::{LimitRejection, SessionConflict};
use serde_json::{Value, json};

use crate::support::api::{WITH_API, request};
use crate::support::open_webui::{
    Backend, cluster, connect, emit_to, session_entry, token, user_join,
};
use crate::support::python::PythonProcess;
use crate::support::receiver::{Receiver, SECRET, summary};
use crate::support::server::config_with_file;
use crate::support::{
    Frame, TestCluster, TestServer, WebsocketClient, eventually, within_deadline,
};

const HEARTBEAT: &str = r#"["heartbeat",{}]"#;

const TOO_MANY: &str = r#"42["roomwire:user_rejected",{"code":"too_many_connections_of_user","message":"Too many connections of this user"}]"#;

/// Connects as a page of a user, and waits until it is signed in.
async fn page(node: &TestServer, token: &str) -> WebsocketClient {
    let mut client = connect(node, token).await;
    assert_eq!(client.ask(HEARTBEAT).await, "[]");
    client
}

/// A round trip that needs no user: no frame was waiting.
async fn quiet(client: &mut WebsocketClient) {
    let typing = r#"["events:channel",{"channel_id":"none","data":{"type":"typing"}}]"#;
    assert_eq!(client.ask(typing).await, "[]");
}

/// Connects without a token.
async fn login_page(node: &TestServer) -> WebsocketClient {
    let mut client = node.websocket().await;
    client.connect("/").await;
    client
}

async fn nodes_know_each_other<const N: usize>(cluster: &TestCluster<N>) {
    for node in &cluster.nodes {
        eventually("the nodes know each other", || {
            node.server.ingress().peers().len() == N - 1
        })
        .await;
    }
}

/// How many sockets of a user the API finds.
async fn sockets_of(node: &TestServer, user: &str) -> u64 {
    let body = json!({"users": [user]}).to_string();
    let answer = request(node, "users", &body).await;
    assert_eq!(answer["missing"], json!([]), "{answer}");
    answer["users"][0]["sockets"].as_u64().unwrap()
}

#[actix_rt::test]
async fn backends_find_address_and_disconnect_users_of_open_webui() {
    let backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    let cluster = cluster::<2>(&backend, &WITH_API).await;
    nodes_know_each_other(&cluster).await;
    let [first, second] = &cluster.nodes;
    let mut pages = [page(first, &ann).await, page(second, &ann).await];
    let mut other = page(first, &bob).await;
    // A forged token, and none: connected, as at the backends, and nobody.
    let mut forger = connect(first, &token("eve")).await;
    let mut login = login_page(second).await;
    assert_eq!(sockets_of(second, "ann").await, 2);
    assert_eq!(sockets_of(second, "bob").await, 1);
    assert_eq!(sockets_of(second, "eve").await, 0);
    let emit = r#"{"users":["ann"],"event":"hello","args":[1],"counts":true}"#;
    let answer = request(second, "emit", emit).await;
    assert_eq!(answer, json!({"sockets": 2, "nodes": 2, "missing": []}));
    for client in &mut pages {
        client.expect(r#"42["hello",1]"#).await;
        quiet(client).await;
    }
    request(second, "disconnect", r#"{"users":["ann"]}"#).await;
    for client in &mut pages {
        client.expect("41").await;
    }
    for client in [&mut other, &mut forger, &mut login] {
        quiet(client).await;
    }
    assert_eq!(sockets_of(first, "ann").await, 0);
}

#[actix_rt::test]
async fn the_rooms_of_open_webui_and_of_identities_are_joined_before_the_first_event() {
    let backend = Backend::start();
    let ann = backend.account("ann", "user");
    let settings = [("AUTH__USER_ROOM", "member:{user}")];
    let cluster = cluster::<2>(&backend, &settings).await;
    let python = PythonProcess::join(&cluster.hub);
    let mut page = page(&cluster.nodes[0], &ann).await;
    for room in ["user:ann", "member:ann"] {
        emit_to(&python, room, "news", &format!("\"{room}\""));
        page.expect(&format!(r#"42["news","{room}"]"#)).await;
    }
}

#[actix_rt::test]
async fn a_page_that_signs_in_by_an_event_is_its_user_from_then_on() {
    let backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    let cluster = cluster::<1>(&backend, &WITH_API).await;
    let node = &cluster.nodes[0];
    let mut page = login_page(node).await;
    assert_eq!(
        user_join(&mut page, &bob).await,
        r#"[{"id":"bob","name":"BOB"}]"#
    );
    assert_eq!(sockets_of(node, "bob").await, 1);
    assert_eq!(
        user_join(&mut page, &ann).await,
        r#"[{"id":"ann","name":"ANN"}]"#
    );
    assert_eq!(
        (sockets_of(node, "bob").await, sockets_of(node, "ann").await),
        (0, 1)
    );
    for user in ["bob", "ann"] {
        let emit = json!({"users": [user], "event": user}).to_string();
        request(node, "emit", &emit).await;
    }
    page.expect(r#"42["ann"]"#).await;
}

#[actix_rt::test]
async fn the_connections_of_a_user_of_open_webui_are_limited_in_the_cluster() {
    let backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    let settings = [
        WITH_API[0],
        WITH_API[1],
        ("LIMITS__CONNECTIONS_PER_USER", "2"),
    ];
    let cluster = cluster::<2>(&backend, &settings).await;
    nodes_know_each_other(&cluster).await;
    let [first, second] = &cluster.nodes;
    let (one, mut two) = (page(first, &ann).await, page(first, &ann).await);
    let rejections = |node: &TestServer| {
        let rejected = &node.metrics().limit_rejected_total;
        rejected.of(LimitRejection::ConnectionsPerUser).get()
    };
    // On the node of the others, and on one that has to query it.
    let mut beyond = connect(first, &ann).await;
    beyond.expect(TOO_MANY).await;
    beyond.expect("41").await;
    assert_eq!(rejections(first), 1);
    let mut third = login_page(second).await;
    let _another = page(second, &bob).await;
    let join = json!(["user-join", {"auth": {"token": ann}}]);
    let _first_of_node = page(second, &bob).await;
    drop(one);
    eventually("a place is free", || first.metrics().sockets.get() == 1).await;
    third.send(&format!("421{join}")).await;
    third.expect(r#"431[{"id":"ann","name":"ANN"}]"#).await;
    // `user-join` is limited like a CONNECT.
    let mut fourth = login_page(second).await;
    fourth.send(&format!("421{join}")).await;
    let mut packets = Vec::new();
    while packets.last().is_none_or(|last| last != "41") {
        packets.push(fourth.text().await);
    }
    assert!(
        packets.iter().any(|packet| packet == TOO_MANY),
        "{packets:?}"
    );
    assert_eq!(rejections(second), 1);
    assert_eq!(sockets_of(first, "ann").await, 2);
    // The same user with the same token is no further connection.
    assert!(user_join(&mut third, &ann).await.contains("ANN"));
    quiet(&mut two).await;
    within_deadline("the removal of its entry", async {
        while session_entry(&cluster, &fourth).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_rt::test]
async fn one_session_per_user_applies_to_open_webui() {
    for policy in ["newest", "oldest"] {
        let backend = Backend::start();
        let ann = backend.account("ann", "user");
        let cluster = cluster::<2>(&backend, &[("AUTH__SESSIONS_PER_USER", policy)]).await;
        nodes_know_each_other(&cluster).await;
        let [first, second] = &cluster.nodes;
        let mut early = page(first, &ann).await;
        let mut late = connect(second, &ann).await;
        if policy == "newest" {
            let notice = early.text().await;
            assert!(
                notice.starts_with(r#"42["roomwire:session_replaced","#),
                "{notice}"
            );
            early.expect("41").await;
            assert_eq!(late.ask(HEARTBEAT).await, "[]");
        } else {
            let notice = late.text().await;
            assert!(
                notice.starts_with(r#"42["roomwire:user_rejected",{"code":"session_exists""#),
                "{notice}"
            );
            late.expect("41").await;
            let conflicts = &second.metrics().user_session_conflicts_total;
            assert_eq!(conflicts.of(SessionConflict::Rejected).get(), 1);
            assert_eq!(early.ask(HEARTBEAT).await, "[]");
        }
    }
}

/// A token of a user that was issued then, in seconds since 1970.
fn issued(user: &str, at: u64) -> String {
    let body = format!(r#"{{"id":"{user}","jti":"jti-{at}","iat":{at}}}"#);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.AAAA", part(r#"{"alg":"HS256"}"#), part(&body))
}

#[actix_rt::test]
async fn users_and_tokens_of_open_webui_are_revoked_on_every_node() {
    let backend = Backend::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let old = backend.account_with("ann", "user", issued("ann", now.as_secs() - 60));
    let new = backend.account_with("ann", "user", issued("ann", now.as_secs() + 60));
    let cluster = cluster::<2>(&backend, &WITH_API).await;
    nodes_know_each_other(&cluster).await;
    let [first, second] = &cluster.nodes;
    let revoked = Frame::Text(r#"42["roomwire:auth_revoked",{"code":"token_revoked"}]"#.into());
    let mut page_of_old = page(first, &old).await;
    let mut page_of_new = page(first, &new).await;
    let answer = request(second, "revoke", r#"{"user":"ann"}"#).await;
    assert_eq!(answer, json!({"stored": true}));
    let frames = page_of_old.rest().await;
    assert_eq!(frames[0], revoked);
    assert!(
        matches!(frames[1], Frame::Close(Some(3000), _)),
        "{frames:?}"
    );
    // The next attempt is final, at a CONNECT and at an event.
    connect(second, &old).await.expect("41").await;
    quiet(&mut page_of_new).await;
    let token = format!(r#"{{"token":"jti-{}"}}"#, now.as_secs() + 60);
    request(second, "revoke", &token).await;
    let frames = page_of_new.rest().await;
    assert_eq!(frames[0], revoked);
    let mut login = login_page(second).await;
    login
        .send(&format!(
            "420{}",
            json!(["user-join", {"auth": {"token": new}}])
        ))
        .await;
    assert!(matches!(
        login.rest().await[..],
        [Frame::Close(Some(3000), _)]
    ));
}

#[actix_rt::test]
async fn notices_name_the_users_of_open_webui() {
    let backend = Backend::start();
    let ann = backend.account("ann", "user");
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let settings = [
        ("WEBHOOK__SECRETS", SECRET),
        ("WEBHOOK__NOTICES__URL", &*url),
        ("WEBHOOK__NOTICES__DEBOUNCE", "0s"),
        ("WEBHOOK__NOTICES__BATCH_AGE", "5ms"),
        ("WEBHOOK__NOTICES__EVENTS", "heartbeat"),
        ("WEBHOOK__NOTICES__ROOMS", "user:*"),
    ];
    let cluster = cluster::<1>(&backend, &settings).await;
    let mut page = page(&cluster.nodes[0], &ann).await;
    page.send("41").await;
    let of_socket = |notices: &[Value]| -> Vec<String> {
        let texts = notices
            .iter()
            .map(|notice| summary(notice, &["user", "room", "event", "reason"]));
        texts.filter(|text| !text.starts_with("room_")).collect()
    };
    eventually("the notices", || of_socket(&receiver.notices()).len() >= 5).await;
    // A client of Open WebUI is connected before its token is checked.
    assert_eq!(
        of_socket(&receiver.notices()),
        [
            "connected",
            "joined ann user:ann",
            "event ann heartbeat",
            "left ann user:ann",
            "disconnected ann client namespace disconnect",
        ]
    );
}

#[actix_rt::test]
async fn the_gate_of_open_webui_checks_only_its_own_namespaces() {
    let backend = Backend::start();
    let ann = backend.account("ann", "user");
    let settings = [
        ("APP__KIND", "open_webui"),
        ("APP__OPEN_WEBUI__UPSTREAMS", backend.url.as_str()),
        ("BUS__REDIS_URL", "redis://in-memory"),
        ("ENGINE__PATH", "/socket.io"),
        ("SOCKET__NAMESPACES", "/,/echo"),
        WITH_API[0],
        WITH_API[1],
    ];
    let route = "[[app.routes]]\nnamespace = \"/echo\"\napp = \"echo\"\n";
    let config = config_with_file(&settings, Some(route));
    let cluster = TestCluster::<1>::configured(&config, Default::default()).await;
    let node = &cluster.nodes[0];
    let mut client = node.websocket().await;
    let auth = format!(r#"{{"token":"{ann}"}}"#);
    client.connect_with("/echo", &auth).await;
    client.expect(&format!(r#"42/echo,["auth",{auth}]"#)).await;
    assert_eq!(backend.take_requests(), [""; 0]);
    let users = request(node, "users", "{}").await;
    assert_eq!(users["users"], json!([]));
    client.connect_with("/", &auth).await;
    within_deadline("the account", async {
        while sockets_of(node, "ann").await != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(backend.take_requests(), ["/api/v1/auths/"]);
}
