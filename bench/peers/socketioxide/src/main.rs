//! The relay app on stock socketioxide under axum. PORT is the port.
//! `roomwire:emit` takes exactly one argument after the event's name: the library's
//! extractors do not support a variable number, and the load generator uses one.

use axum::Router;
use axum::serve::ListenerExt;
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", connected);
    let port: u16 = std::env::var("PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    // Node and uvicorn set this by default.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("no TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, Router::new().layer(layer)).await?;
    Ok(())
}
