//! Support of Open WebUI versions.

use std::ops::RangeInclusive;

/// The minor versions of Open WebUI 0.x whose protocol this app implements.
const KNOWN: RangeInclusive<u32> = 8..=12;
/// The minor version against which every change is tested.
const TESTED: u32 = 12;

/// How well a version is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The comparison with the stock product passes with it.
    Tested,
    /// Its protocol is the same, but it is not tested.
    ByDesign,
    /// It publishes pickled messages.
    TooOld,
    /// Newer than this app, or not a version.
    Unknown,
}

impl Support {
    /// The support of a version such as `0.12.4`.
    pub fn of(version: &str) -> Self {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(0), Some(TESTED)) => Self::Tested,
            (Some(0), Some(minor)) if minor < *KNOWN.start() => Self::TooOld,
            (Some(0), Some(minor)) if KNOWN.contains(&minor) => Self::ByDesign,
            _ => Self::Unknown,
        }
    }

    /// Why a version may not work; `None` if it is expected to.
    pub fn concern(self) -> Option<&'static str> {
        match self {
            Self::Tested | Self::ByDesign => None,
            Self::TooOld => Some(
                "it publishes pickled messages, which are rejected, so no browser receives them: update it to 0.8 or later",
            ),
            Self::Unknown => {
                Some("newer than this node supports; unknown events are passed to the backends")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_depends_on_the_minor_version() {
        let cases = [
            ("0.12.4", Support::Tested),
            ("0.12.99", Support::Tested),
            ("0.8.12", Support::ByDesign),
            ("0.11.4", Support::ByDesign),
            ("0.6.5", Support::TooOld),
            ("0.13.0", Support::Unknown),
            ("1.0.0", Support::Unknown),
            ("nightly", Support::Unknown),
        ];
        for (version, expected) in cases {
            assert_eq!(Support::of(version), expected, "{version}");
        }
        assert_eq!(Support::ByDesign.concern(), None);
        assert!(Support::TooOld.concern().unwrap().contains("pickled"));
        assert!(Support::Unknown.concern().unwrap().contains("newer"));
    }
}
