//! Compression of responses that are large enough to gain from it.

mod compressor;
mod gzip;

pub use compressor::Compressor;
pub use gzip::{accepts_gzip, gzip};
