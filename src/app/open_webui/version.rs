//! What a backend's version means for this app.

use std::ops::RangeInclusive;

/// The minor versions of Open WebUI 0 that this app was made for.
const KNOWN: RangeInclusive<u32> = 8..=12;
/// The one that every change is compared with.
const TESTED: u32 = 12;

/// How much is known about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// The comparison with the stock product runs with it.
    Tested,
    /// It says and does nothing that is not known here, but nobody has tried.
    ByDesign,
    /// It speaks pickle.
    TooOld,
    /// Later than this app, or no version at all.
    Unknown,
}

impl Support {
    /// Judges a version such as `0.12.4`.
    pub fn of(version: &str) -> Self {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(0), Some(TESTED)) => Self::Tested,
            (Some(0), Some(minor)) if minor < *KNOWN.start() => Self::TooOld,
            (Some(0), Some(minor)) if KNOWN.contains(&minor) => Self::ByDesign,
            _ => Self::Unknown,
        }
    }

    /// Why it may not work, if it may not.
    pub fn doubt(self) -> Option<&'static str> {
        match self {
            Self::Tested | Self::ByDesign => None,
            Self::TooOld => Some(
                "its messages are pickled, which is refused; nothing it says reaches a browser: update it to 0.8 or later",
            ),
            Self::Unknown => {
                Some("newer than this node knows; events it does not know are left to the backends")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged_by_their_minor() {
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
        assert_eq!(Support::ByDesign.doubt(), None);
        assert!(Support::TooOld.doubt().unwrap().contains("pickled"));
        assert!(Support::Unknown.doubt().unwrap().contains("newer"));
    }
}
