//! A websocket held here for a session of another node.
//!
//! An `actix_web_actors` actor forwards the messages of the client to the owner; beside it runs the writer, which
//! fetches the batches of the owner one by one. So the owner's outbox stays the only queue: while the client does not
//! read, nothing is fetched.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, StreamHandler, WrapFuture};
use actix_web::Error;
use actix_web_actors::HttpContext;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, pin_mut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::envelope::{ForwardOutcome, Kind};
use super::remote_pace::RemotePace;
use super::remote_session::RemoteSession;
use super::remote_websockets::DrainSignal;
use crate::limits::Limit;
use crate::outbox::Packet;
use crate::protocol::engine_io::packet::{EXCESS_DATA, has_excess_data, is_framed};
use crate::protocol::websocket::{DecodeFailure, Frame, FrameDecoder, FrameError, InflateBudget};
use crate::protocol::wire_format::Compression;
use crate::transport::frames::close_packet;
use crate::transport::probe::{PROBE_RESPONSE, ProbeStep, probe_step};

/// Maximum time for the last batch of a session that is ended by a drain.
const LAST_BATCH_TIME: Duration = Duration::from_secs(1);
/// Maximum time for which bytes of the client are read and discarded after a close frame.
const LINGER_TIME: Duration = Duration::from_secs(1);
const READ_BUFFER: usize = 16 * 1024;
/// Pause between two checks for free capacity while the node is congested.
const CONGESTION_PAUSE: Duration = Duration::from_millis(5);
/// Number of decompressed bytes of one read after which the task yields to others of the worker; without them it yields
/// after 16 reads.
const INFLATED_PER_READ: usize = 16 * 1024;

/// Serves a websocket whose handshake is complete, until the websocket or the session ends, or `drain` fires: its
/// connection, the decoder of its frames, and the bytes that followed the handshake.
pub(super) async fn serve(
    session: RemoteSession,
    (stream, decoder, first): (impl AsyncRead + AsyncWrite + 'static, FrameDecoder, Bytes),
    drain: DrainSignal,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (carrying, taken_over) = oneshot::channel();
    let actor = RemoteWebsocket {
        decoder,
        pace: RemotePace::new(Arc::clone(&session.limits)),
        session: session.clone(),
        carrying: Some(carrying),
        closed: false,
    };
    let frames = HttpContext::with_factory(move |ctx| {
        RemoteWebsocket::add_stream(incoming(reader, first), ctx);
        actor
    });
    write(session, frames, taken_over, drain, writer).await;
}

/// The bytes of the client.
fn incoming(
    reader: ReadHalf<impl AsyncRead + 'static>,
    first: Bytes,
) -> impl Stream<Item = BytesMut> + 'static {
    let start = (Some(first).filter(|first| !first.is_empty()), reader);
    Box::pin(futures_util::stream::unfold(
        start,
        async |(first, mut reader)| {
            if let Some(first) = first {
                return Some((BytesMut::from(&first[..]), (None, reader)));
            }
            let mut buffer = BytesMut::with_capacity(READ_BUFFER);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => None,
                Ok(_) => Some((buffer, (None, reader))),
            }
        },
    ))
}

/// Writes the frames of the actor and, once the session is taken over, the batches of the owner.
async fn write(
    session: RemoteSession,
    frames: impl Stream<Item = Result<Bytes, Error>>,
    taken_over: oneshot::Receiver<()>,
    drain: DrainSignal,
    mut writer: WriteHalf<impl AsyncWrite>,
) {
    let batches = batches(session.clone(), taken_over);
    let drained = drained(&session, drain);
    pin_mut!(frames, batches, drained);
    let mut ended = false;
    let in_order = loop {
        let bytes = tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(bytes)) => bytes,
                _ => {
                    ended = true;
                    break false;
                }
            },
            batch = batches.next() => match batch {
                Some(bytes) => bytes,
                None => break true,
            },
            () = &mut drained => break true,
        };
        let written = async {
            writer.write_all(&bytes).await?;
            // TLS keeps bytes back until it is flushed.
            writer.flush().await
        };
        // Nothing else is done meanwhile, and no pong is read: for the owner, too, such a client is lost.
        let written = tokio::select! {
            written = timeout(session.heartbeat_timeout, written) => matches!(written, Ok(Ok(()))),
            () = &mut drained => false,
        };
        if !written {
            break false;
        }
    };
    if in_order {
        // The client receives the last batch before the connection ends.
        let _ = writer.shutdown().await;
    } else if ended {
        // A connection that is closed with unread bytes is reset, and the client would not read the close frame.
        let linger = async {
            let _ = writer.shutdown().await;
            while frames.next().await.is_some() {}
        };
        let _ = timeout(LINGER_TIME, linger).await;
    }
}

/// Completes once a drain is over: the owner ends the session and sends its last batch, unless that takes too long, or
/// the websocket does not carry the session yet.
async fn drained(session: &RemoteSession, drain: DrainSignal) {
    let Ok(ack_timeout) = drain.await else {
        return std::future::pending().await;
    };
    if session.carries.get() {
        session.forward.request_drain(session.id, ack_timeout);
        tokio::time::sleep(ack_timeout + LAST_BATCH_TIME).await;
    }
}

/// The batches of the owner, fetched one after the other.
fn batches(session: RemoteSession, taken_over: oneshot::Receiver<()>) -> impl Stream<Item = Bytes> {
    let start = (Some(taken_over), false);
    futures_util::stream::unfold(start, move |(taken_over, last)| {
        let session = session.clone();
        async move {
            if let Some(taken_over) = taken_over {
                // An error: the actor ended before the session was taken over.
                taken_over.await.ok()?;
            }
            if last {
                return None;
            }
            let number = session.forward.next_number();
            let pull = session.forward.call(
                session.id,
                Kind::Pull,
                number,
                session.batch_bytes,
                session.heartbeat_timeout,
            );
            match pull.await {
                (ForwardOutcome::Done, body) => Some((body, (None, false))),
                (ForwardOutcome::Last, body) => Some((body, (None, true))),
                _ => None,
            }
        }
    })
}

/// Forwards the messages of the client to the owner.
struct RemoteWebsocket {
    decoder: FrameDecoder,
    session: RemoteSession,
    /// Fired when the websocket takes the session over.
    carrying: Option<oneshot::Sender<()>>,
    /// The close frame is written: what follows from the client is discarded.
    closed: bool,
    pace: RemotePace,
}

/// The websocket ends with this close frame.
struct Close(Packet);

impl Close {
    /// A close frame without a code.
    fn plain() -> Self {
        Self(Packet::close(None, ""))
    }

    /// The client exceeds `limits.control_packets_per_second`.
    fn flood() -> Self {
        Self(Packet::close(Some(1008), Limit::ControlPackets.message()))
    }
}

impl RemoteWebsocket {
    /// Decodes bytes of the client up to the limit of a read. The rest is decoded after other tasks of the worker have
    /// run, after the pause that decompressed messages require, and after a pause while the node is congested.
    fn receive(&mut self, mut bytes: BytesMut, ctx: &mut HttpContext<Self>) -> Result<(), Close> {
        let mut budget = InflateBudget::new(INFLATED_PER_READ);
        let used = self.decode(&mut budget, &mut bytes, ctx)?;
        let mut pause = self.pace.pause(budget.excess());
        if self.session.directory.congested() {
            pause = pause.max(CONGESTION_PAUSE);
        }
        if !budget.is_exhausted() && pause.is_zero() {
            return Ok(());
        }
        bytes.advance(used);
        let turn = async move {
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pause).await;
            }
            bytes
        };
        // No more bytes are read meanwhile.
        let next = turn.into_actor(self).map(|rest, websocket, ctx| {
            websocket.handle(rest, ctx);
        });
        ctx.wait(next);
        Ok(())
    }

    /// Decodes bytes of the client; returns their number.
    fn decode(
        &mut self,
        budget: &mut InflateBudget,
        bytes: &mut [u8],
        ctx: &mut HttpContext<Self>,
    ) -> Result<usize, Close> {
        let Self {
            decoder,
            session,
            carrying,
            pace,
            ..
        } = self;
        let compression = decoder.compression();
        let result = decoder.decode_within(budget, bytes, &mut |frame| match carrying.is_some() {
            _ if !pace.admits(&frame) => Err(Close::flood()),
            true => probe(&frame, session, compression, carrying, ctx),
            false => forward(&frame, session, ctx),
        });
        match result {
            Ok(used) => Ok(used),
            Err(DecodeFailure::Stopped(close)) => Err(close),
            Err(DecodeFailure::Frame(error)) => {
                if let FrameError::TooLarge { .. } = error {
                    session.limits.record_rejection(Limit::Payload, None);
                }
                Err(Close(close_packet(error)))
            }
        }
    }

    fn close(&mut self, Close(packet): &Close, ctx: &mut HttpContext<Self>) {
        write_packet(ctx, packet);
        ctx.write_eof();
        self.notify_end();
    }

    /// Notifies the owner that the websocket is gone.
    fn notify_end(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let kind = if self.carrying.is_some() {
            Kind::ProbeFailed
        } else {
            Kind::Detached
        };
        self.session.notify(kind, Bytes::new());
    }
}

fn write_packet(ctx: &mut HttpContext<RemoteWebsocket>, packet: &Packet) {
    ctx.write(Bytes::copy_from_slice(packet.wire()));
}

/// Handles a frame of a websocket that does not carry the session yet.
fn probe(
    frame: &Frame<'_>,
    session: &RemoteSession,
    compression: Compression,
    carrying: &mut Option<oneshot::Sender<()>>,
    ctx: &mut HttpContext<RemoteWebsocket>,
) -> Result<(), Close> {
    match probe_step(frame) {
        ProbeStep::Respond => {
            write_packet(ctx, &Packet::text(PROBE_RESPONSE));
            session.notify(Kind::Probed, Bytes::new());
        }
        ProbeStep::TakeOver => {
            session.notify_upgraded(compression);
            session.carries.set(true);
            if let Some(carrying) = carrying.take() {
                // The writer may have ended with the connection.
                let _ = carrying.send(());
            }
        }
        ProbeStep::Pong(content) => write_packet(ctx, &Packet::websocket_pong(content)),
        ProbeStep::Ignore => {}
        ProbeStep::Fail => return Err(Close::plain()),
    }
    Ok(())
}

/// Handles a frame of a websocket that carries the session.
fn forward(
    frame: &Frame<'_>,
    session: &RemoteSession,
    ctx: &mut HttpContext<RemoteWebsocket>,
) -> Result<(), Close> {
    match frame {
        Frame::Text(text) if has_excess_data(text) => {
            return Err(Close(Packet::close(Some(1002), EXCESS_DATA)));
        }
        // They have no effect at the owner.
        Frame::Text(text) if text.starts_with(['0', '5', '6']) && !is_framed(text) => {}
        Frame::Text(text) => {
            session.notify(Kind::Text, Bytes::copy_from_slice(text.as_bytes()));
        }
        Frame::Binary(content) => session.notify(Kind::Binary, Bytes::copy_from_slice(content)),
        Frame::Ping(content) => write_packet(ctx, &Packet::websocket_pong(content)),
        Frame::Pong(_) => {}
        Frame::Close { .. } => return Err(Close::plain()),
    }
    Ok(())
}

impl Actor for RemoteWebsocket {
    type Context = HttpContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(self.session.upgrade_timeout, |websocket, ctx| {
            if websocket.carrying.is_some() && !websocket.closed {
                websocket.close(&Close::plain(), ctx);
            }
        });
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.notify_end();
    }
}

impl StreamHandler<BytesMut> for RemoteWebsocket {
    fn handle(&mut self, bytes: BytesMut, ctx: &mut Self::Context) {
        if self.closed {
            return;
        }
        if let Err(close) = self.receive(bytes, ctx) {
            self.close(&close, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use actix::{Context, Handler};
    use tokio::io::duplex;
    use tokio::sync::mpsc;

    use super::*;
    use crate::broker::Directory;
    use crate::cluster::messages::Forward;
    use crate::config::Config;
    use crate::limits::{Descriptors, Limits};
    use crate::model::random::OsRandom;
    use crate::model::{EngineId, NodeId, WorkerIndex};
    use crate::transport::forward::client::ForwardClient;
    use crate::transport::forward::envelope::Envelope;
    use crate::transport::forward::remote_websockets::RemoteWebsockets;

    /// A bridge that keeps messages and never reports them as processed.
    struct Bridge(mpsc::UnboundedSender<Forward>);

    impl Actor for Bridge {
        type Context = Context<Self>;
    }

    impl Handler<Forward> for Bridge {
        type Result = ();

        fn handle(&mut self, forward: Forward, _ctx: &mut Self::Context) {
            let _ = self.0.send(forward);
        }
    }

    /// A text frame of a client, masked with zeros.
    fn masked(text: &str) -> Vec<u8> {
        let mut frame = vec![0x81, 0xff];
        frame.extend((text.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        frame
    }

    /// The sizes in bytes of the texts forwarded since the last call, and of all messages together.
    async fn forwarded(forwards: &mut mpsc::UnboundedReceiver<Forward>) -> (Vec<usize>, usize) {
        let (mut texts, mut total) = (Vec::new(), 0);
        while let Ok(Some(forward)) = timeout(Duration::from_millis(200), forwards.recv()).await {
            total += forward.body.len();
            let envelope = Envelope::decode(&forward.body).unwrap();
            if envelope.kind == Kind::Text {
                texts.push(envelope.body.len());
            }
        }
        (texts, total)
    }

    #[actix_rt::test]
    async fn the_client_is_not_read_while_what_it_sent_waits_for_the_bridge() {
        const MESSAGE: usize = 500_000;
        const COUNT: usize = 40;
        let directory = Directory::new(NodeId::random(&OsRandom), 1, None, Arc::default());
        let (sender, mut forwards) = mpsc::unbounded_channel();
        let bridge = Bridge(sender).start().recipient();
        let worker = WorkerIndex::default();
        let time = Duration::from_secs(60);
        let session = RemoteSession {
            forward: ForwardClient::new(bridge, Arc::clone(&directory), worker, time, &OsRandom),
            id: EngineId::random(NodeId::random(&OsRandom), worker, &OsRandom),
            heartbeat_timeout: time,
            upgrade_timeout: time,
            max_payload: 1_000_000,
            batch_bytes: 1_000,
            limits: Limits::new(
                &Config::default().limits,
                Descriptors::of(1_000, 1),
                Arc::default(),
            ),
            directory: Arc::clone(&directory),
            carries: Rc::default(),
        };
        let (mut client, stream) = duplex(64 * 1024);
        let websockets: Rc<RemoteWebsockets> = Rc::default();
        let (_registration, drain) = websockets.register();
        let connection = (stream, FrameDecoder::new(1_000_000), Bytes::new());
        actix_rt::spawn(serve(session, connection, drain));
        let sending = actix_rt::spawn(async move {
            client.write_all(&masked("5")).await.unwrap();
            for _ in 0..COUNT {
                let text = format!("43{}", "9".repeat(MESSAGE - 2));
                client.write_all(&masked(&text)).await.unwrap();
            }
            client
        });
        let (texts, waiting) = forwarded(&mut forwards).await;
        assert!(directory.congested() && !sending.is_finished());
        // 8 MiB, and what was read before the limit took effect.
        assert!((16..20).contains(&texts.len()), "{}", texts.len());
        directory.backlog_shrank(directory.bridge_index(), waiting);
        let (more, waiting) = forwarded(&mut forwards).await;
        assert!((16..20).contains(&more.len()), "{}", more.len());
        directory.backlog_shrank(directory.bridge_index(), waiting);
        let (last, _) = forwarded(&mut forwards).await;
        assert_eq!(texts.len() + more.len() + last.len(), COUNT);
        assert!(
            [texts, more, last]
                .concat()
                .iter()
                .all(|text| *text == MESSAGE)
        );
        assert!(sending.is_finished());
    }
}
