//! The form of a value: how it is written, which values are allowed, and how one becomes a Rust value.
//!
//! `forms` has the basic forms; the methods here make new forms of them.

use ::config::{Value, ValueKind};

use super::schema::{EntryKey, Kind};

/// The word for a value that the node chooses.
const AUTO: &str = "auto";

/// Why a value is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FormRejection {
    /// What to append to the path of the key, such as `[0].join`; empty for the value as a whole.
    pub(super) at: String,
    /// The reason, to stand after the key.
    pub(super) message: String,
    /// The value that was probably meant.
    pub(super) meant: Option<String>,
}

impl From<String> for FormRejection {
    fn from(message: String) -> Self {
        Self {
            at: String::new(),
            message,
            meant: None,
        }
    }
}

pub(super) type Rejections = Vec<FormRejection>;
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
    /// The keys of each table, for a list of tables.
    pub(super) entry: Vec<EntryKey>,
    read: Read<T>,
}

impl<T: 'static> Form<T> {
    pub(super) fn new(
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

    /// The form of a list of tables with these keys.
    pub(super) fn with_entry(self, entry: Vec<EntryKey>) -> Self {
        Self { entry, ..self }
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
    /// Rejects an empty list; `item` is what it must name, for the error.
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

/// The text of a value as written; of a boolean or a number its usual spelling.
pub(super) fn text_of_whole(value: &Value) -> String {
    value.clone().into_string().unwrap_or_default()
}

/// As [`text_of_whole`], without spaces around it.
pub(super) fn text_of(value: &Value) -> String {
    text_of_whole(value).trim().to_owned()
}
