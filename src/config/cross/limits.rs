//! `[limits]`: what `auto` stands for, and rates with their bursts.

use crate::config::checker::Checker;
use crate::config::tables::{Config, LimitsConfig};

/// The values of `auto` where limits per client apply: enough for a household or an office, too little for a client in
/// a loop.
mod auto {
    pub(super) const CONNECTIONS_PER_IP: usize = 500;
    pub(super) const CONNECTIONS_PER_USER: usize = 100;
    pub(super) const HANDSHAKES_PER_SECOND_PER_IP: u32 = 20;
    pub(super) const HANDSHAKES_BURST_PER_IP: u32 = 100;
    pub(super) const EVENTS_PER_SECOND: u32 = 100;
    pub(super) const EVENTS_BURST: u32 = 500;
    pub(super) const EVENTS_PER_SECOND_PER_USER: u32 = 200;
    pub(super) const EVENTS_BURST_PER_USER: u32 = 1000;
}

/// The keys of a rate and of its burst.
struct RateKeys {
    rate: &'static str,
    burst: &'static str,
}

pub(super) fn resolve(config: &mut Config, checker: &mut Checker<'_, '_>) {
    let is_public = !config.server.bind.is_loopback() && checker.sound(&["server.bind"]);
    let limits = &mut config.limits;
    checker.resolve("limits.per_client", &mut limits.per_client, is_public);
    let applies = limits.per_client;
    let most = if applies {
        auto::CONNECTIONS_PER_IP
    } else {
        usize::MAX
    };
    checker.resolve(
        "limits.connections_per_ip",
        &mut limits.connections_per_ip,
        most,
    );
    let most_of_user = if applies {
        auto::CONNECTIONS_PER_USER
    } else {
        usize::MAX
    };
    checker.resolve(
        "limits.connections_per_user",
        &mut limits.connections_per_user,
        most_of_user,
    );
    if !applies {
        // `None` stands for a number that depends on the limit of open files.
        limits.http_connections_per_ip.get_or_insert(usize::MAX);
    }
    let handshakes = RateKeys {
        rate: "limits.handshakes_per_second_per_ip",
        burst: "limits.handshakes_burst_per_ip",
    };
    let values = (
        auto::HANDSHAKES_PER_SECOND_PER_IP,
        auto::HANDSHAKES_BURST_PER_IP,
    );
    handshakes.resolve(
        &mut limits.handshakes_per_second_per_ip,
        &mut limits.handshakes_burst_per_ip,
        applies.then_some(values),
        checker,
    );
    event_rates(limits, applies, checker);
}

/// The rates of the events of a session and of a user.
fn event_rates(limits: &mut LimitsConfig, applies: bool, checker: &mut Checker<'_, '_>) {
    let events = RateKeys {
        rate: "limits.events_per_second",
        burst: "limits.events_burst",
    };
    let values = (auto::EVENTS_PER_SECOND, auto::EVENTS_BURST);
    events.resolve(
        &mut limits.events_per_second,
        &mut limits.events_burst,
        applies.then_some(values),
        checker,
    );
    let of_user = RateKeys {
        rate: "limits.events_per_second_per_user",
        burst: "limits.events_burst_per_user",
    };
    let values = (
        auto::EVENTS_PER_SECOND_PER_USER,
        auto::EVENTS_BURST_PER_USER,
    );
    of_user.resolve(
        &mut limits.events_per_second_per_user,
        &mut limits.events_burst_per_user,
        applies.then_some(values),
        checker,
    );
}

impl RateKeys {
    /// The burst that is `auto` belongs to the rate that is `auto`; beside a rate that is set it is 0.
    fn resolve(
        &self,
        rate: &mut u32,
        burst: &mut u32,
        auto: Option<(u32, u32)>,
        checker: &mut Checker<'_, '_>,
    ) {
        let (auto_rate, auto_burst) = auto.unwrap_or_default();
        let rate_is_auto = checker.is_auto(self.rate);
        checker.resolve(self.rate, rate, auto_rate);
        let burst_with_rate = if rate_is_auto { auto_burst } else { 0 };
        checker.resolve(self.burst, burst, burst_with_rate);
    }

    fn check(&self, rate: u32, burst: u32, checker: &mut Checker<'_, '_>) {
        if burst > 0 && rate == 0 && checker.sound(&[self.rate, self.burst]) {
            checker.warn(self.burst, "has no effect while its rate is 0");
        }
    }
}

pub(super) fn check(config: &Config, checker: &mut Checker<'_, '_>) {
    let limits = &config.limits;
    let rates = [
        (
            RateKeys {
                rate: "limits.handshakes_per_second",
                burst: "limits.handshakes_burst",
            },
            limits.handshakes_per_second,
            limits.handshakes_burst,
        ),
        (
            RateKeys {
                rate: "limits.handshakes_per_second_per_ip",
                burst: "limits.handshakes_burst_per_ip",
            },
            limits.handshakes_per_second_per_ip,
            limits.handshakes_burst_per_ip,
        ),
        (
            RateKeys {
                rate: "limits.events_per_second",
                burst: "limits.events_burst",
            },
            limits.events_per_second,
            limits.events_burst,
        ),
        (
            RateKeys {
                rate: "limits.events_per_second_per_user",
                burst: "limits.events_burst_per_user",
            },
            limits.events_per_second_per_user,
            limits.events_burst_per_user,
        ),
    ];
    for (keys, rate, burst) in rates {
        keys.check(rate, burst, checker);
    }
}
