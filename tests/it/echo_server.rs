//! The app for Laravel Echo: channels, the requests to the backend, and presence over two nodes.

use std::time::Duration;

use roomwire::bus::memory::Hub;
use roomwire::config::Config;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::backend::{HookCall, Reply, TestBackend};
use crate::support::server::config_with_file;
use crate::support::{TestCluster, TestServer, WebsocketClient, eventually};

mod presence;

/// A backend that admits users by their cookie `user=NAME`: everybody but `mallory`, and nobody to `private-closed`.
fn laravel() -> TestBackend {
    slow_laravel(watch::channel(true).1)
}

/// The same; it decides about `private-slow` once this becomes true.
fn slow_laravel(opened: watch::Receiver<bool>) -> TestBackend {
    TestBackend::start(move |call| {
        let channel = form(call, "channel_name");
        let user = call
            .header("cookie")
            .and_then(|cookie| cookie.split_once('='));
        let user = user.map_or("", |(_, name)| name);
        match &*channel {
            "private-slow" => Reply::Until(opened.clone(), Box::new(Reply::Json(json!(true)))),
            "private-login" => Reply::Status(200, "<html>log in</html>".to_owned()),
            "private-moved" => Reply::Status(302, String::new()),
            "private-expired" => Reply::Status(419, "{}".to_owned()),
            "private-dropped" => Reply::Drop,
            "private-false" => Reply::Json(json!(false)),
            "presence-nobody" => Reply::Json(json!(true)),
            "presence-huge" => {
                let info = "x".repeat(64 * 1024);
                Reply::Json(json!({"channel_data": {"user_id": user, "user_info": info}}))
            }
            _ if user == "mallory" || channel == "private-closed" => {
                Reply::Status(403, r#"{"message":"no"}"#.to_owned())
            }
            _ if channel.starts_with("presence-") => {
                let data = json!({"user_id": user, "user_info": {"name": user.to_uppercase()}});
                // The form of the Redis driver, and that of others.
                Reply::Json(match channel.ends_with("text") {
                    true => json!({"auth": "k:s", "channel_data": data.to_string()}),
                    false => json!({"channel_data": data}),
                })
            }
            _ => Reply::Json(json!(true)),
        }
    })
}

/// A decoded value of a form.
fn form(call: &HookCall, name: &str) -> String {
    let pairs = url::form_urlencoded::parse(call.raw.as_bytes());
    let mut pairs = pairs.filter(|(key, _)| key == name);
    pairs
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn settings(backend: &TestBackend) -> Config {
    settings_with(backend, &[])
}

fn settings_with(backend: &TestBackend, more: &[(&str, &str)]) -> Config {
    let file = format!(
        "app.kind = \"echo_server\"\napp.echo_server.auth_hosts = [\"{}\"]\napp.echo_server.leave_delay = \"6s\"\n",
        backend.origin()
    );
    let settings = [&[("SOCKET__MAX_ROOMS", "19")], more].concat();
    config_with_file(&settings, Some(&file))
}

/// A client with a cookie; `reconnect` has been received.
async fn client(node: &TestServer, user: &str) -> WebsocketClient {
    let cookie = format!("user={user}");
    let mut client = WebsocketClient::open_with(&node.address(), &[("Cookie", &cookie)]).await;
    client.connect("/").await;
    client.expect(r#"42["reconnect"]"#).await;
    client
}

async fn subscribe(client: &mut WebsocketClient, channel: &str) {
    let request = json!(["subscribe", {"channel": channel, "auth": {"headers": {"X-CSRF-TOKEN": "t", "X-Evil": "1"}}}]);
    client.send(&format!("42{request}")).await;
}

async fn unsubscribe(client: &mut WebsocketClient, channel: &str) {
    let request = json!(["unsubscribe", {"channel": channel, "auth": {}}]);
    client.send(&format!("42{request}")).await;
}

async fn whisper(client: &mut WebsocketClient, channel: &str, event: &str, data: &Value) {
    let request = json!(["client event", {"channel": channel, "event": event, "data": data}]);
    client.send(&format!("42{request}")).await;
}

/// A round trip: everything sent before has been handled, and no frame was waiting.
async fn quiet(client: &mut WebsocketClient) {
    let ack: Value = serde_json::from_str(&client.ask(r#"["other"]"#).await).unwrap();
    assert_eq!(ack[0]["error"]["code"], "unknown_event");
}

async fn event(client: &mut WebsocketClient) -> Value {
    let text = client.text().await;
    serde_json::from_str(text.strip_prefix("42").unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// Waits until the member is in the channel: only members receive the events of others.
async fn is_member(sender: &mut WebsocketClient, member: &mut WebsocketClient, channel: &str) {
    let from = sender.socket.clone();
    let ping = |number: u32| json!({"from": from, "number": number});
    let (mut sent, mut received) = (0, 0);
    // Until the last one has arrived, so that none comes later.
    while received < sent || sent == 0 {
        if received == 0 {
            sent += 1;
            whisper(sender, channel, "client-ping", &ping(sent)).await;
        }
        let next = tokio::time::timeout(Duration::from_millis(100), event(member)).await;
        if let Ok(next) = next {
            let number = next[2]["number"]
                .as_u64()
                .unwrap_or_else(|| panic!("{next}"));
            received = u32::try_from(number).unwrap();
            assert_eq!(next, json!(["client-ping", channel, ping(received)]));
        }
    }
}

async fn cluster(backend: &TestBackend) -> TestCluster<2> {
    TestCluster::configured(&settings(backend), Hub::default()).await
}

#[actix_rt::test]
async fn the_backend_decides_about_private_channels_and_the_client_receives_its_status() {
    let backend = laravel();
    let node = TestServer::configured(settings(&backend), None).await;
    let mut ada = client(&node, "ada").await;
    for (channel, status) in [
        ("private-closed", 403),
        ("private-moved", 302),
        ("private-expired", 419),
        ("private-false", 403),
        ("private-login", 403),
        ("private-dropped", 0),
        ("presence-nobody", 500),
        ("presence-huge", 413),
        ("", 403),
        (&*"x".repeat(201), 403),
        (&*ada.socket.clone(), 403),
    ] {
        subscribe(&mut ada, channel).await;
        let rejected = json!(["subscription_error", channel, status]);
        assert_eq!(event(&mut ada).await, rejected);
        // Not a member.
        whisper(&mut ada, channel, "client-x", &json!(1)).await;
    }
    quiet(&mut ada).await;
    let call = &backend.calls()[0];
    assert!(
        call.head
            .starts_with("POST /broadcasting/auth HTTP/1.1\r\n"),
        "{}",
        call.head
    );
    assert_eq!(call.header("cookie"), Some("user=ada"));
    assert_eq!(call.header("x-requested-with"), Some("XMLHttpRequest"));
    assert_eq!(call.header("accept"), Some("application/json"));
    assert_eq!(call.header("x-csrf-token"), Some("t"));
    assert_eq!(call.header("x-evil"), None);
    assert_eq!(form(call, "channel_name"), "private-closed");
    assert_eq!(form(call, "socket_id"), ada.socket);
    let metrics = node.metrics();
    assert_eq!(metrics.echo_client_events_rejected_total.get(), 11);
}

#[actix_rt::test]
async fn headers_that_a_backend_would_not_accept_are_rejected_without_a_request() {
    let backend = laravel();
    let node = TestServer::configured(settings(&backend), None).await;
    let mut ada = client(&node, "ada").await;
    for (length, status) in [(13 * 1024, Some(431)), (8 * 1024, None)] {
        let token = "x".repeat(length);
        let auth = json!({"headers": {"Authorization": token}});
        let request = json!(["subscribe", {"channel": "private-large", "auth": auth}]);
        ada.send(&format!("42{request}")).await;
        match status {
            Some(status) => {
                let error = format!(r#"42["subscription_error","private-large",{status}]"#);
                ada.expect(&error).await;
                assert_eq!(backend.calls().len(), 0);
            }
            None => eventually("the request", || backend.calls().len() == 1).await,
        }
    }
}

#[actix_rt::test]
async fn a_backend_that_is_away_rejects_with_0_and_admits_when_it_is_back() {
    let mut backend = laravel();
    let node = TestServer::configured(settings(&backend), None).await;
    let [mut ada, mut bob] = [client(&node, "ada").await, client(&node, "bob").await];
    backend.kill().await;
    subscribe(&mut ada, "private-a").await;
    ada.expect(r#"42["subscription_error","private-a",0]"#)
        .await;
    backend.restart();
    for client in [&mut ada, &mut bob] {
        subscribe(client, "private-a").await;
    }
    is_member(&mut ada, &mut bob, "private-a").await;
}

#[actix_rt::test]
async fn client_events_reach_the_other_members_of_private_channels_on_all_nodes() {
    let backend = laravel();
    let cluster = cluster(&backend).await;
    let [first, second] = &cluster.nodes;
    let (mut ada, mut bob) = (client(first, "ada").await, client(second, "bob").await);
    let mut mallory = client(first, "mallory").await;
    subscribe(&mut mallory, "private-chat").await;
    mallory
        .expect(r#"42["subscription_error","private-chat",403]"#)
        .await;
    for client in [&mut ada, &mut bob] {
        subscribe(client, "private-chat").await;
        subscribe(client, "public").await;
    }
    is_member(&mut ada, &mut bob, "private-chat").await;
    is_member(&mut bob, &mut ada, "private-chat").await;
    // The data stays as it was encoded; the request can be a JSON string.
    ada.send(r#"42["client event",{"event":"client-typing","channel":"private-chat","data":{"n":1.0,"s":"\u00e9"}}]"#)
        .await;
    bob.expect(r#"42["client-typing","private-chat",{"n":1.0,"s":"\u00e9"}]"#)
        .await;
    ada.send(r#"42["client event","{\"event\":\"client-typing\",\"channel\":\"private-chat\"}"]"#)
        .await;
    bob.expect(r#"42["client-typing","private-chat",null]"#)
        .await;
    ada.send(r#"451-["client event",{"event":"client-b","channel":"private-chat","data":{"_placeholder":true,"num":0}}]"#)
        .await;
    ada.send_binary(&[7]).await;
    bob.expect(r#"451-["client-b","private-chat",{"_placeholder":true,"num":0}]"#)
        .await;
    bob.expect_binary(&[7]).await;
    for (channel, name) in [
        ("private-chat", "typing"),
        ("private-chat", "disconnect"),
        ("public", "client-typing"),
        ("private-other", "client-typing"),
    ] {
        whisper(&mut ada, channel, name, &json!(1)).await;
    }
    whisper(&mut mallory, "private-chat", "client-typing", &json!(1)).await;
    quiet(&mut mallory).await;
    quiet(&mut ada).await;
    whisper(&mut ada, "private-chat", "client-last", &json!(1)).await;
    bob.expect(r#"42["client-last","private-chat",1]"#).await;
    unsubscribe(&mut ada, "private-chat").await;
    whisper(&mut ada, "private-chat", "client-late", &json!(1)).await;
    quiet(&mut ada).await;
    whisper(&mut bob, "private-chat", "client-late", &json!(1)).await;
    quiet(&mut bob).await;
    quiet(&mut ada).await;
}

#[actix_rt::test]
async fn a_client_that_unsubscribes_before_the_decision_is_no_member() {
    let (open, opened) = watch::channel(false);
    let backend = slow_laravel(opened);
    let node = TestServer::configured(settings(&backend), None).await;
    let [mut ada, mut bob, mut eve] = [
        client(&node, "ada").await,
        client(&node, "bob").await,
        client(&node, "eve").await,
    ];
    subscribe(&mut ada, "private-slow").await;
    // Twice is the same as once, while the decision is pending and afterwards.
    for _ in 0..2 {
        subscribe(&mut bob, "private-slow").await;
    }
    unsubscribe(&mut ada, "private-slow").await;
    eventually("two requests", || backend.calls().len() == 2).await;
    open.send_replace(true);
    subscribe(&mut eve, "private-slow").await;
    is_member(&mut eve, &mut bob, "private-slow").await;
    whisper(&mut ada, "private-slow", "client-x", &json!(1)).await;
    quiet(&mut ada).await;
    quiet(&mut bob).await;
    subscribe(&mut bob, "private-slow").await;
    quiet(&mut bob).await;
    assert_eq!(backend.calls().len(), 3);
    open.send_replace(false);
    // A subscription that follows is another one.
    subscribe(&mut ada, "private-slow").await;
    unsubscribe(&mut ada, "private-slow").await;
    subscribe(&mut ada, "private-slow").await;
    open.send_replace(true);
    is_member(&mut ada, &mut bob, "private-slow").await;
}

#[actix_rt::test]
async fn subscriptions_are_limited_and_the_channels_of_a_lost_socket_are_left() {
    let backend = laravel();
    let node = TestServer::configured(settings(&backend), None).await;
    let mut ada = client(&node, "ada").await;
    for number in 0..19 {
        subscribe(&mut ada, &format!("public-{number}")).await;
    }
    subscribe(&mut ada, "public-more").await;
    ada.expect(r#"42["subscription_error","public-more",429]"#)
        .await;
    subscribe(&mut ada, "presence-more").await;
    ada.expect(r#"42["subscription_error","presence-more",429]"#)
        .await;
    for number in 0..19 {
        unsubscribe(&mut ada, &format!("public-{number}")).await;
    }
    subscribe(&mut ada, "presence-room").await;
    let data = json!([{"user_id": "ada", "user_info": {"name": "ADA"}}]);
    assert_eq!(
        event(&mut ada).await,
        json!(["presence:subscribed", "presence-room", data])
    );
    assert_eq!(node.metrics().presence_members.get(), 1);
    drop(ada);
    eventually("no user", || node.metrics().presence_members.get() == 0).await;
}

#[actix_rt::test]
async fn of_several_backends_the_one_of_the_page_decides() {
    let (first, second) = (laravel(), laravel());
    let (one, two) = (first.origin(), second.origin());
    let file = format!(
        "app.kind = \"echo_server\"\napp.echo_server.emit_reconnect = false\napp.echo_server.auth_hosts = [\"{one}\", \"{two}/app/\"]\napp.echo_server.headers = [\"x-tenant\"]\n"
    );
    let node = TestServer::configured(
        config_with_file(&[("CORS__ORIGINS", "*")], Some(&file)),
        None,
    )
    .await;
    let referer = format!("{two}/page");
    for (header, target) in [
        (("Referer", &*referer), &second),
        (("Origin", &*two), &second),
        (("Referer", "http://elsewhere.test/"), &first),
    ] {
        let before = target.calls().len();
        let headers = [header, ("X-Tenant", "7")];
        let mut client = WebsocketClient::open_with(&node.address(), &headers).await;
        client.connect("/").await;
        subscribe(&mut client, "private-closed").await;
        client
            .expect(r#"42["subscription_error","private-closed",403]"#)
            .await;
        assert_eq!(target.calls().len(), before + 1, "{header:?}");
        let call = target.calls().pop().unwrap();
        assert_eq!(call.header("x-tenant"), Some("7"));
        assert_eq!(call.header("referer"), None);
    }
    assert!(
        second.calls()[0]
            .head
            .starts_with("POST /app/broadcasting/auth ")
    );
}
