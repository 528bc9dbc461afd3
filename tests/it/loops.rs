//! Loops: an upstream URL names the balancer of the clients, so upstream connections reach the cluster that opened
//! them.

use std::net::SocketAddr;
use std::sync::OnceLock;

use roomwire::metrics::labels::RequestRejection;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::http::Request;
use crate::support::upstream::front_of;
use crate::support::{Frame, TestCluster, WebsocketClient, eventually};

/// A balancer that starts before the nodes behind it.
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
                    // Ends when either side closes.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, nodes }
    }
}

#[actix_rt::test]
async fn an_upstream_connection_that_reaches_its_own_node_is_rejected() {
    let balancer = Balancer::start().await;
    let node = front_of(
        &[balancer.address],
        &[("APP__UPSTREAM__CONNECT_TIMEOUT", "5s")],
    )
    .await;
    balancer.nodes.set(vec![node.address()]).unwrap();
    let mut client = node.websocket().await;
    client.send("40").await;
    // Closed as without an upstream, so that the client retries.
    let frames = client.rest().await;
    assert!(
        matches!(frames[..], [Frame::Close(Some(1013), _)]),
        "{frames:?}"
    );
    let metrics = node.metrics();
    assert!(
        metrics
            .requests_rejected_total
            .of(RequestRejection::Loop)
            .get()
            >= 1
    );
    assert_eq!(metrics.upstream_connections_opened_total.get(), 0);
    assert_eq!(metrics.sessions_opened_total.get(), 1);
}

#[actix_rt::test]
async fn an_upstream_connection_that_reaches_another_node_of_the_cluster_is_rejected() {
    let balancer = Balancer::start().await;
    let url = format!("http://{}", balancer.address);
    let cluster = TestCluster::<2>::with(&[
        ("APP__KIND", "upstream"),
        ("APP__UPSTREAM__URLS", url.as_str()),
        ("APP__UPSTREAM__CONNECT_TIMEOUT", "5s"),
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
    eventually("each node has rejected an upstream connection", || {
        let rejected = |node: &crate::support::TestServer| {
            node.metrics()
                .requests_rejected_total
                .of(RequestRejection::Loop)
                .get()
                > 0
        };
        cluster.nodes.iter().all(rejected)
    })
    .await;
    for node in &cluster.nodes {
        assert_eq!(node.metrics().upstream_connections_opened_total.get(), 0);
    }
}

#[actix_rt::test]
async fn a_loop_is_rejected_with_a_code_and_connections_of_other_clusters_are_accepted() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let lazy = [("APP__UPSTREAM__CONNECT", "lazy")];
    let node = front_of(&[nowhere], &lazy).await;
    let target = "/socket.io/?EIO=4&transport=polling";
    for (mark, status) in [("roomwire:0/abcd", 508), ("other:0/abcd", 200)] {
        let headers = [("x-roomwire-via", mark)];
        let response = node.send(Request::get(target).headers(&headers)).await;
        assert_eq!(response.status, status, "{mark}");
        assert_eq!(
            response.text().starts_with(r#"{"code":12,"message":""#),
            status == 508
        );
    }
    // A node without upstream connections cannot be part of a loop.
    let relay = crate::support::TestServer::start().await;
    let headers = [("x-roomwire-via", "roomwire:0/abcd")];
    let response = relay.send(Request::get(target).headers(&headers)).await;
    assert_eq!(response.status, 200);
}
