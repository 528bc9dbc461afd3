//! Deploys of all nodes of a cluster, processes on a real Redis, under clients that come back.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::spawn_blocking;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::support::api::KEY;
use crate::support::http::Request;
use crate::support::process::{Node, free_address};
use crate::support::redis::RedisServer;
use crate::support::returning::{Network, ReturningClient, Seen};
use crate::support::server::write_file;
use crate::support::within_deadline;

const CLIENTS: usize = 300;
/// Clients of the same room.
const OF_ROOM: usize = 30;
const PAUSE: Duration = Duration::from_millis(20);
/// Events by which the slowest client may be behind, far fewer than a log keeps.
const AHEAD: u64 = 400;

const CONFIG: &str = r#"
    [recovery]
    namespaces = ["/"]
    [limits]
    per_client = "off"
"#;

/// Starts a node while clients go on.
async fn start(redis: &RedisServer, address: &str, api: Option<&str>) -> Node {
    let file = write_file("storms.toml", CONFIG);
    let mut environment = vec![
        ("ROOMWIRE_CONFIG", file.to_str().unwrap().to_owned()),
        ("ROOMWIRE_BUS__REDIS_URL", redis.url()),
        ("ROOMWIRE_SERVER__BIND", address.to_owned()),
    ];
    if let Some(internal) = api {
        environment.push(("ROOMWIRE_API__KEY", KEY.to_owned()));
        environment.push(("ROOMWIRE_SERVER__INTERNAL_BIND", internal.to_owned()));
    }
    let started = spawn_blocking(move || {
        let environment: Vec<_> = environment.iter().map(|(key, it)| (*key, &**it)).collect();
        let node = Node::start(&environment);
        node.start_line("redis is connected");
        node.start_line("listening on http://");
        node
    });
    started.await.unwrap()
}

/// Ends a node by a signal; returns its exit code.
async fn stop(mut node: Node, signal: &str) -> Option<i32> {
    node.signal(signal);
    spawn_blocking(move || node.exit_code()).await.unwrap()
}

/// Emits the numbers from 1 on to all rooms, until it is stopped; returns the last one. However slow the machine is, no
/// client misses more than the logs of the rooms keep.
async fn publish(address: &str, clients: &[Rc<Seen>], is_over: &Cell<bool>) -> u64 {
    let rooms: Vec<String> = (0..CLIENTS / OF_ROOM)
        .map(|room| format!("room{room}"))
        .collect();
    let mut number = 0;
    while !is_over.get() {
        let slowest = clients.iter().map(|seen| seen.last_number()).min();
        if number >= slowest.unwrap_or_default() + AHEAD {
            sleep(PAUSE).await;
            continue;
        }
        number += 1;
        let body = json!({"event": "n", "rooms": rooms, "args": [number]}).to_string();
        let headers = [("X-API-Key", KEY)];
        let request = Request::post("/api/v1/emit", body.as_bytes()).headers(&headers);
        let response = within_deadline("a response of the API", request.send(address)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        sleep(PAUSE).await;
    }
    number
}

#[actix_rt::test]
async fn a_deploy_of_all_nodes_and_the_death_of_each_are_not_noticed_by_clients() {
    let Some(redis) = RedisServer::start(&[]) else {
        return;
    };
    let internal = free_address();
    let _publisher = start(&redis, &free_address(), Some(&internal)).await;
    let addresses: Vec<String> = (0..3).map(|_| free_address()).collect();
    let mut nodes = join_all(addresses.iter().map(|address| start(&redis, address, None))).await;
    let network = Network::new(addresses.clone());
    let clients = (0..CLIENTS).map(|number| {
        let room = format!("room{}", number / OF_ROOM);
        ReturningClient::start(&network, number, &room)
    });
    let (seen, _running): (Vec<_>, Vec<_>) = clients.unzip();
    ReturningClient::ready(&seen).await;
    let is_over = Cell::new(false);
    let deploy = async {
        for (signal, code) in [("TERM", Some(0)), ("KILL", None)] {
            for (node, address) in std::mem::take(&mut nodes).into_iter().zip(&addresses) {
                assert_eq!(stop(node, signal).await, code);
                nodes.push(start(&redis, address, None).await);
                ReturningClient::ready(&seen).await;
            }
        }
        is_over.set(true);
        nodes
    };
    let (_nodes, last) = tokio::join!(deploy, publish(&internal, &seen, &is_over));
    join_all(seen.iter().map(|seen| seen.received_all(last))).await;
    let recovered: usize = seen.iter().map(|seen| seen.recovered.get()).sum();
    // Each node is lost twice, with about a third of the clients.
    assert!(recovered >= 3 * CLIENTS / 2, "{recovered} recoveries");
}
