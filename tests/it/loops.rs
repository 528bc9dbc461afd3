//! Upstream connections that come back to where they were opened: an upstream URL that names the balancer of the clients.

use std::net::SocketAddr;
use std::sync::OnceLock;

use roomwire::metrics::labels::RequestRefusal;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::http::Request;
use crate::support::upstream::front_of;
use crate::support::{Frame, TestCluster, WebsocketClient, eventually};

/// A balancer that is there before the nodes behind it are.
struct Balancer {
    address: SocketAddr,
    nodes: &'static OnceLock<Vec<String>>,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nodes: &'static OnceLock<Vec<String>> = Box::leak(Box::default());
        actix_rt::spawn(async move {
            let mut turn = 0;
            while let Ok((mut client, _)) = listener.accept().await {
                let Some(nodes) = nodes.get() else { continue };
                let node = nodes[turn % nodes.len()].clone();
                turn += 1;
                actix_rt::spawn(async move {
                    let mut server = TcpStream::connect(node).await.unwrap();
                    // One of them ends it.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, nodes }
    }
}

#[actix_rt::test]
async fn a_leg_that_comes_back_is_turned_away() {
    let balancer = Balancer::start().await;
    let node = front_of(
        &[balancer.address],
        &[("APP__UPSTREAM__CONNECT_TIMEOUT", "400ms")],
    )
    .await;
    balancer.nodes.set(vec![node.address()]).unwrap();
    let mut client = node.websocket().await;
    client.send("40").await;
    // As without an upstream: hung up on, to try again.
    let frames = client.rest().await;
    assert!(
        matches!(frames[..], [Frame::Close(Some(1013), _)]),
        "{frames:?}"
    );
    let metrics = node.metrics();
    assert!(
        metrics
            .requests_refused_total
            .of(RequestRefusal::Loop)
            .get()
            >= 1
    );
    assert_eq!(metrics.upstream_connections_opened_total.get(), 0);
    assert_eq!(metrics.sessions_opened_total.get(), 1);
}

#[actix_rt::test]
async fn nodes_of_a_cluster_know_each_others_upstreams() {
    let balancer = Balancer::start().await;
    let url = format!("http://{}", balancer.address);
    let cluster = TestCluster::<2>::with(&[
        ("APP__KIND", "upstream"),
        ("APP__UPSTREAM__URLS", url.as_str()),
        ("APP__UPSTREAM__CONNECT_TIMEOUT", "1s"),
        ("BUS__REDIS_URL", "redis://in-memory"),
    ])
    .await;
    let nodes = cluster.nodes.iter().map(|node| node.address());
    balancer.nodes.set(nodes.collect()).unwrap();
    let _clients: [WebsocketClient; 2] = {
        let mut clients = [
            cluster.nodes[0].websocket().await,
            cluster.nodes[1].websocket().await,
        ];
        for client in &mut clients {
            client.send("40").await;
        }
        clients
    };
    eventually("each node turned upstreams away", || {
        let refused = |node: &crate::support::TestServer| {
            node.metrics()
                .requests_refused_total
                .of(RequestRefusal::Loop)
                .get()
                > 0
        };
        cluster.nodes.iter().all(refused)
    })
    .await;
    for node in &cluster.nodes {
        assert_eq!(node.metrics().upstream_connections_opened_total.get(), 0);
    }
}

#[actix_rt::test]
async fn the_refusal_has_a_code_and_others_legs_are_clients() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let lazy = [("APP__UPSTREAM__CONNECT", "lazy")];
    let node = front_of(&[nowhere], &lazy).await;
    let target = "/socket.io/?EIO=4&transport=polling";
    for (mark, status) in [("roomwire:0/abcd", 508), ("other:0/abcd", 200)] {
        let headers = [("x-roomwire-via", mark)];
        let answer = node.send(Request::get(target).headers(&headers)).await;
        assert_eq!(answer.status, status, "{mark}");
        assert_eq!(
            answer.text().starts_with(r#"{"code":12,"message":""#),
            status == 508
        );
    }
    // Who opens no upstream connections makes no loop.
    let relay = crate::support::TestServer::start().await;
    let headers = [("x-roomwire-via", "roomwire:0/abcd")];
    let answer = relay.send(Request::get(target).headers(&headers)).await;
    assert_eq!(answer.status, 200);
}
