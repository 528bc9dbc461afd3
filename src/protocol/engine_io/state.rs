//! The heartbeat of an Engine.IO session, and the reasons for which it closes (docs/protocol.md#15-heartbeat and #3-reasons-and-selection).

use std::time::{Duration, Instant};

/// Why a session ended, in the words of the reference server where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said goodbye or its connection ended.
    TransportClose,
    /// The connection broke, or the client broke the rules of its transport.
    TransportError,
    /// No pong within the ping timeout.
    PingTimeout,
    /// Bytes that are no packet.
    ParseError,
    /// A packet that is not allowed in this state.
    ForcedClose,
    /// The server ended the connection.
    ServerDisconnect,
    /// The node stops.
    ServerShuttingDown,
    /// More waited for the client than it may.
    SlowConsumer,
    /// A message larger than `engine.max_payload`.
    MessageTooLarge,
    /// More events wait for the app than `socket.inbox_limit`, and the client could not be made to wait.
    InboxOverflow,
    /// JSON nested deeper than `socket.max_depth`, and the app cannot refuse the event alone.
    NestedTooDeeply,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The server behind this one was lost, or cannot be reached.
    UpstreamLost,
}

impl CloseReason {
    /// The reason as it stands in the log and as apps hear it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ForcedClose => "forced close",
            Self::ServerDisconnect => "server namespace disconnect",
            Self::ServerShuttingDown => "server shutting down",
            Self::SlowConsumer => "slow consumer",
            Self::MessageTooLarge => "message too large",
            Self::InboxOverflow => "inbox overflow",
            Self::NestedTooDeeply => "nested too deeply",
            Self::ConnectTimeout => "connect timeout",
            Self::UpstreamLost => "upstream lost",
        }
    }

    /// What the close frame says. Most reasons close without a status code, as the reference server does;
    /// those a client could not guess are named. A slow consumer cannot be told: what it did not read is in the way.
    pub fn close_frame(self) -> (Option<u16>, &'static str) {
        match self {
            Self::MessageTooLarge => (
                Some(1009),
                "message too large: see maxPayload of the handshake",
            ),
            Self::InboxOverflow => (
                Some(1008),
                "more events wait than socket.inbox_limit allows",
            ),
            Self::NestedTooDeeply => (
                Some(1008),
                "JSON nested deeper than socket.max_depth allows",
            ),
            // 1013, "try again later", is in IANA's registry of close codes.
            Self::UpstreamLost => (Some(1013), "the server behind this one is away"),
            _ => (None, ""),
        }
    }
}

/// What the passing of time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing is due.
    Quiet,
    /// Send a ping now.
    Ping,
    /// The client did not answer the last ping.
    Dead,
}

/// How late a timer may fire without being to the client's benefit.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// The server pings, the client answers; a session is gone at interval + timeout exactly.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    deadline: Instant,
    /// When the ping went out whose pong is awaited.
    pinged: Option<Instant>,
}

impl Heartbeat {
    /// The first ping is due one interval from `now`.
    pub fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            deadline: now + interval,
            pinged: None,
        }
    }

    /// When [`Heartbeat::handle_timeout`] has something to say.
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Time in which a live client must have answered a ping.
    pub fn patience(&self) -> Duration {
        self.interval + self.timeout
    }

    /// Asks what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Beat {
        if now < self.deadline {
            return Beat::Quiet;
        }
        if self.pinged.is_some() {
            return Beat::Dead;
        }
        self.pinged = Some(now);
        // A timer that fires a little late must not add up: the session ends at interval + timeout sharp.
        let due = self.deadline;
        let sent = if now - due < TIMER_SLACK { due } else { now };
        self.deadline = sent + self.timeout;
        Beat::Ping
    }

    /// A pong restarts the interval; says how long it took. One that was not asked for is harmless.
    pub fn pong(&mut self, now: Instant) -> Option<Duration> {
        let pinged = self.pinged.take()?;
        self.deadline = now + self.interval;
        Some(now.saturating_duration_since(pinged))
    }

    /// Reading from the client was suspended by us until `now`: its pong may wait in the socket.
    pub fn extend_ping_deadline(&mut self, now: Instant) {
        if self.pinged.is_some() {
            self.deadline = now + self.timeout;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(200);

    #[test]
    fn a_silent_client_is_gone_at_interval_plus_timeout() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        assert_eq!(
            beat.handle_timeout(start + INTERVAL - Duration::from_millis(1)),
            Beat::Quiet
        );
        let late = start + INTERVAL + Duration::from_millis(2);
        assert_eq!(beat.handle_timeout(late), Beat::Ping);
        assert_eq!(beat.poll_timeout(), start + INTERVAL + TIMEOUT);
        assert_eq!(beat.handle_timeout(start + INTERVAL + TIMEOUT), Beat::Dead);
    }

    #[test]
    fn a_node_that_was_busy_does_not_take_its_delay_out_on_the_client() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        let late = start + INTERVAL * 2;
        assert_eq!(beat.handle_timeout(late), Beat::Ping);
        assert_eq!(beat.poll_timeout(), late + TIMEOUT);
    }

    #[test]
    fn a_pong_restarts_the_interval_and_an_unasked_one_does_nothing() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        assert_eq!(beat.pong(start + TIMEOUT), None);
        assert_eq!(beat.poll_timeout(), start + INTERVAL);
        assert_eq!(beat.handle_timeout(start + INTERVAL), Beat::Ping);
        let answer = start + INTERVAL + TIMEOUT / 2;
        assert_eq!(beat.pong(answer), Some(TIMEOUT / 2));
        assert_eq!(beat.poll_timeout(), answer + INTERVAL);
        assert_eq!(beat.handle_timeout(answer + INTERVAL), Beat::Ping);
    }
}
