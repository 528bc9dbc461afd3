//! Checks `[drain]`.

use super::super::checked::{DrainConfig, DrainRate};
use super::super::settings::DrainSettings;
use super::super::units;
use super::Checker;

impl Checker<'_, '_> {
    pub(super) fn drain(&mut self, settings: &DrainSettings) -> DrainConfig {
        let config = DrainConfig {
            timeout: self.read("drain.timeout", &settings.timeout, units::positive_duration),
            grace: self.read("drain.grace", &settings.grace, units::duration),
            rate: self.read("drain.rate", &settings.rate, rate),
            ack_timeout: self.read("drain.ack_timeout", &settings.ack_timeout, units::duration),
        };
        let sound = self.sound(&["drain.timeout", "drain.grace"]);
        if sound && config.grace >= config.timeout {
            self.refuse("drain.grace", "must be below drain.timeout");
        }
        config
    }
}

fn rate(text: &str) -> Result<DrainRate, String> {
    let text = text.trim();
    if text == "auto" {
        return Ok(DrainRate::Auto);
    }
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .map(DrainRate::PerSecond)
        .map_err(|_| format!("`{text}` is neither `auto` nor a number of sessions per second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_auto_or_a_number_above_0() {
        assert_eq!(rate("auto"), Ok(DrainRate::Auto));
        for text in ["100", " 100/s"] {
            assert!(
                matches!(rate(text), Ok(DrainRate::PerSecond(n)) if n.get() == 100),
                "{text}"
            );
        }
        for text in ["", "0", "-1", "fast", "10/m"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
