//! Upstream connections of the Open WebUI app: events that only a backend can handle.

use roomwire::metrics::labels::UpstreamRejection;
use serde_json::json;

use crate::support::eventually;
use crate::support::open_webui::{Backend, Upstreams, cluster, connect, joined, user_join};

const JOIN: &str = r#"["ydoc:document:join",{"document_id":"note:n","user_id":"ann"}]"#;
const EDIT: &str = r#"["ydoc:document:update",{"document_id":"note:n","update":[1]}]"#;
const SEEN: &str = r#"["events:channel",{"channel_id":"c","data":{"type":"last_read_at"}}]"#;

#[actix_rt::test]
async fn documents_use_an_upstream_connection_of_their_socket() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    backend.take_requests();
    assert!(upstreams.is_empty(), "no connection before it is needed");
    ann.send(&format!("421{JOIN}")).await;
    let mut upstream = upstreams.next(&token).await;
    let request = upstream.request.to_lowercase();
    assert!(request.contains("x-roomwire-via: roomwire:0/"), "{request}");
    let id = upstream.expect_event(JOIN).await;
    // Events of the backend to rooms arrive over the bus, so only events for this socket are passed on.
    upstream
        .send_all(&[
            r#"42["events",{"chat_id":"c"}]"#,
            r#"42["ydoc:document:state",{"document_id":"note:n","state":[0,0]}]"#,
            r#"42["error",{"message":"no"}]"#,
            r#"42["encryption:event",{"kind":"ended"}]"#,
            &format!("43{id}[]"),
        ])
        .await;
    ann.expect(r#"42["ydoc:document:state",{"document_id":"note:n","state":[0,0]}]"#)
        .await;
    ann.expect(r#"42["error",{"message":"no"}]"#).await;
    ann.expect(r#"42["encryption:event",{"kind":"ended"}]"#)
        .await;
    ann.expect("431[]").await;
    // Attachments are passed on unchanged.
    ann.send(r#"451-2["ydoc:document:update",{"update":{"_placeholder":true,"num":0}}]"#)
        .await;
    ann.send_binary(&[1, 2]).await;
    let text = upstream.text().await;
    let edit = r#"["ydoc:document:update",{"update":{"_placeholder":true,"num":0}}]"#;
    assert!(text.starts_with("451-") && text.ends_with(edit), "{text}");
    upstream.expect_binary(&[1, 2]).await;
    assert!(upstreams.is_empty(), "one connection for all documents");
    assert_eq!(backend.take_requests(), [""; 0], "and no REST request");
    drop(ann);
    assert_eq!(upstream.try_text().await, None, "it closes with its socket");
}

#[actix_rt::test]
async fn a_client_with_open_documents_is_disconnected_when_their_connection_is_lost() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(&format!("42{JOIN}")).await;
    let mut upstream = upstreams.next(&token).await;
    upstream.text().await;
    drop(upstream);
    ann.expect("41").await;
    // Browsers reconnect the namespace on the same connection.
    ann.send(&format!(r#"40{{"token":"{token}"}}"#)).await;
    assert!(ann.text().await.starts_with("40{"));
    ann.send(&format!("42{JOIN}")).await;
    let mut upstream = upstreams.next(&token).await;
    upstream.expect(&format!("42{JOIN}")).await;
    // Without an open document the client is not affected: the next event opens another connection.
    let leave = r#"["ydoc:document:leave",{"document_id":"note:n"}]"#;
    ann.send(&format!("42{leave}")).await;
    upstream.expect(&format!("42{leave}")).await;
    drop(upstream);
    let metrics = cluster.nodes[0].metrics();
    eventually("the end of the connection", || {
        metrics.upstream_connections.get() == 0
    })
    .await;
    ann.send(&format!("422{EDIT}")).await;
    let mut upstream = upstreams.next(&token).await;
    let id = upstream.expect_event(EDIT).await;
    upstream.send(&format!("43{id}[]")).await;
    ann.expect("432[]").await;
}

#[actix_rt::test]
async fn other_events_use_a_second_upstream_connection() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_channels(&["c"]);
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(&format!("425{SEEN}")).await;
    let mut general = upstreams.next(&token).await;
    let id = general.expect_event(SEEN).await;
    general.send(&format!("43{id}[]")).await;
    ann.expect("435[]").await;
    ann.send(r#"42["something-new",{"a":1}]"#).await;
    general.expect(r#"42["something-new",{"a":1}]"#).await;
    // The backend looks up the channels again when the browser does.
    let join = json!(["join-channels", {"auth": {"token": token}}]);
    assert_eq!(ann.ask(&join.to_string()).await, "[]");
    general.expect(&format!("42{join}")).await;
    // Its loss does not affect the client.
    drop(general);
    let metrics = cluster.nodes[0].metrics();
    eventually("the end of the connection", || {
        metrics.upstream_connections.get() == 0
    })
    .await;
    assert_eq!(ann.ask(r#"["heartbeat",{}]"#).await, "[]");
}

#[actix_rt::test]
async fn upstream_connections_of_a_user_are_limited() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let more = [("APP__UPSTREAM__MAX_CONNECTIONS_PER_USER", "1")];
    let cluster = cluster::<1>(&backend, &more).await;
    let mut first = joined(&cluster.nodes[0], &token).await;
    let mut second = joined(&cluster.nodes[0], &token).await;
    first.send(&format!("42{JOIN}")).await;
    let _upstream = upstreams.next(&token).await;
    second.send(&format!("421{JOIN}")).await;
    second
        .expect(r#"42["error",{"message":"The server is busy. Please try again later."}]"#)
        .await;
    second.expect("431[]").await;
}

#[actix_rt::test]
async fn connections_go_to_a_backend_that_accepts_them() {
    let (mut unavailable, mut backend) = (Backend::start(), Backend::start());
    let token = backend.account("ann", "user");
    unavailable.account("ann", "user");
    drop(Upstreams::in_front_of(&mut unavailable).await);
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let both = format!("{},{}", unavailable.url, backend.url);
    let more = [("APP__OPEN_WEBUI__UPSTREAMS", both.as_str())];
    let cluster = cluster::<1>(&backend, &more).await;
    for _ in 0..3 {
        let mut ann = joined(&cluster.nodes[0], &token).await;
        ann.send(&format!("42{JOIN}")).await;
        upstreams
            .next(&token)
            .await
            .expect(&format!("42{JOIN}"))
            .await;
    }
}

#[actix_rt::test]
async fn sockets_without_a_user_open_no_upstream_connection() {
    let mut backend = Backend::start();
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let events = [JOIN, EDIT, r#"["encryption:status",{}]"#, r#"["a:b:c",1]"#];
    for event in events {
        let mut client = connect(&cluster.nodes[0], "no token").await;
        client.send(&format!("427{event}")).await;
        client.expect("41").await;
    }
    assert!(upstreams.is_empty());
}

#[actix_rt::test]
async fn events_sent_before_a_disconnect_reach_the_backend() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    backend.set_channels(&["c"]);
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(&format!("42{SEEN}")).await;
    drop(ann);
    cluster.nodes[0].sessions(0).await;
    let mut upstream = upstreams.next(&token).await;
    upstream.expect(&format!("42{SEEN}")).await;
    assert_eq!(upstream.try_text().await, None, "it closes after that");
    let metrics = cluster.nodes[0].metrics();
    eventually("the end of the connection", || {
        metrics.upstream_connections.get() == 0
    })
    .await;
}

#[actix_rt::test]
async fn a_backend_that_does_not_acknowledge_user_join_is_unavailable() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let more = [("APP__UPSTREAM__CONNECT_TIMEOUT", "5s")];
    let cluster = cluster::<1>(&backend, &more).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(r#"42["something-new",1]"#).await;
    let (mut upstream, _) = upstreams.next_unacknowledged(&token).await;
    assert_eq!(upstream.try_text().await, None);
    let rejected = &cluster.nodes[0]
        .metrics()
        .upstream_connections_rejected_total;
    eventually("the end of the connection", || {
        rejected.of(UpstreamRejection::Unavailable).get() == 1
    })
    .await;
    ann.send(r#"42["something-new",2]"#).await;
    let mut upstream = upstreams.next(&token).await;
    upstream.expect(r#"42["something-new",2]"#).await;
}

#[actix_rt::test]
async fn a_client_whose_connection_is_rejected_is_disconnected_after_a_pause() {
    let mut backend = Backend::start();
    let token = backend.account("ann", "user");
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut ann = joined(&cluster.nodes[0], &token).await;
    ann.send(&format!("42{JOIN}")).await;
    upstreams.reject_next().await;
    let rejected = &cluster.nodes[0]
        .metrics()
        .upstream_connections_rejected_total;
    eventually("the rejection", || {
        rejected.of(UpstreamRejection::Upstream).get() == 1
    })
    .await;
    assert_eq!(ann.ask(r#"["heartbeat",{}]"#).await, "[]");
    // It is disconnected after a pause.
    ann.expect("41").await;
}

#[actix_rt::test]
async fn another_user_of_the_same_socket_gets_another_connection() {
    let mut backend = Backend::start();
    let (ann, bob) = (
        backend.account("ann", "user"),
        backend.account("bob", "user"),
    );
    let mut upstreams = Upstreams::in_front_of(&mut backend).await;
    let cluster = cluster::<1>(&backend, &[]).await;
    let mut client = joined(&cluster.nodes[0], &ann).await;
    client.send(&format!("42{JOIN}")).await;
    let (mut first, id) = upstreams.next_unacknowledged(&ann).await;
    user_join(&mut client, &bob).await;
    client.send(&format!("42{JOIN}")).await;
    let mut second = upstreams.next(&bob).await;
    second.expect(&format!("42{JOIN}")).await;
    // The end of the first does not affect the second.
    first.send(&format!("43{id}[]")).await;
    first.expect(&format!("42{JOIN}")).await;
    assert_eq!(first.try_text().await, None);
    let metrics = cluster.nodes[0].metrics();
    eventually("one connection", || metrics.upstream_connections.get() == 1).await;
    client.send(&format!("42{EDIT}")).await;
    second.expect(&format!("42{EDIT}")).await;
    assert!(upstreams.is_empty());
}
