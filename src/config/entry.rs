//! Lists of tables: the form of the list, and the reading of each table.

use ::config::{Value, ValueKind};

use super::form::{Form, Rejections};
use super::schema::{EntryKey, Kind};

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
    form.with_entry(E::keys())
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
