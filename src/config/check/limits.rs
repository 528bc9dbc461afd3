//! Checks `[limits]`.

use super::super::checked::LimitsConfig;
use super::super::settings::LimitsSettings;
use super::super::units;
use super::Checker;

/// The highest rate and burst: a timer has no finer steps than this allows.
const HIGHEST_RATE: u32 = 1_000_000;

impl Checker<'_, '_> {
    pub(super) fn limits(&mut self, settings: &LimitsSettings) -> LimitsConfig {
        LimitsConfig {
            connections: self.read("limits.connections", &settings.connections, connections),
            connections_per_ip: match settings.connections_per_ip {
                0 => usize::MAX,
                most => most,
            },
            handshakes_per_second: self.rate(
                "limits.handshakes_per_second",
                settings.handshakes_per_second,
            ),
            handshakes_burst: self.burst(
                "limits.handshakes_burst",
                settings.handshakes_burst,
                settings.handshakes_per_second,
            ),
            handshakes_per_second_per_ip: self.rate(
                "limits.handshakes_per_second_per_ip",
                settings.handshakes_per_second_per_ip,
            ),
            handshakes_burst_per_ip: self.burst(
                "limits.handshakes_burst_per_ip",
                settings.handshakes_burst_per_ip,
                settings.handshakes_per_second_per_ip,
            ),
            events_per_second: self.rate("limits.events_per_second", settings.events_per_second),
            events_burst: self.burst(
                "limits.events_burst",
                settings.events_burst,
                settings.events_per_second,
            ),
            connect_payload: self.read(
                "limits.connect_payload",
                &settings.connect_payload,
                units::positive_size,
            ),
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
fn connections(text: &str) -> Result<Option<usize>, String> {
    match text.trim() {
        "auto" => Ok(None),
        number => match number.parse() {
            Ok(most @ 1..) => Ok(Some(most)),
            _ => Err(format!("`{text}` is neither `auto` nor a number above 0")),
        },
    }
}
