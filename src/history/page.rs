//! What a read of a log returns.

use crate::model::{Emit, Epoch};

/// An entry of a log. `T` is the event as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged<T> {
    /// Its number; see [`Position`](crate::model::Position).
    pub n: u64,
    /// The number of the entry before it in the same log; 0 if there was none, or none for a long time.
    pub prev: u64,
    pub emit: T,
}

/// An event of a log.
pub type LoggedEvent = Logged<Emit>;

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The epoch of the numbers; `None` if nothing was ever logged.
    pub epoch: Option<Epoch>,
    /// In order, or newest first where that was requested.
    pub events: Vec<Logged<T>>,
    /// Events of the requested range were removed from the log: those before the first event here (the last one if newest
    /// first), or all.
    pub trimmed: bool,
    /// The number of the newest entry of the log; 0 if there is none.
    pub tail: u64,
}

/// A part of a log.
pub type LogPage = Page<Emit>;

/// The newest entries of several logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tails {
    /// As in [`Page`].
    pub epoch: Option<Epoch>,
    /// The number of the newest entry of each log; 0 if there is none.
    pub tails: Vec<u64>,
}

impl<T> Page<T> {
    /// The same with events as `convert` makes them. Those of which it makes none count as removed from the log.
    pub fn convert<U>(self, convert: impl Fn(T) -> Option<U>) -> Page<U> {
        let before = self.events.len();
        let events = self.events.into_iter();
        let events = events.filter_map(|Logged { n, prev, emit }| {
            convert(emit).map(|emit| Logged { n, prev, emit })
        });
        let events: Vec<_> = events.collect();
        Page {
            epoch: self.epoch,
            trimmed: self.trimmed || events.len() < before,
            events,
            tail: self.tail,
        }
    }
}
