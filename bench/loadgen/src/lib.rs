//! What the load generator and the raw writer share: the websocket framing.
//! Everything that knows Socket.IO or measures anything is in the two binaries.

pub mod websocket;
