//! The sockets that a request concerns: fields that several verbs have in common.

use super::bounds::{self, CheckRules, checked, checked_list};
use super::name::Name;
use super::problem::{Code, VerbError};
use crate::model::{Room, Selector};

/// The target of a request, as its fields name it. The lists add up; each socket counts once.
#[derive(Clone, Copy)]
pub(super) struct TargetFields<'r, 'a> {
    pub(super) namespace: Option<&'r Name<'a>>,
    pub(super) rooms: &'r [Name<'a>],
    /// The name of the field with the rooms.
    pub(super) rooms_field: &'static str,
    pub(super) users: &'r [Name<'a>],
    pub(super) sockets: &'r [Name<'a>],
    pub(super) except: &'r [Name<'a>],
    pub(super) everybody: bool,
}

impl TargetFields<'_, '_> {
    /// The selected sockets.
    pub(super) fn selector(&self, rules: &CheckRules<'_>) -> Result<Selector, VerbError> {
        let mut selector = Selector::everybody(rules.namespace(self.namespace)?);
        selector.rooms = bounds::rooms(self.rooms, self.rooms_field)?;
        for user in checked_list(self.users, "users")? {
            selector
                .rooms
                .push((rules.user_room)(checked(user, "users")?));
        }
        for id in checked_list(self.sockets, "sockets")? {
            let socket = bounds::socket(id, "sockets")?;
            selector.rooms.push(Room::from(socket.as_str()));
        }
        selector.except = bounds::rooms(self.except, "except")?;
        match (selector.rooms.is_empty(), self.everybody) {
            (true, true) | (false, false) => Ok(selector),
            (false, true) => Err(VerbError::new(
                Code::InvalidField,
                "`everybody` excludes other targets",
            )),
            (true, false) => match rules.own_socket {
                Some(own) => {
                    selector.rooms.push(Room::from(own.id.as_str()));
                    Ok(selector)
                }
                None => Err(self.missing()),
            },
        }
    }

    fn missing(&self) -> VerbError {
        let message = format!(
            "no target: name `{}`, `users` or `sockets`, or set `everybody` to true",
            self.rooms_field
        );
        VerbError::new(Code::MissingTarget, message)
    }
}

/// Declares a request with the fields of a target; `$rooms` is the name of the field with the rooms.
macro_rules! targeted {
    (
        $(#[$meta:meta])*
        $name:ident($rooms:ident) {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name<'a> {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Namespace of the sockets. Absent = `/`.
            #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
            #[schema(value_type = Option<$crate::verbs::text_schema::NamespaceText>)]
            pub namespace: Option<$crate::verbs::name::Name<'a>>,
            /// Members of these rooms are selected.
            #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
            #[schema(value_type = Vec<$crate::verbs::text_schema::NameText>, max_items = 1000)]
            pub $rooms: Vec<$crate::verbs::name::Name<'a>>,
            /// All sockets of these users are selected.
            #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
            #[schema(value_type = Vec<$crate::verbs::text_schema::NameText>, max_items = 1000)]
            pub users: Vec<$crate::verbs::name::Name<'a>>,
            /// The sockets with these ids are selected.
            #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
            #[schema(value_type = Vec<$crate::verbs::text_schema::SocketIdText>, max_items = 1000)]
            pub sockets: Vec<$crate::verbs::name::Name<'a>>,
            /// Rooms, or ids of sockets, that are left out.
            #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
            #[schema(value_type = Vec<$crate::verbs::text_schema::NameText>, max_items = 1000)]
            pub except: Vec<$crate::verbs::name::Name<'a>>,
            /// Every socket of the namespace is selected. An empty target is an error, so that a list which a backend
            /// computed and that happens to be empty does not mean everybody.
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            pub everybody: bool,
        }

        impl<'a> $name<'a> {
            /// The target of the request.
            fn target(&self) -> $crate::verbs::target::TargetFields<'_, 'a> {
                $crate::verbs::target::TargetFields {
                    namespace: self.namespace.as_ref(),
                    rooms: &self.$rooms,
                    rooms_field: stringify!($rooms),
                    users: &self.users,
                    sockets: &self.sockets,
                    except: &self.except,
                    everybody: self.everybody,
                }
            }
        }
    };
}

pub(super) use targeted;
