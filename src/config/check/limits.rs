//! Checks `[limits]`.

use super::super::checked::LimitsConfig;
use super::super::net::BindAddress;
use super::super::settings::LimitsSettings;
use super::super::units;
use super::Checker;

/// The highest rate and burst: a timer has no finer steps than this allows.
const HIGHEST_RATE: u32 = 1_000_000;

/// Values of `auto` where per-client limits apply: enough for a household or an office, too little for a client in a
/// loop.
mod auto {
    pub(super) const CONNECTIONS_PER_IP: usize = 500;
    pub(super) const HANDSHAKES_PER_SECOND_PER_IP: u32 = 20;
    pub(super) const HANDSHAKES_BURST_PER_IP: u32 = 100;
    pub(super) const EVENTS_PER_SECOND: u32 = 100;
    pub(super) const EVENTS_BURST: u32 = 500;
}

/// A per-client limit: of one address or one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum PerClient {
    #[default]
    Auto,
    Given(usize),
}

impl PerClient {
    /// The limit; `None` = the value of `auto`.
    pub(super) fn most(self, auto_applies: bool) -> Option<usize> {
        match self {
            Self::Auto if auto_applies => None,
            Self::Auto | Self::Given(0) => Some(usize::MAX),
            Self::Given(most) => Some(most),
        }
    }
}

impl Checker<'_, '_> {
    /// `bind` decides whether per-client limits that are `auto` apply.
    pub(super) fn limits(&mut self, settings: &LimitsSettings, bind: &str) -> LimitsConfig {
        let is_public = BindAddress::parse(bind).is_ok_and(|bind| !bind.is_loopback());
        let applies = self.switch("limits.per_client", &settings.per_client, is_public);
        let mut read = |key: &str, text: &str| self.read(key, text, per_client);
        let connections = read("limits.connections_per_ip", &settings.connections_per_ip);
        let http = read(
            "limits.http_connections_per_ip",
            &settings.http_connections_per_ip,
        );
        let (handshakes_per_second_per_ip, handshakes_burst_per_ip) = self.rate_per_client(
            (
                "limits.handshakes_per_second_per_ip",
                &settings.handshakes_per_second_per_ip,
            ),
            (
                "limits.handshakes_burst_per_ip",
                &settings.handshakes_burst_per_ip,
            ),
            applies.then_some((
                auto::HANDSHAKES_PER_SECOND_PER_IP,
                auto::HANDSHAKES_BURST_PER_IP,
            )),
        );
        let (events_per_second, events_burst) = self.rate_per_client(
            ("limits.events_per_second", &settings.events_per_second),
            ("limits.events_burst", &settings.events_burst),
            applies.then_some((auto::EVENTS_PER_SECOND, auto::EVENTS_BURST)),
        );
        LimitsConfig {
            connections: self.read(
                "limits.connections",
                &settings.connections,
                connections_of_node,
            ),
            connections_per_ip: connections
                .most(applies)
                .unwrap_or(auto::CONNECTIONS_PER_IP),
            http_connections_per_ip: http.most(applies),
            handshakes_per_second: self.rate(
                "limits.handshakes_per_second",
                settings.handshakes_per_second,
            ),
            handshakes_burst: self.burst(
                "limits.handshakes_burst",
                settings.handshakes_burst,
                settings.handshakes_per_second,
            ),
            handshakes_per_second_per_ip,
            handshakes_burst_per_ip,
            events_per_second,
            events_burst,
            connect_payload: self.size("limits.connect_payload", &settings.connect_payload),
            outbox_memory: self.outbox_memory(&settings.outbox_memory),
            post_bodies: self.size("limits.post_bodies", &settings.post_bodies),
        }
    }

    fn outbox_memory(&mut self, text: &str) -> Option<usize> {
        self.read("limits.outbox_memory", text, units::automatic_memory)
    }

    fn size(&mut self, key: &str, text: &str) -> usize {
        self.read(key, text, units::positive_size)
    }

    /// A rate and its burst, each as a key and its text; `auto` holds their values if they are `auto`.
    fn rate_per_client(
        &mut self,
        (rate_key, rate): (&str, &str),
        (burst_key, burst): (&str, &str),
        auto: Option<(u32, u32)>,
    ) -> (u32, u32) {
        let burst = self.read(burst_key, burst, per_client);
        match self.read(rate_key, rate, per_client) {
            PerClient::Auto => {
                let (rate, auto_burst) = auto.unwrap_or_default();
                let burst = match burst {
                    PerClient::Auto => auto_burst,
                    PerClient::Given(burst) => self.burst(burst_key, burst, rate as usize),
                };
                (rate, burst)
            }
            PerClient::Given(per_second) => {
                let burst = match burst {
                    PerClient::Auto => 0,
                    PerClient::Given(burst) => self.burst(burst_key, burst, per_second),
                };
                (self.rate(rate_key, per_second), burst)
            }
        }
    }

    fn rate(&mut self, key: &str, wanted: usize) -> u32 {
        let rate = u32::try_from(wanted).ok();
        rate.filter(|rate| *rate <= HIGHEST_RATE)
            .unwrap_or_else(|| {
                self.refuse(key, format!("must be at most {HIGHEST_RATE}"));
                0
            })
    }

    fn burst(&mut self, key: &str, wanted: usize, per_second: usize) -> u32 {
        if wanted > 0 && per_second == 0 {
            self.warn(key, "has no effect while its rate is 0");
        }
        self.rate(key, wanted)
    }
}

/// `auto` or a number above zero.
fn connections_of_node(text: &str) -> Result<Option<usize>, String> {
    match text.trim() {
        "auto" => Ok(None),
        number => match number.parse() {
            Ok(most @ 1..) => Ok(Some(most)),
            _ => Err(format!("`{text}` is neither `auto` nor a number above 0")),
        },
    }
}

/// `auto` or a number.
pub(super) fn per_client(text: &str) -> Result<PerClient, String> {
    match text.trim() {
        "auto" => Ok(PerClient::Auto),
        number => number
            .parse()
            .map(PerClient::Given)
            .map_err(|_| format!("`{text}` is neither `auto` nor a number")),
    }
}
