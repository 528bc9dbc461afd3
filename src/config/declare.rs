//! The macros that declare keys: one declaration is the settings struct, the checks of single values, the shipped file,
//! the reference, the environment name and the reload class.
//!
//! ```text
//! table! {
//!     /// What the section is about.
//!     pub DrainConfig = "drain" {
//!         /// What the key means, in Markdown; `0` = what zero stands for.
//!         grace: Duration = "1s", duration(ZERO..), reload;
//!     }
//!     derived { … }   // fields that `cross` computes from several keys
//!     tables { … }    // structs with the keys of other tables, or with more keys of this one
//! }
//! ```
//!
//! After the type: the shipped value, the form (see `forms`), then any properties of `schema::Properties`.

use ::config::{Value, ValueKind};

use super::checker::Checker;
use super::form::Form;
use super::schema::{EntryKey, Key, Properties, Schema, paragraph};

/// A struct whose fields are the values of declared keys; implemented by [`table!`].
pub(super) trait Table: Sized {
    /// Adds its keys to `schema`.
    fn declare(schema: &mut Schema);

    /// Reads the value of each key. Rejected values are reported to `checker` and replaced by defaults of their types.
    fn read(checker: &mut Checker<'_, '_>) -> Self;
}

/// The schema of a table and of all tables inside it.
pub(super) fn schema_of<T: Table>() -> Schema {
    let mut schema = Schema::default();
    T::declare(&mut schema);
    schema
}

/// A shipped value as a declaration writes it.
pub(super) trait Shipped {
    /// The same as a value of a file.
    fn value(self) -> Value;
}

impl Shipped for bool {
    fn value(self) -> Value {
        Value::from(self)
    }
}

impl Shipped for i64 {
    fn value(self) -> Value {
        Value::from(self)
    }
}

impl Shipped for &str {
    fn value(self) -> Value {
        Value::from(self)
    }
}

impl<const N: usize> Shipped for [&str; N] {
    fn value(self) -> Value {
        let items = self.into_iter().map(Value::from);
        Value::new(None, ValueKind::Array(items.collect()))
    }
}

/// What a declaration has beside the form of a key.
pub(super) struct Declared<'a> {
    pub(super) name: &'static str,
    pub(super) comment: &'a [&'a str],
    pub(super) properties: Properties,
}

impl Declared<'_> {
    /// The key in the table `section`.
    pub(super) fn key<T>(self, section: &str, value: impl Shipped, form: Form<T>) -> Key {
        Key {
            path: format!("{section}.{}", self.name),
            kind: form.kind,
            value: value.value(),
            comment: paragraph(self.comment),
            allowed: form.allowed,
            resolves_auto: form.resolves_auto,
            properties: self.properties,
            entry: form.entry,
        }
    }

    /// The key of an entry.
    pub(super) fn entry_key<T>(self, form: &Form<T>) -> EntryKey {
        EntryKey {
            name: self.name,
            kind: form.kind,
            comment: paragraph(self.comment),
            allowed: form.allowed.clone(),
            is_required: !form.is_optional,
            properties: self.properties,
        }
    }
}

/// Declares a table of keys and the struct of their values. See the module.
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $(#[derive($($derive:ident),*)])?
        $visible:vis $config:ident = $path:literal {
            $(
                $(#[doc = $comment:literal])+
                $name:ident: $type:ty = $value:tt, $form:expr $(, $property:ident)*;
            )*
        }
        $(derived { $($(#[doc = $derived_doc:literal])* $derived:ident: $derived_type:ty,)* })?
        $(tables { $($(#[doc = $inner_doc:literal])* $inner:ident: $inner_type:ty,)* })?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $(#[derive($($derive),*)])?
        $visible struct $config {
            $($(#[doc = $comment])+ $visible $name: $type,)*
            $($($(#[doc = $derived_doc])* $visible $derived: $derived_type,)*)?
            $($($(#[doc = $inner_doc])* $visible $inner: $inner_type,)*)?
        }

        impl $crate::config::declare::Table for $config {
            fn declare(schema: &mut $crate::config::schema::Schema) {
                schema.add($path, &[$($about),*], vec![$({
                    let declared = $crate::config::declare::Declared {
                        name: stringify!($name),
                        comment: &[$($comment),+],
                        properties: $crate::config::schema::Properties::default()$(.$property())*,
                    };
                    let form: $crate::config::form::Form<$type> = $form;
                    declared.key($path, $value, form)
                }),*]);
                $($(<$inner_type as $crate::config::declare::Table>::declare(schema);)*)?
            }

            fn read(checker: &mut $crate::config::checker::Checker<'_, '_>) -> Self {
                Self {
                    $($name: checker.read(concat!($path, ".", stringify!($name)), &$form),)*
                    $($($derived: Default::default(),)*)?
                    $($($inner: $crate::config::declare::Table::read(checker),)*)?
                }
            }
        }
    };
}

/// Declares the keys of each table in a list of tables, and the struct of one. Keys whose form is not `optional()` are
/// required.
macro_rules! entry {
    (
        $(#[doc = $about:literal])*
        $visible:vis $entry:ident {
            $(
                $(#[doc = $comment:literal])+
                $name:ident: $type:ty = $form:expr $(, $property:ident)*;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $visible struct $entry {
            $($(#[doc = $comment])+ $visible $name: $type,)*
        }

        impl $crate::config::entry::Entry for $entry {
            fn keys() -> Vec<$crate::config::schema::EntryKey> {
                vec![$({
                    let declared = $crate::config::declare::Declared {
                        name: stringify!($name),
                        comment: &[$($comment),+],
                        properties: $crate::config::schema::Properties::default()$(.$property())*,
                    };
                    let form: $crate::config::form::Form<$type> = $form;
                    declared.entry_key(&form)
                }),*]
            }

            fn read(reader: &mut $crate::config::entry::EntryReader<'_>) -> Self {
                Self {
                    $($name: reader.read(stringify!($name), &$form),)*
                }
            }
        }
    };
}

pub(super) use {entry, table};
