//! A websocket held here for a session of another node.
//!
//! An `actix_web_actors` websocket actor turns the client's frames into messages for the owner; beside it
//! runs the writer, which fetches the owner's batches one by one. So the owner's outbox stays the only
//! queue: while the client does not read, nothing is fetched.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, StreamHandler};
use actix_http::ws::{Codec, Item};
use actix_web::Error;
use actix_web_actors::ws::{self, WebsocketContext};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, pin_mut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::envelope::{Kind, Outcome};
use super::{DrainSignal, ForwardClient};
use crate::limits::{Limit, Limits};
use crate::model::EngineId;
use crate::transport::socket::ClientStream;

/// Bytes fetched at once, where the bus takes as much.
const BATCH_BYTES: usize = 64 * 1024;
/// Share of a message between nodes that a batch may fill; the rest is for what is around it.
const MESSAGE_SHARE: usize = 2;
/// How long the last batch of a session that must end may take.
const LAST_BATCH_TIME: Duration = Duration::from_secs(1);
const READ_BUFFER: usize = 16 * 1024;

/// What a remote websocket needs to know.
#[derive(Clone)]
pub struct RemoteSession {
    pub exchange: ForwardClient,
    pub id: EngineId,
    /// A batch comes at least this often: the owner pings.
    pub patience: Duration,
    pub upgrade_timeout: Duration,
    /// Bytes of one message.
    pub max_payload: usize,
    /// Bytes fetched at once, see [`batch_bytes`].
    pub batch_bytes: u32,
    pub limits: Arc<Limits>,
    /// Whether this websocket carries its session by now.
    pub carries: Rc<Cell<bool>>,
}

impl RemoteSession {
    fn tell(&self, kind: Kind, body: Bytes) {
        self.exchange.tell(self.id, kind, 0, body);
    }
}

/// Bytes of several packets that are fetched at once, for a bus that takes messages of `message_limit` bytes.
pub fn batch_bytes(message_limit: usize) -> u32 {
    BATCH_BYTES.min(message_limit / MESSAGE_SHARE) as u32
}

/// Serves a websocket whose handshake is answered, until it or the session ends, or until it is told to go. `first`
/// came with the handshake.
pub async fn serve(session: RemoteSession, stream: ClientStream, first: Bytes, told: DrainSignal) {
    let (reader, writer) = tokio::io::split(stream);
    let (carrying, taken_over) = oneshot::channel();
    let actor = RemoteWebsocket {
        session: session.clone(),
        carrying: Some(carrying),
        fragments: BytesMut::new(),
        fragments_are_text: false,
    };
    let codec = Codec::new().max_size(session.max_payload);
    let frames = WebsocketContext::with_codec(actor, incoming(reader, first), codec);
    write(session, frames, taken_over, told, writer).await;
}

/// The client's bytes as the stream the actor reads.
fn incoming(
    reader: ReadHalf<ClientStream>,
    first: Bytes,
) -> impl Stream<Item = Result<Bytes, actix_web::error::PayloadError>> {
    let start = (Some(first).filter(|first| !first.is_empty()), reader);
    Box::pin(futures_util::stream::unfold(
        start,
        async |(first, mut reader)| {
            if let Some(first) = first {
                return Some((Ok(first), (None, reader)));
            }
            let mut buffer = BytesMut::with_capacity(READ_BUFFER);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => None,
                Ok(_) => Some((Ok(buffer.freeze()), (None, reader))),
            }
        },
    ))
}

/// Writes what the actor says and, once the session is taken over, the owner's batches.
async fn write(
    session: RemoteSession,
    frames: impl Stream<Item = Result<Bytes, Error>>,
    taken_over: oneshot::Receiver<()>,
    told: DrainSignal,
    mut writer: WriteHalf<ClientStream>,
) {
    let batches = batches(session.clone(), taken_over);
    let leaving = leave(&session, told);
    pin_mut!(frames, batches, leaving);
    let upgraded = loop {
        let bytes = tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(bytes)) => bytes,
                _ => break false,
            },
            batch = batches.next() => match batch {
                Some(bytes) => bytes,
                None => break true,
            },
            () = &mut leaving => break true,
        };
        let written = async {
            writer.write_all(&bytes).await?;
            // TLS keeps bytes back until it is told to flush.
            writer.flush().await
        };
        // Nothing else is done meanwhile, no pong read: in the owner's eyes, too, the client is gone by then.
        let taken = tokio::select! {
            taken = timeout(session.patience, written) => matches!(taken, Ok(Ok(()))),
            () = &mut leaving => false,
        };
        if !taken {
            break false;
        }
    };
    if upgraded {
        // Let the client have the last batch before the connection ends.
        let _ = writer.shutdown().await;
    }
}

/// Once told to go, asks the owner to end the session: its last batch then says so to the client. Ends where that
/// takes too long, or where the websocket carries nothing yet.
async fn leave(session: &RemoteSession, told: DrainSignal) {
    let Ok(patience) = told.await else {
        return std::future::pending().await;
    };
    if session.carries.get() {
        session.exchange.leave(session.id, patience);
        tokio::time::sleep(patience + LAST_BATCH_TIME).await;
    }
}

/// The owner's batches, fetched one after the other.
fn batches(session: RemoteSession, taken_over: oneshot::Receiver<()>) -> impl Stream<Item = Bytes> {
    let start = (Some(taken_over), false);
    futures_util::stream::unfold(start, move |(taken_over, last)| {
        let session = session.clone();
        async move {
            if let Some(taken_over) = taken_over {
                // The actor is gone before it took the session over: there is nothing to fetch.
                taken_over.await.ok()?;
            }
            if last {
                return None;
            }
            let number = session.exchange.number();
            let asked = session.exchange.ask(
                session.id,
                Kind::Pull,
                number,
                session.batch_bytes,
                session.patience,
            );
            match asked.await {
                (Outcome::Done, body) => Some((body, (None, false))),
                (Outcome::Last, body) => Some((body, (None, true))),
                _ => None,
            }
        }
    })
}

/// Hands the client's messages to the owner.
struct RemoteWebsocket {
    session: RemoteSession,
    /// Fired when the websocket takes the session over.
    carrying: Option<oneshot::Sender<()>>,
    fragments: BytesMut,
    fragments_are_text: bool,
}

impl RemoteWebsocket {
    fn text(&mut self, text: Bytes, ctx: &mut WebsocketContext<Self>) {
        let Some(carrying) = self.carrying.take() else {
            return self.session.tell(Kind::Text, text);
        };
        match &text[..] {
            b"2probe" => {
                self.carrying = Some(carrying);
                ctx.text("3probe");
                self.session.tell(Kind::Probed, Bytes::new());
            }
            b"5" => {
                self.session.tell(Kind::Upgraded, Bytes::new());
                self.session.carries.set(true);
                // The writer may have ended with the connection.
                let _ = carrying.send(());
            }
            _ => {
                self.carrying = Some(carrying);
                ctx.close(None);
                ctx.stop();
            }
        }
    }

    fn fragment(&mut self, item: Item, ctx: &mut WebsocketContext<Self>) {
        let (Item::FirstText(bytes)
        | Item::FirstBinary(bytes)
        | Item::Continue(bytes)
        | Item::Last(bytes)) = &item;
        if self.fragments.len() + bytes.len() > self.session.max_payload {
            return self.refuse_large(ctx);
        }
        if let Item::FirstText(_) | Item::FirstBinary(_) = &item {
            self.fragments.clear();
            self.fragments_are_text = matches!(item, Item::FirstText(_));
        }
        self.fragments.extend_from_slice(bytes);
        if matches!(item, Item::Last(_)) {
            let whole = self.fragments.split().freeze();
            if self.fragments_are_text {
                self.text(whole, ctx);
            } else {
                self.binary(whole, ctx);
            }
        }
    }

    fn refuse_large(&mut self, ctx: &mut WebsocketContext<Self>) {
        self.session.limits.refused(Limit::Payload, None);
        let sentence = "message too large: see maxPayload of the handshake";
        ctx.close(Some(ws::CloseReason::from((ws::CloseCode::Size, sentence))));
        ctx.stop();
    }

    fn binary(&mut self, content: Bytes, ctx: &mut WebsocketContext<Self>) {
        if self.carrying.is_some() {
            return ctx.stop();
        }
        self.session.tell(Kind::Binary, content);
    }
}

impl Actor for RemoteWebsocket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        actix::AsyncContext::run_later(ctx, self.session.upgrade_timeout, |websocket, ctx| {
            if websocket.carrying.is_some() {
                ctx.close(None);
                ctx.stop();
            }
        });
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        let kind = if self.carrying.is_some() {
            Kind::ProbeFailed
        } else {
            Kind::Detached
        };
        self.session.tell(kind, Bytes::new());
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for RemoteWebsocket {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => self.text(text.into_bytes(), ctx),
            Ok(ws::Message::Binary(content)) => self.binary(content, ctx),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Ping(content)) => ctx.pong(&content),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => {
                ctx.close(None);
                ctx.stop();
            }
            Err(ws::ProtocolError::Overflow) => self.refuse_large(ctx),
            Err(_) => ctx.stop(),
        }
    }
}
