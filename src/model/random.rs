//! The source of random bytes: the operating system in production, a seed in tests.

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The generator of the operating system, whose output cannot be predicted.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsRandom;

impl Random for OsRandom {
    #[expect(clippy::expect_used, reason = "without it every id could be guessed")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("random bytes of the operating system");
    }
}
