//! The identity of a connected socket, as a value: when it is announced to end, when it is over, and when the session
//! closes.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::auth::{SessionLock, UserConnection};
use crate::config::IdentityConfig;
use crate::model::Identity;

/// The identity of a socket.
pub(super) struct LiveIdentity {
    pub(super) identity: Rc<Identity>,
    /// When it ends, by the clock of timers; `None` if it does not, or while the socket is not connected.
    ends: Option<Instant>,
    phase: ExpiryPhase,
    /// A gate checks new credentials.
    pub(super) refreshing: bool,
    /// Counts the connection of the user.
    pub(super) connection: Option<UserConnection>,
    /// Held if one session per user is allowed.
    pub(super) lock: Option<Box<SessionLock>>,
}

/// What the client has been notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpiryPhase {
    Valid,
    Expiring,
    Expired,
}

/// What is due for an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryStep {
    /// Announce that it ends after this time.
    Warn(Duration),
    /// Announce that it is over.
    Expire,
    /// Close the session.
    Close,
}

impl LiveIdentity {
    /// The identity of a socket that is not connected yet.
    pub(super) fn new(identity: Rc<Identity>) -> Self {
        Self {
            identity,
            ends: None,
            phase: ExpiryPhase::Valid,
            refreshing: false,
            connection: None,
            lock: None,
        }
    }

    /// Starts to count the time until the identity ends.
    pub(super) fn start(&mut self, now: Instant) {
        self.ends = self.identity.expires.and_then(|expires| {
            let left = expires.duration_since(SystemTime::now());
            now.checked_add(left.unwrap_or_default())
        });
    }

    /// Replaces the identity of a connected socket.
    pub(super) fn replace(&mut self, identity: Rc<Identity>, now: Instant) {
        self.identity = identity;
        self.phase = ExpiryPhase::Valid;
        self.start(now);
    }

    /// When the next step is due.
    pub(super) fn due(&self, settings: &IdentityConfig) -> Option<Instant> {
        let ends = self.ends?;
        match self.phase {
            ExpiryPhase::Valid => Some(ends.checked_sub(settings.expiry_warning).unwrap_or(ends)),
            ExpiryPhase::Expiring => Some(ends),
            ExpiryPhase::Expired => ends.checked_add(settings.expiry_grace),
        }
    }

    /// Takes the next step, if it is due.
    pub(super) fn advance(
        &mut self,
        settings: &IdentityConfig,
        now: Instant,
    ) -> Option<ExpiryStep> {
        if self.due(settings)? > now {
            return None;
        }
        let left = self.ends?.saturating_duration_since(now);
        let (phase, step) = match self.phase {
            ExpiryPhase::Valid if !left.is_zero() => {
                (ExpiryPhase::Expiring, ExpiryStep::Warn(left))
            }
            ExpiryPhase::Valid | ExpiryPhase::Expiring => {
                (ExpiryPhase::Expired, ExpiryStep::Expire)
            }
            ExpiryPhase::Expired => (ExpiryPhase::Expired, ExpiryStep::Close),
        };
        self.phase = phase;
        Some(step)
    }

    /// The end of the identity in seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<u64> {
        let expires = self.identity.expires?.duration_since(UNIX_EPOCH);
        expires.ok().map(|since| since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn settings(warning: u64, grace: u64) -> IdentityConfig {
        IdentityConfig {
            expiry_warning: Duration::from_secs(warning),
            expiry_grace: Duration::from_secs(grace),
            ..Config::default().identity
        }
    }

    fn ending(ends: Option<Instant>) -> LiveIdentity {
        let mut live = LiveIdentity::new(Rc::default());
        live.ends = ends;
        live
    }

    #[test]
    fn an_identity_is_announced_then_over_then_closed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let settings = settings(60, 10);
        let mut live = ending(Some(at(100)));
        assert_eq!(live.due(&settings), Some(at(40)));
        assert_eq!(live.advance(&settings, at(39)), None);
        let left = Duration::from_secs(59);
        assert_eq!(
            live.advance(&settings, at(41)),
            Some(ExpiryStep::Warn(left))
        );
        assert_eq!(live.due(&settings), Some(at(100)));
        assert_eq!(live.advance(&settings, at(100)), Some(ExpiryStep::Expire));
        assert_eq!(live.due(&settings), Some(at(110)));
        assert_eq!(live.advance(&settings, at(110)), Some(ExpiryStep::Close));
    }

    #[test]
    fn an_identity_without_warning_is_over_at_its_end() {
        let start = Instant::now();
        let settings = settings(0, 0);
        let mut live = ending(Some(start));
        assert_eq!(live.due(&settings), Some(start));
        assert_eq!(live.advance(&settings, start), Some(ExpiryStep::Expire));
        assert_eq!(live.advance(&settings, start), Some(ExpiryStep::Close));
    }

    #[test]
    fn an_identity_without_end_is_never_due() {
        let mut live = ending(None);
        assert_eq!(live.due(&settings(1, 1)), None);
        assert_eq!(live.advance(&settings(1, 1), Instant::now()), None);
    }
}
