//! The relay app on stock socketioxide under axum. PORT is the port, PING_INTERVAL and PING_TIMEOUT are in ms.
//! `POST /api/v1/emit` emits an event with one argument to rooms.
//! `roomwire:emit` takes exactly one argument after the event's name: the library's
//! extractors do not support a variable number, and the load generator uses one.

use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};

async fn connected(socket: SocketRef) {
    socket.on(
        "roomwire:join",
        async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
            socket.join(room);
            accept(ack);
        },
    );
    socket.on(
        "roomwire:leave",
        async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
            socket.leave(room);
            accept(ack);
        },
    );
    socket.on(
        "roomwire:emit",
        async |socket: SocketRef, Data::<(String, String, Value)>(call), ack: AckSender| {
            let (room, event, argument) = call;
            if let Err(error) = socket.to(room).emit(event, &argument).await {
                eprintln!("broadcast failed: {error}");
            }
            accept(ack);
        },
    );
}

fn accept(ack: AckSender) {
    if let Err(error) = ack.send(&json!({ "ok": true })) {
        eprintln!("ack failed: {error}");
    }
}

#[derive(serde::Deserialize)]
struct Emit {
    rooms: Vec<String>,
    event: String,
    args: (Value,),
}

async fn emit(State(io): State<SocketIo>, Json(emit): Json<Emit>) {
    // An error means that some of the clients do not receive it, such as those with a full queue.
    if let Err(error) = io.to(emit.rooms).emit(emit.event, &emit.args.0).await {
        eprintln!("broadcast failed: {error}");
    }
}

fn milliseconds(variable: &str, otherwise: u64) -> Result<Duration, std::num::ParseIntError> {
    let value = std::env::var(variable).map_or(Ok(otherwise), |value| value.parse())?;
    Ok(Duration::from_millis(value))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (layer, io) = SocketIo::builder()
        .ping_interval(milliseconds("PING_INTERVAL", 25_000)?)
        .ping_timeout(milliseconds("PING_TIMEOUT", 20_000)?)
        .build_layer();
    io.ns("/", connected);
    let routes = Router::new()
        .route("/readyz", get(|| async { "ready" }))
        .route("/api/v1/emit", post(emit))
        .with_state(io);
    let port: u16 = std::env::var("PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    // Node and uvicorn set this by default.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("no TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, routes.layer(layer)).await?;
    Ok(())
}
