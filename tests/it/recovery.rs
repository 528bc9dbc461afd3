//! Sessions that are recovered after their connection was lost, on the same node and on another one.

use roomwire::bus::memory::Hub;
use roomwire::config::Config;
use serde_json::{Value, json};

use crate::support::api::{WITH_API, request};
use crate::support::server::config_with_file;
use crate::support::user_gate;
use crate::support::{TestCluster, TestServer, WebsocketClient, within_deadline};

const RECOVERING: &str = "[recovery]\nnamespaces = [\"/\"]\n";

pub fn recovering(settings: &str) -> Config {
    config_with_file(&WITH_API, Some(&format!("{RECOVERING}{settings}")))
}

/// A client that takes part in recovery, as the stock one does.
pub struct Client {
    pub websocket: WebsocketClient,
    /// The body of the CONNECT response.
    pub connected: Value,
    /// The argument of `roomwire:session`.
    pub session: Value,
    pub offset: Option<String>,
}

impl Client {
    pub async fn connect(node: &TestServer) -> Self {
        Self::connect_with(node, json!({})).await
    }

    /// Connects with more in the payload of the CONNECT.
    pub async fn connect_with(node: &TestServer, more: Value) -> Self {
        let mut auth = json!({"roomwire": {"recover": true}});
        auth.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Self::connect_on(node.websocket().await, auth).await
    }

    /// Connects over an open session with this payload of the CONNECT.
    pub async fn connect_on(mut websocket: WebsocketClient, auth: Value) -> Self {
        websocket.send(&format!("40{auth}")).await;
        let response = websocket.text().await;
        let body = response
            .strip_prefix("40")
            .unwrap_or_else(|| panic!("{response}"));
        let connected: Value = serde_json::from_str(body).unwrap();
        websocket.socket = connected["sid"].as_str().unwrap().to_owned();
        let mut client = Self {
            websocket,
            connected,
            session: Value::Null,
            offset: None,
        };
        let session = client.event().await;
        assert_eq!(session[0], "roomwire:session");
        client.session = session[1].clone();
        assert_eq!(client.session["pid"], client.connected["pid"]);
        client
    }

    /// What it adds to the payload of its next CONNECT.
    pub fn resume(&self) -> Value {
        let mut resume = json!({"pid": self.connected["pid"]});
        if let Some(offset) = &self.offset {
            resume["offset"] = json!(offset);
        }
        resume
    }

    /// Loses its connection and comes back to a node.
    pub async fn lost_and_back(self, node: &TestServer) -> Self {
        let resume = self.resume();
        drop(self);
        Self::connect_with(node, resume).await
    }

    /// The next event, with its position or `null` as last argument, which it keeps like the stock client.
    pub async fn event(&mut self) -> Value {
        let packet = self.websocket.text().await;
        let event = packet
            .strip_prefix("42")
            .unwrap_or_else(|| panic!("{packet}"));
        let event: Value = serde_json::from_str(event).unwrap();
        let last = event.as_array().unwrap().last().unwrap();
        if let Some(offset) = last.as_str() {
            self.offset = Some(offset.to_owned());
        }
        event
    }

    /// Receives events with these numbers, each with a position, and nothing else.
    pub async fn expect(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let event = self.event().await;
            assert_eq!(
                (&event[0], &event[1]),
                (&json!("n"), &json!(number)),
                "{event}"
            );
            assert!(event[2].is_string(), "{event}");
        }
    }

    pub fn is_recovered(&self, other: &Self) -> bool {
        let recovered = self.session["recovered"] == true && self.session["gap"].is_null();
        recovered && self.connected["pid"] == other.connected["pid"]
    }
}

pub async fn emit(
    client: &mut WebsocketClient,
    room: &str,
    numbers: std::ops::RangeInclusive<u64>,
) {
    for number in numbers {
        client.emit(room, &format!(r#""n",{number}"#)).await;
    }
    client.quiet().await;
}

/// A single node, and the second node of a cluster whose first one published.
pub async fn on_one_node_and_on_two(settings: &str, test: impl AsyncFn(&TestServer, &TestServer)) {
    let config = recovering(settings);
    let node = TestServer::configured(config.clone(), None).await;
    test(&node, &node).await;
    let cluster = TestCluster::<2>::configured(&config, Hub::default()).await;
    test(&cluster.nodes[0], &cluster.nodes[1]).await;
}

#[actix_rt::test]
async fn what_was_missed_is_received_once_and_in_order_then_what_follows() {
    on_one_node_and_on_two("", async |first, second| {
        let mut publisher = first.member().await;
        let mut client = Client::connect(first).await;
        assert_eq!(client.session["recovered"], false);
        assert_eq!(client.session["window_ms"], 120_000);
        for room in ["a", "b", "left"] {
            client.websocket.join(room).await;
        }
        emit(&mut publisher, "a", 1..=2).await;
        client.expect(1..=2).await;
        let response = client.websocket.ask(r#"["roomwire:leave","left"]"#).await;
        assert!(response.contains("true"), "{response}");
        let socket = client.websocket.socket.clone();
        let former = client.resume();
        drop(client);
        emit(&mut publisher, "a", 3..=4).await;
        emit(&mut publisher, "left", 100..=110).await;
        emit(&mut publisher, "b", 5..=5).await;
        for (target, number) in [
            (json!({"everybody": true}), 6),
            (json!({"sockets": [socket]}), 7),
        ] {
            let mut body = json!({"event": "n", "args": [number]});
            body.as_object_mut()
                .unwrap()
                .extend(target.as_object().unwrap().clone());
            request(first, "emit", &body.to_string()).await;
        }
        publisher.expect(r#"42["n",6]"#).await;
        emit(&mut publisher, "a", 8..=8).await;
        // Also an event of the room that is not for it.
        let body = json!({"event": "n", "rooms": ["a"], "args": [99], "except": [socket]});
        request(first, "emit", &body.to_string()).await;
        let mut back = Client::connect_with(second, former.clone()).await;
        assert_eq!(back.session["recovered"], true);
        assert_eq!(
            (&back.session["pid"], &back.session["gap"]),
            (&former["pid"], &Value::Null)
        );
        assert_eq!(back.session["offset"], former["offset"]);
        back.expect(3..=8).await;
        // It is in its rooms, and reachable by its former id.
        emit(&mut publisher, "b", 9..=9).await;
        let body = json!({"event": "n", "sockets": [socket], "args": [10]});
        request(first, "emit", &body.to_string()).await;
        emit(&mut publisher, "left", 111..=112).await;
        back.expect(9..=10).await;
        back.websocket.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn a_session_survives_several_losses_in_a_row_and_a_connection_that_is_not_noticed_to_be_dead()
 {
    on_one_node_and_on_two("", async |first, second| {
        let mut publisher = first.member().await;
        let mut client = Client::connect(first).await;
        client.websocket.join("a").await;
        emit(&mut publisher, "a", 1..=40).await;
        client.expect(1..=40).await;
        let mut next = 41;
        for round in 0..12 {
            let node = if round % 2 == 0 { second } else { first };
            // The former connection stays open.
            emit(&mut publisher, "a", next..=next + 4).await;
            let mut back = Client::connect_with(node, client.resume()).await;
            assert!(back.is_recovered(&client), "{}", back.session);
            // Half of them are received before it is lost again.
            back.expect(next..=next + 2).await;
            let mut former = std::mem::replace(&mut client, back);
            next += 3;
            loop {
                // It ends without a reconnect of its client.
                let packet =
                    within_deadline("the end of a former socket", former.websocket.text()).await;
                if packet == "41" {
                    break;
                }
            }
            client = client.lost_and_back(node).await;
            client.expect(next..=next + 1).await;
            next += 2;
        }
        emit(&mut publisher, "a", next..=next).await;
        client.expect(next..=next).await;
        client.websocket.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn a_session_that_cannot_continue_begins_anew_and_the_client_is_notified_why() {
    let settings = "max_events = 5\n";
    on_one_node_and_on_two(settings, async |first, second| {
        let mut publisher = first.member().await;
        let mut client = Client::connect(first).await;
        client.websocket.join("a").await;
        emit(&mut publisher, "a", 1..=1).await;
        client.expect(1..=1).await;
        let resume = client.resume();
        let offset = resume["offset"].as_str().unwrap();
        let other_epoch = format!("zzzzzz{}", &offset[6..]);
        let unknown = "abcdefghijklmnopqrstuvwx";
        for (pid, offset, reason) in [
            (json!(unknown), json!(offset), "unknown"),
            (resume["pid"].clone(), json!(other_epoch), "epoch"),
            (resume["pid"].clone(), json!("hello"), "position"),
        ] {
            let more = json!({"pid": pid, "offset": offset});
            let back = Client::connect_with(second, more).await;
            assert_eq!(back.session["recovered"], false);
            assert_eq!(back.session["gap"]["reason"], reason);
            assert_ne!(back.connected["pid"], pid);
        }
        emit(&mut publisher, "a", 2..=7).await;
        let mut back = Client::connect_with(second, resume).await;
        assert_eq!(back.session["gap"]["reason"], "trimmed", "{}", back.session);
        assert_eq!(back.session["gap"]["room"], "a");
        back.websocket.quiet().await;
    })
    .await;
}

#[actix_rt::test]
async fn the_end_of_a_session_by_its_client_is_final_and_others_cannot_have_it() {
    let config = recovering("");
    let cluster = TestCluster::<2>::extended(&config, Hub::default(), &user_gate::users()).await;
    let [first, second] = &cluster.nodes;
    let client = Client::connect_with(first, json!({"user": "ada"})).await;
    let mut resume = client.resume();
    resume["user"] = json!("eve");
    let other = Client::connect_with(second, resume.clone()).await;
    assert_eq!(other.session["gap"]["reason"], "foreign");
    resume["user"] = json!("ada");
    let mut client = Client::connect_with(second, resume.clone()).await;
    assert_eq!(client.session["recovered"], true);
    client.websocket.send("41").await;
    client.websocket.send("40").await;
    drop(client);
    loop {
        let back = Client::connect_with(first, resume.clone()).await;
        if back.session["recovered"] == false {
            assert_eq!(back.session["gap"]["reason"], "unknown");
            break;
        }
    }
}

#[actix_rt::test]
async fn only_clients_that_take_part_receive_positions_and_events_without_one_end_in_null() {
    let node = TestServer::configured(recovering(""), None).await;
    let (mut plain, mut publisher) = (node.member().await, node.member().await);
    let mut client = Client::connect(&node).await;
    plain.join("a").await;
    client.websocket.join("a").await;
    publisher.emit("a", r#""n",{"b":[1]}, "text" "#).await;
    publisher
        .send(r#"451-["roomwire:emit","a","n",{"_placeholder":true,"num":0}]"#)
        .await;
    publisher.send_binary(b"bytes").await;
    plain.expect(r#"42["n",{"b":[1]}, "text" ]"#).await;
    plain
        .expect(r#"451-["n",{"_placeholder":true,"num":0}]"#)
        .await;
    plain.expect_binary(b"bytes").await;
    let event = client.event().await;
    assert_eq!((&event[1], &event[2]), (&json!({"b": [1]}), &json!("text")));
    assert!(event[3].is_string() && event[4].is_null(), "{event}");
    let packet = client.websocket.text().await;
    let head = r#"451-["n",{"_placeholder":true,"num":0},""#;
    assert!(
        packet.starts_with(head) && packet.ends_with("\"]"),
        "{packet}"
    );
    client.websocket.expect_binary(b"bytes").await;
    // Recovered with its attachment.
    let mut back = Client::connect_with(&node, client.resume()).await;
    let packet = back.websocket.text().await;
    assert!(packet.starts_with(head), "{packet}");
    back.websocket.expect_binary(b"bytes").await;
    let body = json!({"event": "v", "rooms": ["a"], "args": ["text"], "volatile": true});
    request(&node, "emit", &body.to_string()).await;
    assert_eq!(back.event().await, json!(["v", "text", null]));
    publisher
        .send(r#"427["roomwire:ask","a","q","text"]"#)
        .await;
    let question = back.websocket.text().await;
    assert!(question.ends_with(r#"["q","text"]"#), "{question}");
}

#[actix_rt::test]
async fn clients_that_follow_their_position_by_themselves_receive_it_and_plain_events() {
    let settings = "offset_interval = \"10ms\"\n";
    on_one_node_and_on_two(settings, async |first, second| {
        let auth = |more: Value| {
            let mut auth = json!({"roomwire": {"recover": "offsets"}});
            let more = more.as_object().unwrap().clone();
            auth.as_object_mut().unwrap().extend(more);
            format!("40{auth}")
        };
        let event = async |client: &mut WebsocketClient| -> Value {
            let packet = client.text().await;
            serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap()
        };
        let mut publisher = first.member().await;
        let mut client = first.websocket().await;
        client.send(&auth(json!({}))).await;
        assert!(!client.text().await.contains("pid"));
        let session = event(&mut client).await;
        assert_eq!(
            (session.as_array().unwrap().len(), &session[1]["recovered"]),
            (2, &json!(false))
        );
        client.send(r#"429["roomwire:join","a"]"#).await;
        assert!(client.text().await.starts_with("439"));
        emit(&mut publisher, "a", 1..=1).await;
        assert_eq!(event(&mut client).await, json!(["n", 1]));
        let offset = within_deadline("an offset", event(&mut client)).await;
        assert_eq!(
            (&offset[0], &offset[1]),
            (&json!("roomwire:offset"), &session[1]["pid"])
        );
        drop(client);
        emit(&mut publisher, "a", 2..=3).await;
        let mut back = second.websocket().await;
        back.send(&auth(json!({"pid": offset[1], "offset": offset[2]})))
            .await;
        back.text().await;
        let session = event(&mut back).await;
        assert_eq!(
            (&session[1]["recovered"], &session[1]["pid"]),
            (&json!(true), &offset[1])
        );
        assert_eq!(event(&mut back).await, json!(["n", 2]));
        let mut next = event(&mut back).await;
        while next[0] == "roomwire:offset" {
            next = event(&mut back).await;
        }
        assert_eq!(next, json!(["n", 3]));
    })
    .await;
}

#[actix_rt::test]
async fn earlier_events_of_a_room_that_is_joined_do_not_set_a_client_back() {
    on_one_node_and_on_two("", async |first, second| {
        let mut publisher = first.member().await;
        emit(&mut publisher, "b", 1..=2).await;
        let mut client = Client::connect(first).await;
        client.websocket.join("a").await;
        emit(&mut publisher, "a", 3..=4).await;
        client.expect(3..=4).await;
        let offset = client.offset.clone();
        let join = r#"429["roomwire:join","b",{"since":"last:2"}]"#;
        client.websocket.send(join).await;
        for number in 1..=2 {
            assert_eq!(client.event().await, json!(["n", number, null]));
        }
        assert!(client.websocket.text().await.starts_with("439"));
        assert_eq!(client.offset, offset);
        let mut back = client.lost_and_back(second).await;
        emit(&mut publisher, "b", 5..=5).await;
        back.expect(5..=5).await;
        back.websocket.quiet().await;
    })
    .await;
}
