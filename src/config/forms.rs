//! The basic forms. A declaration in `tables` composes the form of its key from them, such as `duration(MILLISECOND..)`
//! or `list(text("name", Name::parse))`.

use std::fmt::Display;
use std::ops::RangeBounds;
use std::time::Duration;

use ::config::ValueKind;

use super::form::{Form, FormRejection, Rejections, text_of, text_of_whole};
use super::range::{described, spelled_duration, spelled_size, within};
use super::schema::{self, Kind};
use super::units;

/// The shortest time that timers and clients distinguish.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// `true` or `false`.
pub(super) fn flag() -> Form<bool> {
    Form::new(Kind::Flag, "`true` or `false`", |value, rejections| {
        accept(value.clone().into_bool(), rejections)
    })
}

/// A whole number inside `range`.
pub(super) fn number<N>(range: impl RangeBounds<u64> + 'static) -> Form<N>
where
    N: TryFrom<u64> + 'static,
{
    let allowed = format!("number{}", described(&range, u64::to_string));
    Form::new(Kind::Number, allowed, move |value, rejections| {
        let text = text_of(value);
        let Ok(number) = text.parse() else {
            let message = format!("`{text}` is not a whole number, 0 or more");
            rejections.push(message.into());
            return None;
        };
        let number = within(&range, number, u64::to_string)
            .and_then(|number| N::try_from(number).map_err(|_| "is too large".to_owned()));
        accept(number, rejections)
    })
}

/// A duration with its unit, inside `range`.
pub(super) fn duration(range: impl RangeBounds<Duration> + 'static) -> Form<Duration> {
    let allowed = format!("duration{}", described(&range, spelled_duration));
    Form::new(Kind::Text, allowed, move |value, rejections| {
        let read = units::duration(&text_of(value));
        let read = read.and_then(|duration| within(&range, duration, spelled_duration));
        accept(read, rejections)
    })
}

/// 0, which reads as `None`, or a duration with its unit, inside `range`.
pub(super) fn duration_or_0(range: impl RangeBounds<Duration> + 'static) -> Form<Option<Duration>> {
    let inner = duration(range);
    let allowed = format!("0, {}", inner.allowed);
    Form::new(
        Kind::Text,
        allowed,
        move |value, rejections| match units::duration(&text_of(value)) {
            Ok(Duration::ZERO) => Some(None),
            _ => inner.read(value, rejections).map(Some),
        },
    )
}

/// A number of bytes inside `range`.
pub(super) fn size(range: impl RangeBounds<usize> + 'static) -> Form<usize> {
    let allowed = format!("size{}", described(&range, spelled_size));
    Form::new(Kind::Text, allowed, move |value, rejections| {
        let read = units::size(&text_of(value));
        accept(
            read.and_then(|bytes| within(&range, bytes, spelled_size)),
            rejections,
        )
    })
}

/// As [`size`], up to 1024 GiB.
pub(super) fn memory(range: impl RangeBounds<usize> + 'static) -> Form<usize> {
    let allowed = format!("size{}", described(&range, spelled_size));
    Form::new(Kind::Text, allowed, move |value, rejections| {
        let read = units::memory(&text_of(value));
        accept(
            read.and_then(|bytes| within(&range, bytes, spelled_size)),
            rejections,
        )
    })
}

/// `None` in place of 0, for limits that 0 switches off.
pub(super) fn none_if_0(number: usize) -> Option<usize> {
    (number > 0).then_some(number)
}

/// `usize::MAX` in place of 0, for limits that 0 switches off.
pub(super) fn unlimited_if_0(number: usize) -> usize {
    none_if_0(number).unwrap_or(usize::MAX)
}

/// A text that `parse` makes a value of. `allowed` describes it in the reference.
pub(super) fn text<T: 'static>(
    allowed: &'static str,
    parse: impl Fn(&str) -> Result<T, String> + 'static,
) -> Form<T> {
    Form::new(Kind::Text, allowed, move |value, rejections| {
        accept(parse(&text_of_whole(value)), rejections)
    })
}

/// One of the names in `choices`.
pub(super) fn choice<T: Copy + 'static>(choices: &'static [(&'static str, T)]) -> Form<T> {
    let names = || choices.iter().map(|(name, _)| *name);
    let allowed: Vec<String> = names().map(|name| format!("`{name}`")).collect();
    Form::new(Kind::Text, allowed.join(", "), move |value, rejections| {
        let text = text_of(value);
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let listed: Vec<&str> = names().collect();
            rejections.push(FormRejection {
                at: String::new(),
                message: format!("`{text}` is none of {}", listed.join(", ")),
                meant: schema::nearest(&text, names()),
            });
        }
        found.map(|(_, value)| *value)
    })
}

/// `on` or `off`; the other spellings of a flag are accepted too.
pub(super) fn switch() -> Form<bool> {
    Form::new(Kind::Text, "`on`, `off`", |value, rejections| {
        let text = text_of(value);
        let read =
            units::flag(&text).ok_or_else(|| format!("`{text}` is none of on, off, true, false"));
        accept(read, rejections)
    })
}

/// A list of texts, each of the form `item`.
pub(super) fn list<T: 'static>(item: Form<T>) -> Form<Vec<T>> {
    let allowed = format!("list: {}", item.allowed);
    Form::new(Kind::List, allowed, move |value, rejections| {
        let items = match &value.kind {
            ValueKind::Array(items) => items.as_slice(),
            _ => &[],
        };
        Some(
            items
                .iter()
                .filter_map(|value| item.read(value, rejections))
                .collect(),
        )
    })
}

fn accept<T, E: Display>(read: Result<T, E>, rejections: &mut Rejections) -> Option<T> {
    read.map_err(|error| rejections.push(error.to_string().into()))
        .ok()
}

#[cfg(test)]
mod tests {
    use ::config::Value;

    use super::*;

    fn read<T: 'static>(form: &Form<T>, value: impl Into<Value>) -> Result<T, String> {
        let mut rejections = Vec::new();
        let read = form.read(&value.into(), &mut rejections);
        read.ok_or_else(|| rejections[0].message.clone())
    }

    #[test]
    fn durations_have_a_range_and_0_can_stand_for_none() {
        let form = duration(MILLISECOND..);
        assert_eq!(read(&form, "25s"), Ok(Duration::from_secs(25)));
        for text in ["0s", "10us"] {
            let message = read(&form, text).unwrap_err();
            assert_eq!(message, "must be at least 1ms", "{text}");
        }
        let form = duration_or_0(MILLISECOND..);
        assert_eq!(read(&form, "0"), Ok(None));
        assert_eq!(read(&form, "1s"), Ok(Some(Duration::from_secs(1))));
        assert!(read(&form, "10us").is_err());
        assert_eq!(form.allowed, "0, duration from 1ms");
    }

    #[test]
    fn sizes_have_a_range_and_0_can_stand_for_none() {
        assert_eq!(read(&size(1..), "0").unwrap_err(), "must be at least 1 B");
        assert_eq!(read(&size(0..).map(none_if_0), "0"), Ok(None));
        assert_eq!(read(&size(0..).map(none_if_0), "1kB"), Ok(Some(1000)));
        assert!(read(&size(0..), "2GiB").is_err());
        assert_eq!(read(&memory(1..), "2GiB"), Ok(2 << 30));
        assert_eq!(size(1..=1 << 20).allowed, "size 1 B to 1MiB");
    }

    #[test]
    fn numbers_have_a_range_and_can_be_automatic() {
        let form = || number::<u32>(1..=9);
        assert_eq!(read(&form(), 9), Ok(9));
        assert_eq!(read(&form(), 0).unwrap_err(), "must be at least 1");
        assert_eq!(read(&form(), 10).unwrap_err(), "must be at most 9");
        let automatic = form().automatic();
        assert_eq!(automatic.allowed, "`auto`, number 1 to 9");
        assert_eq!(read(&automatic, " auto"), Ok(None));
        assert_eq!(read(&automatic, "7"), Ok(Some(7)));
        for text in ["", "-1", "many", "1.5", "0"] {
            let message = read(&automatic, text).unwrap_err();
            assert!(message.ends_with(" (or `auto`)"), "{text}: {message}");
        }
        assert_eq!(read(&form().or_auto(), "auto"), Ok(0));
    }

    #[test]
    fn a_choice_suggests_the_nearest_name() {
        let form = choice(&[("eager", 1), ("lazy", 2)]);
        assert_eq!(read(&form, "lazy "), Ok(2));
        let mut rejections = Vec::new();
        assert_eq!(form.read(&Value::from("lasy"), &mut rejections), None);
        assert_eq!(rejections[0].meant.as_deref(), Some("lazy"));
    }
}
