//! The HTTP API: keys, and requests that are rejected.

use roomwire::bus::memory::Hub;
use serde_json::Value;

use crate::support::api::{KEY, WITH_API, post, rejection, request, send};
use crate::support::http::Response;
use crate::support::server::{config_with_file, write_file};
use crate::support::user_gate::users;
use crate::support::{TestCluster, TestServer};

const EMIT: &str = r#"{"everybody":true,"event":"e"}"#;

fn is(response: &Response, status: u16, code: &str) {
    assert_eq!(
        rejection(response),
        (status, code.to_owned()),
        "{}",
        response.text()
    );
}

fn message(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn a_request_needs_a_key() {
    let server = TestServer::with(&WITH_API).await;
    let path = "/api/v1/emit";
    let bearer = format!("Bearer {KEY}");
    let allowed = send(&server, "POST", path, &[("Authorization", &bearer)], EMIT).await;
    assert_eq!(allowed.summary(), (200, "{}"));
    let none = send(&server, "POST", path, &[], EMIT).await;
    is(&none, 401, "key_missing");
    assert_eq!(none.header("www-authenticate"), Some("Bearer"));
    let wrong = send(
        &server,
        "POST",
        path,
        &[("X-API-Key", "key-of-the-tests-012345678")],
        EMIT,
    );
    is(&wrong.await, 401, "key_invalid");
    let closed = TestServer::with(&[("SERVER__INTERNAL_BIND", "127.0.0.1:0")]).await;
    is(&post(&closed, "emit", EMIT).await, 401, "key_invalid");
}

#[actix_rt::test]
async fn keys_come_from_the_file_and_files_of_secrets_with_scopes_rooms_and_expiry() {
    let secret = write_file("key", "secret-from-a-file\n");
    let others = write_file(
        "keys.toml",
        "[[keys]]\nname = \"reader\"\nkey = \"secret-of-the-reader\"\nscopes = [\"rooms\", \"info\"]\n",
    );
    let file = format!(
        "[api]\nkeys_file = \"{}\"\n\
         [[api.keys]]\nname = \"shop\"\nkey_file = \"{}\"\nrooms = [\"shop:*\"]\nrequests_per_second = 3\n\
         [[api.keys]]\nname = \"old\"\nkey = \"secret-that-expired\"\nexpires = \"2020-01-01T00:00:00Z\"\n",
        others.display(),
        secret.display(),
    );
    let config = config_with_file(&WITH_API[1..], Some(&file));
    let server = TestServer::configured(config, None).await;
    let as_key = async |key: &str, verb: &str, body: &str| {
        let path = format!("/api/v1/{verb}");
        send(&server, "POST", &path, &[("X-API-Key", key)], body).await
    };
    let shop = "secret-from-a-file";
    let own = as_key(shop, "emit", r#"{"rooms":["shop:1"],"event":"e"}"#).await;
    assert_eq!(own.status, 200);
    let other = as_key(shop, "emit", r#"{"rooms":["shop:1","team:1"],"event":"e"}"#).await;
    is(&other, 403, "room_forbidden");
    assert!(message(&other).contains("shop:*"), "{}", message(&other));
    is(&as_key(shop, "emit", EMIT).await, 403, "room_forbidden");
    let limited = as_key(shop, "emit", EMIT).await;
    is(&limited, 429, "too_many_requests");
    assert_eq!(limited.header("retry-after"), Some("1"));
    let reader = "secret-of-the-reader";
    assert_eq!(as_key(reader, "rooms", "{}").await.status, 200);
    let forbidden = as_key(reader, "emit", EMIT).await;
    is(&forbidden, 403, "verb_forbidden");
    assert!(
        message(&forbidden).contains("rooms, info"),
        "{}",
        message(&forbidden)
    );
    let batch = format!(r#"{{"items":[{{"info":{{}}}},{{"emit":{EMIT}}}]}}"#);
    let forbidden = as_key(reader, "batch", &batch).await;
    is(&forbidden, 403, "verb_forbidden");
    assert!(message(&forbidden).starts_with("item 1: "));
    is(
        &as_key("secret-that-expired", "info", "{}").await,
        401,
        "key_expired",
    );
}

#[actix_rt::test]
async fn reads_of_a_key_contain_only_the_rooms_and_users_that_it_allows() {
    let key = "[[api.keys]]\nname = \"shop\"\nkey = \"secret-of-the-shop\"\n\
               rooms = [\"shop:*\", \"*:open\", \"user:ada\"]\n";
    let config = config_with_file(&WITH_API[1..], Some(key));
    let cluster = TestCluster::<1>::extended(&config, Hub::default(), &users()).await;
    let [server] = &cluster.nodes;
    let (mut a, mut b) = (server.user("ada").await, server.user("bob").await);
    for room in ["shop:1", "shop:2", "a", "b", "c:open", "team:1", "x"] {
        a.join(room).await;
    }
    b.join("shop:1").await;
    let answer = async |verb: &str, body: &str| -> Value {
        let headers = [("X-API-Key", "secret-of-the-shop")];
        let path = format!("/api/v1/{verb}");
        let response = send(server, "POST", &path, &headers, body).await;
        assert_eq!(response.status, 200, "{verb} {body}: {}", response.text());
        serde_json::from_slice(&response.body).unwrap()
    };
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = answer("rooms", &format!(r#"{{"limit":1,"after":"{after}"}}"#)).await;
        names.extend(
            page["rooms"]
                .as_array()
                .unwrap()
                .iter()
                .map(|room| room["room"].clone()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        assert_eq!(names.last().unwrap(), next);
        after = next.to_owned();
    }
    assert_eq!(names, ["c:open", "shop:1", "shop:2", "user:ada"]);
    let online = answer("users", r#"{"limit":1}"#).await;
    assert_eq!(online["users"][0]["user"], "ada");
    assert_eq!(online["users"].as_array().unwrap().len(), 1);
    let sockets = answer("sockets", r#"{"rooms":["shop:1"]}"#).await;
    for socket in sockets["sockets"].as_array().unwrap() {
        let (user, mut rooms) = (&socket["user"], socket["rooms"].as_array().unwrap().clone());
        rooms.sort_unstable_by_key(ToString::to_string);
        match socket["socket"] == a.socket.as_str() {
            true => {
                assert_eq!(user, "ada");
                assert_eq!(rooms, ["c:open", "shop:1", "shop:2", "user:ada"]);
            }
            false => assert_eq!((user, rooms), (&Value::Null, vec!["shop:1".into()])),
        }
    }
    let members = answer("members", r#"{"room":"shop:1"}"#).await;
    let of_users: Vec<&Value> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["user"])
        .collect();
    assert_eq!(of_users, [&Value::from("ada"), &Value::Null]);
}

#[actix_rt::test]
async fn a_reload_replaces_keys_while_old_and_new_overlap() {
    let key = |name: &str, key: &str| format!("[[api.keys]]\nname = \"{name}\"\nkey = \"{key}\"\n");
    let (old, new) = ("the-former-key-0001", "the-next-key-000002");
    let with = |text: String| config_with_file(&WITH_API[1..], Some(&text));
    let server = TestServer::configured(with(key("shop", old)), None).await;
    let status = async |key: &str| {
        let headers = [("X-API-Key", key)];
        send(&server, "POST", "/api/v1/info", &headers, "{}")
            .await
            .status
    };
    assert_eq!((status(old).await, status(new).await), (200, 401));
    server
        .server
        .apply(&with(key("shop", old) + &key("shop", new)));
    assert_eq!((status(old).await, status(new).await), (200, 200));
    server.server.apply(&with(key("shop", new)));
    assert_eq!((status(old).await, status(new).await), (401, 200));
}

#[actix_rt::test]
async fn malformed_requests_are_rejected_with_stable_codes() {
    let server = TestServer::with(&WITH_API).await;
    let long = format!(r#"{{"rooms":["{}"],"event":"e"}}"#, "x".repeat(256));
    for (verb, body, status, code, named) in [
        ("emitt", EMIT, 404, "verb_unknown", "did you mean `emit`?"),
        (
            "emit",
            "{\"event\":,}",
            400,
            "json_invalid",
            "line 1 column 10",
        ),
        ("emit", "", 400, "json_invalid", "line 1"),
        (
            "emit",
            r#"{"event":"e","roms":["a"]}"#,
            400,
            "field_unknown",
            "did you mean `rooms`?",
        ),
        ("emit", &long, 400, "name_invalid", "256 bytes"),
        (
            "emit",
            r#"{"rooms":"a","event":"e"}"#,
            400,
            "field_invalid",
            "expected an array",
        ),
        (
            "batch",
            r#"{"items":[{"emt":{}}]}"#,
            400,
            "verb_unknown",
            "item 0: ",
        ),
    ] {
        let response = post(&server, verb, body).await;
        is(&response, status, code);
        assert!(message(&response).contains(named), "{}", message(&response));
    }
    let unknown = post(&server, "nothing", "{}").await;
    assert!(message(&unknown).contains("the verbs are emit, call, join"));
    let get = send(&server, "GET", "/api/v1/emit", &[("X-API-Key", KEY)], "").await;
    is(&get, 405, "method_not_allowed");
    assert_eq!(get.header("allow"), Some("POST"));
}

#[actix_rt::test]
async fn large_bodies_and_batches_are_rejected() {
    let mut settings = WITH_API.to_vec();
    settings.extend([("API__MAX_BODY", "2KiB"), ("API__MAX_BATCH", "2")]);
    let server = TestServer::with(&settings).await;
    let large = format!(r#"{{"everybody":true,"event":"{}"}}"#, "x".repeat(2048));
    is(&post(&server, "emit", &large).await, 413, "body_too_large");
    let items = |count: usize| {
        let item = format!(r#"{{"emit":{EMIT}}}"#);
        format!(r#"{{"items":[{}]}}"#, vec![item; count].join(","))
    };
    assert_eq!(post(&server, "batch", &items(2)).await.status, 200);
    is(
        &post(&server, "batch", &items(3)).await,
        400,
        "too_many_items",
    );
}

#[actix_rt::test]
async fn a_draining_node_rejects_requests() {
    let mut settings = WITH_API.to_vec();
    settings.extend([("DRAIN__GRACE", "59m"), ("DRAIN__TIMEOUT", "1h")]);
    let server = TestServer::with(&settings).await;
    let _client = server.member().await;
    let drained = async {
        let rejected = async {
            loop {
                let response = post(&server, "info", "{}").await;
                if response.status != 200 {
                    return response;
                }
            }
        };
        crate::support::within_deadline("a rejected request", rejected).await
    };
    let response = tokio::select! {
        () = server.server.drain() => panic!("drained before"),
        response = drained => response,
    };
    is(&response, 503, "draining");
    assert!(response.header("retry-after").is_some());
}

#[actix_rt::test]
async fn a_repeated_request_with_an_idempotency_key_is_executed_once() {
    let server = TestServer::with(&WITH_API).await;
    let mut client = server.member().await;
    let once = async |key: &str, body: &str| {
        let headers = [("X-API-Key", KEY), ("Idempotency-Key", key)];
        send(&server, "POST", "/api/v1/emit", &headers, body).await
    };
    let body = r#"{"everybody":true,"event":"e","counts":true}"#;
    let first = once("order-1", body).await;
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (200, None)
    );
    let second = once("order-1", body).await;
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(second.summary(), first.summary());
    client.expect(r#"42["e"]"#).await;
    client.quiet().await;
    is(&once("order-1", EMIT).await, 422, "idempotency_key_reused");
    is(&once("", EMIT).await, 400, "idempotency_key_invalid");
    is(
        &once(&"x".repeat(256), EMIT).await,
        400,
        "idempotency_key_invalid",
    );
    let wrong = r#"{"event":"e"}"#;
    is(&once("order-2", wrong).await, 400, "target_missing");
    is(&once("order-2", wrong).await, 400, "target_missing");
}

#[actix_rt::test]
async fn a_batch_of_which_nothing_was_executed_is_an_error_that_is_not_stored() {
    let mut settings = WITH_API.to_vec();
    settings.push(("AUTH__REVOCATION_LIMIT", "1"));
    let server = TestServer::with(&settings).await;
    request(&server, "revoke", r#"{"user":"ada"}"#).await;
    let batch = async |items: &str| {
        let headers = [("X-API-Key", KEY), ("Idempotency-Key", items)];
        let body = format!(r#"{{"items":[{items}]}}"#);
        send(&server, "POST", "/api/v1/batch", &headers, &body).await
    };
    let revoke = r#"{"revoke":{"user":"bob"}}"#;
    for _ in 0..2 {
        let response = batch(revoke).await;
        is(&response, 503, "too_many_revocations");
        assert_eq!(response.header("idempotency-replayed"), None);
        assert!(message(&response).starts_with("item 0: "));
    }
    let partial = format!(r#"{revoke},{{"emit":{EMIT}}}"#);
    assert_eq!(batch(&partial).await.status, 200);
    let stored = batch(&partial).await;
    assert_eq!(stored.header("idempotency-replayed"), Some("true"));
    let answers: Value = serde_json::from_slice(&stored.body).unwrap();
    assert_eq!(
        answers["answers"][0]["error"]["code"],
        "too_many_revocations"
    );
    assert_eq!(answers["answers"][1], serde_json::json!({}));
}

#[actix_rt::test]
async fn a_second_request_is_rejected_while_the_first_is_running() {
    let server = TestServer::with(&WITH_API).await;
    let mut client = server.member().await;
    let headers = [("X-API-Key", KEY), ("Idempotency-Key", "call-1")];
    let body = r#"{"everybody":true,"event":"who","timeout_ms":20000}"#;
    let call = || send(&server, "POST", "/api/v1/call", &headers, body);
    let second = async {
        let (id, _) = crate::acks::event_with_ack(&mut client).await;
        is(&call().await, 409, "idempotency_key_in_use");
        client.send(&format!("43{id}[1]")).await;
    };
    let (first, ()) = tokio::join!(call(), second);
    assert_eq!(first.status, 200);
    assert_eq!(call().await.summary(), first.summary());
    client.quiet().await;
}

#[actix_rt::test]
async fn requests_are_counted_and_changes_are_logged_with_their_key_and_target() {
    let server = TestServer::with(&WITH_API).await;
    request(&server, "disconnect", r#"{"rooms":["room-of-the-audit"]}"#).await;
    let line = crate::support::log::logged_with("room-of-the-audit").await;
    assert!(
        line.starts_with("API request key=default verb=disconnect "),
        "{line}"
    );
    let _ = send(&server, "POST", "/api/v1/info", &[], "{}").await;
    let values = server.server.metrics().values();
    let requests = values
        .iter()
        .find(|(name, ..)| *name == "api_requests_total");
    assert_eq!(requests.map(|(.., value)| *value), Some(2));
}

#[actix_rt::test]
async fn a_batch_of_a_thousand_items_is_executed_in_order_and_a_longer_one_not_at_all() {
    let server = TestServer::with(&WITH_API).await;
    let mut client = server.member().await;
    let batch = |items: usize, last: &str| {
        let emit =
            |number| format!(r#"{{"emit":{{"everybody":true,"event":"e","args":[{number}]}}}}"#);
        let items: Vec<_> = (0..items).map(emit).collect();
        format!(r#"{{"items":[{}{last}]}}"#, items.join(","))
    };
    is(
        &post(&server, "batch", &batch(1001, "")).await,
        400,
        "too_many_items",
    );
    let wrong = batch(999, r#",{"emit":{"everybody":true,"event":7}}"#);
    let rejected = post(&server, "batch", &wrong).await;
    is(&rejected, 400, "field_invalid");
    let error: Value = serde_json::from_slice(&rejected.body).unwrap();
    assert_eq!(error["error"]["item"], 999);
    client.quiet().await;
    let answer = request(&server, "batch", &batch(1000, "")).await;
    assert_eq!(
        answer["answers"],
        Value::from(vec![serde_json::json!({}); 1000])
    );
    for number in 0..1000 {
        client.expect(&format!(r#"42["e",{number}]"#)).await;
    }
    client.quiet().await;
}
