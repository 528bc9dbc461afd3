//! The other nodes and outside emitters, reached over a bus.
//!
//! `link` is the seam to the bus (`memory`, `redis`), `store` its key-value half, `dialect` what is
//! said on it. Redis trouble ends here: local traffic never waits for anything in this module.

pub mod dialect;
pub mod messages;
pub mod node;
mod publish;
mod receive;
pub mod start;
pub mod subscriptions;
