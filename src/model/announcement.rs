//! Announcements: messages of the services of a node to the same services of every node.

use bytes::Bytes;
use bytestring::ByteString;

/// A message for the listeners of a topic on every node of the cluster. Nodes without such a listener ignore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The service that it is for.
    pub topic: ByteString,
    /// Read by that service alone.
    pub body: Bytes,
}

/// Called with the body of each announcement of a topic, on any thread. Must not block.
pub type AnnouncementListener = Box<dyn Fn(&Bytes) + Send + Sync>;
