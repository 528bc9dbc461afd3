//! Ranges of allowed values: the check, and the text for the reference.

use std::ops::{Bound, RangeBounds};
use std::time::Duration;

/// `value`, or the bound of `range` that it exceeds. Excluded bounds do not occur in declarations and count as
/// included ones.
pub(super) fn within<T: PartialOrd>(
    range: &impl RangeBounds<T>,
    value: T,
    spelled: impl Fn(&T) -> String,
) -> Result<T, String> {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Included(least) | Bound::Excluded(least), _) if value < *least => {
            Err(format!("must be at least {}", spelled(least)))
        }
        (_, Bound::Included(most) | Bound::Excluded(most)) if value > *most => {
            Err(format!("must be at most {}", spelled(most)))
        }
        _ => Ok(value),
    }
}

/// A range for the reference: empty where every value is allowed.
pub(super) fn described<T: PartialEq + Default>(
    range: &impl RangeBounds<T>,
    spelled: impl Fn(&T) -> String,
) -> String {
    let least = match range.start_bound() {
        Bound::Included(least) | Bound::Excluded(least) => Some(least),
        Bound::Unbounded => None,
    };
    let most = match range.end_bound() {
        Bound::Included(most) | Bound::Excluded(most) => Some(most),
        Bound::Unbounded => None,
    };
    match (least, most) {
        (Some(least), Some(most)) => format!(" {} to {}", spelled(least), spelled(most)),
        (Some(least), None) if *least != T::default() => {
            format!(" from {}", spelled(least))
        }
        (None, Some(most)) => format!(" up to {}", spelled(most)),
        _ => String::new(),
    }
}

pub(super) fn spelled_duration(duration: &Duration) -> String {
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let milliseconds = duration.as_millis();
    let unit = units
        .into_iter()
        .find(|(_, factor)| milliseconds.is_multiple_of(*factor));
    match unit {
        _ if milliseconds == 0 => "0s".to_owned(),
        Some((unit, factor)) => format!("{}{unit}", milliseconds / factor),
        None => format!("{milliseconds}ms"),
    }
}

pub(super) fn spelled_size(bytes: &usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units
        .into_iter()
        .find(|(_, factor)| *bytes > 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes} B"),
    }
}
