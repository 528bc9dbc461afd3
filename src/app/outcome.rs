//! The outcome of a handler: effects that are known now, or a future of effects.

use std::fmt;
use std::future::Future;

use futures_util::future::LocalBoxFuture;

use super::effect::{Effect, Effects};

/// What a handler returns.
#[derive(Debug)]
pub enum Outcome {
    /// The effects are known.
    Now(Effects),
    /// The effects are known once the future completes.
    Later(Deferred),
}

impl Outcome {
    /// No effect.
    pub fn none() -> Self {
        Self::Now(Effects::new())
    }

    /// The effects that `future` resolves to; the next events of the socket wait for it.
    pub fn later(future: impl Future<Output = Effects> + 'static) -> Self {
        Self::Later(Deferred {
            future: Box::pin(future),
            concurrent: false,
        })
    }

    /// The effects that `future` resolves to; the next events of the socket are handled meanwhile. Beyond 100 such
    /// futures of one socket, its next events wait.
    pub fn concurrent(future: impl Future<Output = Effects> + 'static) -> Self {
        Self::Later(Deferred {
            future: Box::pin(future),
            concurrent: true,
        })
    }
}

impl<const N: usize> From<[Effect; N]> for Outcome {
    fn from(effects: [Effect; N]) -> Self {
        Self::Now(effects.into())
    }
}

impl From<Effects> for Outcome {
    fn from(effects: Effects) -> Self {
        Self::Now(effects)
    }
}

/// Effects that are not known yet. The future is dropped when the session ends; it is polled on, without effect, when
/// only its socket is gone.
pub struct Deferred {
    pub future: LocalBoxFuture<'static, Effects>,
    /// Whether the next events of the socket are handled before the future completes.
    pub concurrent: bool,
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferred")
            .field("concurrent", &self.concurrent)
            .finish_non_exhaustive()
    }
}
