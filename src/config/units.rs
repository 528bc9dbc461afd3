//! Durations, sizes and flags as people write them.
//!
//! Pure. An error is a text that stands after the key in a message.

use std::time::Duration;

/// `25s`, `300ms`, `1m 30s`. A unit is required, except for 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let rejected = |error: humantime::DurationError| {
        format!("`{text}` is not a duration such as `300ms` or `25s`: {error}")
    };
    humantime::parse_duration(text.trim()).map_err(rejected)
}

/// Bytes of `1MB`, `64KiB`, `512`, up to 1 GiB. A number without a unit is in bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    size_up_to(MAX_SIZE, text)?.ok_or_else(|| format!("`{}` is above 1GiB", text.trim()))
}

/// As [`size`], but `None` above `largest`.
fn size_up_to(largest: usize, text: &str) -> Result<Option<usize>, String> {
    let text = text.trim();
    let rejected = || format!("`{text}` is not a size such as `1MB`, `64KiB` or `512B`");
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| rejected())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(rejected()),
    };
    let bytes = number.checked_mul(factor);
    Ok(bytes.filter(|bytes| *bytes <= largest))
}

/// Maximum of every size, so that sums of sizes cannot overflow.
const MAX_SIZE: usize = 1 << 30;
/// Maximum amount of memory, for the same reason.
const MAX_MEMORY: usize = 1 << 40;

/// An amount of memory: as [`size`], up to 1024 GiB.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    size_up_to(MAX_MEMORY, text)?.ok_or_else(|| format!("`{}` is above 1024GiB", text.trim()))
}

/// A flag in the spellings that are common in environments.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_require_a_unit() {
        let cases = [
            ("300ms", Some(300)),
            ("25s", Some(25_000)),
            ("1m 30s", Some(90_000)),
            ("0s", Some(0)),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                duration(text).ok(),
                milliseconds.map(Duration::from_millis),
                "{text}"
            );
        }
        for text in ["", "25", "s", "-1s", "25 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_in_bytes_or_have_a_unit() {
        let cases = [
            ("0", 0),
            ("512", 512),
            ("1024B", 1024),
            ("1kB", 1000),
            ("1 KiB", 1024),
            ("1MB", 1_000_000),
            ("16MiB", 16 << 20),
            ("1GiB", 1 << 30),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "B",
            "-1",
            "1.5MB",
            "1 minute",
            "2GiB",
            "99999999999999999999",
            "1MBé",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(memory("2GiB"), Ok(2 << 30));
        assert!(memory("2000GiB").is_err());
    }
}
