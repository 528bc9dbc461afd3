//! A link that holds back subscriptions until a test releases them.

use std::sync::{Arc, Mutex};

use roomwire::bus::link::{Channel, Link, Outgoing, Receivers};
use roomwire::bus::memory::MemoryLink;

/// A link that holds back subscriptions between [`SlowLink::hold`] and [`SlowLink::release`].
pub struct SlowLink {
    link: Arc<MemoryLink>,
    held: Mutex<Option<Vec<Channel>>>,
}

impl SlowLink {
    pub fn new(link: Arc<MemoryLink>) -> Arc<Self> {
        Arc::new(Self {
            link,
            held: Mutex::new(None),
        })
    }

    pub fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    pub fn release(&self) {
        let held = self.held.lock().unwrap().take();
        self.link.subscribe(held.unwrap_or_default());
    }

    pub fn pending_subscriptions(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }
}

impl Link for SlowLink {
    fn publish(&self, batch: Vec<Outgoing>) {
        self.link.publish(batch);
    }

    fn publish_counted(&self, message: Outgoing) -> Receivers {
        self.link.publish_counted(message)
    }

    fn subscribe(&self, channels: Vec<Channel>) {
        match &mut *self.held.lock().unwrap() {
            Some(held) => held.extend(channels),
            None => self.link.subscribe(channels),
        }
    }

    fn subscribe_patterns(&self, patterns: Vec<Channel>) {
        self.link.subscribe_patterns(patterns);
    }

    fn unsubscribe_patterns(&self, patterns: Vec<Channel>) {
        self.link.unsubscribe_patterns(patterns);
    }

    fn unsubscribe(&self, channels: Vec<Channel>) {
        self.link.unsubscribe(channels);
    }
}
