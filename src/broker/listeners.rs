//! The listeners of a node for announcements, by topic.

use std::sync::{PoisonError, RwLock};

use crate::model::{Announcement, AnnouncementListener};

/// Listeners by topic: a few, added while the node starts.
#[derive(Default)]
pub(super) struct Listeners(RwLock<Vec<(&'static str, AnnouncementListener)>>);

impl Listeners {
    /// Adds a listener.
    pub(super) fn add(&self, topic: &'static str, listener: AnnouncementListener) {
        let mut listeners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push((topic, listener));
    }

    /// Calls the listeners of the topic, in the order in which they were added.
    pub(super) fn call(&self, announcement: &Announcement) {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (topic, listener) in &*listeners {
            if *topic == &*announcement.topic {
                listener(&announcement.body);
            }
        }
    }
}
