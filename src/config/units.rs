//! Durations and sizes as people write them.
//!
//! Pure; the reason of a refusal is a text that `check` puts beside the key.

use std::time::Duration;

/// `25s`, `300ms`, `1m 30s`; a unit is needed, except for 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused = |error: humantime::DurationError| {
        format!("`{text}` is not a duration such as `300ms` or `25s`: {error}")
    };
    humantime::parse_duration(text.trim()).map_err(refused)
}

/// A duration above zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    // Clients are told whole milliseconds.
    if duration < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    Ok(duration)
}

/// A duration that can be switched off by 0.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if duration(text)?.is_zero() {
        return Ok(None);
    }
    positive_duration(text).map(Some)
}

/// Bytes of `1MB`, `64KiB`, `512`; a number alone counts bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    size_up_to(LARGEST_SIZE, text)?.ok_or_else(|| format!("`{}` is above 1GiB", text.trim()))
}

/// As [`size`], but `None` above `largest`.
fn size_up_to(largest: usize, text: &str) -> Result<Option<usize>, String> {
    let text = text.trim();
    let refused = || format!("`{text}` is not a size such as `1MB`, `64KiB` or `512B`");
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| refused())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(refused()),
    };
    let bytes = number.checked_mul(factor);
    Ok(bytes.filter(|bytes| *bytes <= largest))
}

/// A bound on every size, so that sums of sizes cannot overflow.
const LARGEST_SIZE: usize = 1 << 30;
/// A bound on memory, for the same reason.
const LARGEST_MEMORY: usize = 1 << 40;

/// A size above zero.
pub(super) fn positive_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("must not be 0".to_owned()),
        bytes => Ok(bytes),
    }
}

/// `auto`, which is `None`, or a size above zero.
pub(super) fn automatic_size(text: &str) -> Result<Option<usize>, String> {
    match text.trim() {
        "auto" => Ok(None),
        size => positive_size(size).map(Some),
    }
}

/// `auto`, which is `None`, or an amount of memory above zero.
pub(super) fn automatic_memory(text: &str) -> Result<Option<usize>, String> {
    match text.trim() {
        "auto" => Ok(None),
        memory => match size_up_to(LARGEST_MEMORY, memory)? {
            Some(0) => Err("must not be 0".to_owned()),
            None => Err(format!("`{memory}` is above 1024GiB")),
            bytes => Ok(bytes),
        },
    }
}

/// A size that can be switched off by 0.
pub(super) fn optional_size(text: &str) -> Result<Option<usize>, String> {
    Ok(Some(size(text)?).filter(|bytes| *bytes > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
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
        assert!(positive_duration("0s").is_err() && positive_duration("10us").is_err());
        assert_eq!(optional_duration("0"), Ok(None));
        assert_eq!(optional_duration("1s"), Ok(Some(Duration::from_secs(1))));
        assert!(optional_duration("10us").is_err());
    }

    #[test]
    fn sizes() {
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
        assert_eq!(optional_size("0"), Ok(None));
        assert!(positive_size("0").is_err());
    }
}
