//! Forms: how a value is written, which values are allowed, and how one becomes a Rust value.
//!
//! A declaration in `tables` composes the form of its key from these, as `duration(MILLISECOND..)` or
//! `list(text("a name", Name::parse))`. Pure, apart from forms that look at files.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::schema::{self, EntryKey, Kind};
use super::units;

/// The shortest time that timers and clients distinguish.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// The word for a value that the node chooses.
const AUTO: &str = "auto";

/// Why a value is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    /// What to append to the path of the key, as `[0].join`; empty for the value as a whole.
    pub(super) at: String,
    /// The reason, to stand after the key.
    pub(super) message: String,
    /// The value that was probably meant.
    pub(super) meant: Option<String>,
}

impl From<String> for Rejection {
    fn from(message: String) -> Self {
        Self {
            at: String::new(),
            message,
            meant: None,
        }
    }
}

type Rejections = Vec<Rejection>;
type Read<T> = Box<dyn Fn(&Value, &mut Rejections) -> Option<T>>;

/// How the value of a key is written, which values are allowed, and how one becomes a `T`.
pub(super) struct Form<T> {
    pub(super) kind: Kind,
    /// The allowed values with their unit and range, as Markdown.
    pub(super) allowed: String,
    /// Whether `auto` reads as the default of `T`, to be replaced once other keys are known.
    pub(super) resolves_auto: bool,
    /// Whether an entry of a list of tables may leave the key out.
    pub(super) is_optional: bool,
    /// The keys of each table, of [`tables`].
    pub(super) entry: Vec<EntryKey>,
    read: Read<T>,
}

impl<T: 'static> Form<T> {
    fn new(
        kind: Kind,
        allowed: impl Into<String>,
        read: impl Fn(&Value, &mut Rejections) -> Option<T> + 'static,
    ) -> Self {
        Self {
            kind,
            allowed: allowed.into(),
            resolves_auto: false,
            is_optional: false,
            entry: Vec::new(),
            read: Box::new(read),
        }
    }

    /// Reads a value. `None` = it is rejected; a list without its rejected items is a value.
    pub(super) fn read(&self, value: &Value, rejections: &mut Rejections) -> Option<T> {
        (self.read)(value, rejections)
    }

    /// The form of what `convert` makes of the value.
    pub(super) fn map<U: 'static>(self, convert: impl Fn(T) -> U + 'static) -> Form<U> {
        Form {
            kind: self.kind,
            allowed: self.allowed,
            resolves_auto: self.resolves_auto,
            is_optional: self.is_optional,
            entry: self.entry,
            read: Box::new(move |value, rejections| (self.read)(value, rejections).map(&convert)),
        }
    }

    /// Also accepts `auto`, which reads as `None`.
    pub(super) fn automatic(self) -> Form<Option<T>> {
        let allowed = format!("`{AUTO}`, {}", self.allowed);
        Form::new(Kind::Text, allowed, move |value, rejections| {
            if text_of(value) == AUTO {
                return Some(None);
            }
            let before = rejections.len();
            let read = (self.read)(value, rejections);
            for rejection in &mut rejections[before..] {
                rejection.message += " (or `auto`)";
            }
            read.map(Some)
        })
    }

    /// Also accepts `auto`, which reads as the default of `T` until `cross` replaces it by a value that depends on other
    /// keys.
    pub(super) fn or_auto(self) -> Self
    where
        T: Default,
    {
        Self {
            resolves_auto: true,
            ..self.automatic().map(Option::unwrap_or_default)
        }
    }

    /// Also accepts the empty text, which reads as `None`.
    pub(super) fn or_empty(self) -> Form<Option<T>> {
        let allowed = format!("{} or empty", self.allowed);
        Form::new(
            self.kind,
            allowed,
            move |value, rejections| match text_of(value).as_str() {
                "" => Some(None),
                _ => (self.read)(value, rejections).map(Some),
            },
        )
    }

    /// A key that an entry of a list of tables may leave out; then it is `None`.
    pub(super) fn optional(self) -> Form<Option<T>> {
        Form {
            is_optional: true,
            ..self.map(Some)
        }
    }
}

impl<T: 'static> Form<Vec<T>> {
    /// Rejects an empty list; `item` says what it must name.
    pub(super) fn at_least_one(self, item: &'static str) -> Self {
        let (kind, allowed) = (self.kind, self.allowed.clone());
        Self::new(kind, allowed, move |value, rejections| {
            if matches!(&value.kind, ValueKind::Array(items) if items.is_empty()) {
                let message = format!("must name at least one {item}");
                rejections.push(message.into());
            }
            (self.read)(value, rejections)
        })
    }
}

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
            rejections.push(Rejection {
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

/// The struct that one table of a list of tables becomes; implemented by the macro `entry!`.
pub(super) trait Entry: Sized + 'static {
    /// Its keys in the order of their declaration.
    fn keys() -> Vec<EntryKey>;

    /// Reads one table.
    fn read(reader: &mut EntryReader<'_>) -> Self;
}

/// A list of tables.
pub(super) fn tables<E: Entry>() -> Form<Vec<E>> {
    let form = Form::new(Kind::Tables, "list of tables", |value, rejections| {
        let ValueKind::Array(entries) = &value.kind else {
            return Some(Vec::new());
        };
        let entries = entries.iter().enumerate().map(|(index, value)| {
            E::read(&mut EntryReader {
                index,
                value,
                rejections,
            })
        });
        Some(entries.collect())
    });
    Form {
        entry: E::keys(),
        ..form
    }
}

/// Reads the keys of one table of a list of tables.
pub(super) struct EntryReader<'a> {
    index: usize,
    value: &'a Value,
    rejections: &'a mut Rejections,
}

impl EntryReader<'_> {
    /// The value of the key `name`; the default of `T` where it is missing or rejected. The layers have reported missing
    /// keys and wrong forms before.
    pub(super) fn read<T: Default + 'static>(&mut self, name: &str, form: &Form<T>) -> T {
        let value = match &self.value.kind {
            ValueKind::Table(table) => table.get(name),
            _ => None,
        };
        let Some(value) = value else {
            return T::default();
        };
        let before = self.rejections.len();
        let read = form.read(value, self.rejections);
        for rejection in &mut self.rejections[before..] {
            rejection.at = format!("[{}].{name}{}", self.index, rejection.at);
        }
        read.unwrap_or_default()
    }
}

fn accept<T, E: Display>(read: Result<T, E>, rejections: &mut Rejections) -> Option<T> {
    read.map_err(|error| rejections.push(error.to_string().into()))
        .ok()
}

/// The text of a value as written; of a boolean or a number its usual spelling.
fn text_of_whole(value: &Value) -> String {
    value.clone().into_string().unwrap_or_default()
}

/// As [`text_of_whole`], without spaces around it.
fn text_of(value: &Value) -> String {
    text_of_whole(value).trim().to_owned()
}

/// `value`, or the bound of `range` that it exceeds. Excluded bounds do not occur in declarations and count as
/// included ones.
fn within<T: PartialOrd>(
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
fn described<T: PartialEq + Default>(
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

fn spelled_duration(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}

fn spelled_size(bytes: &usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units
        .into_iter()
        .find(|(_, factor)| *bytes > 0 && bytes.is_multiple_of(*factor));
    match unit {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
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
