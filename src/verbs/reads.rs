//! Verbs that only read.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bounds::{self, CheckRules, MAX_NAME, checked, checked_list};
use super::name::Name;
use super::problem::{Code, VerbError};
use super::target::targeted;
use super::text_schema::{NamePart, NameText, NamespaceText};
use super::whole_number::whole_number;
use crate::model::{Namespace, Room, Selector};

/// Maximum number of entries of one answer.
pub const MAX_LISTED: u32 = 1000;
/// Number of entries of an answer if the request has no limit.
const DEFAULT_LISTED: u32 = 100;

targeted! {
    /// Lists the selected sockets.
    SocketsRequest(rooms) {
        /// Maximum number of sockets to list, 0 to 1000; 0 only counts. Absent = 100.
        #[serde(default, deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 0, maximum = 1000)]
        limit: Option<u32>,
    }
}

/// Lists the rooms that have members, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomsRequest<'a> {
    /// Namespace of the rooms. Absent = `/`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespaceText>)]
    pub namespace: Option<Name<'a>>,
    /// Lists rooms whose names begin with this text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamePart>)]
    pub prefix: Option<Name<'a>>,
    /// Lists rooms whose names follow this one: `next` of the previous answer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamePart>)]
    pub after: Option<Name<'a>>,
    /// Maximum number of rooms to list, 1 to 1000. Absent = 100.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Whether users are online and when they were last seen; without `users`, lists the users who are online.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsersRequest<'a> {
    /// The users to look up, at most 1000.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<NameText>, max_items = 1000)]
    pub users: Vec<Name<'a>>,
    /// Namespace of their sockets. Absent = `/`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespaceText>)]
    pub namespace: Option<Name<'a>>,
    /// Lists users whose names begin with this text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamePart>)]
    pub prefix: Option<Name<'a>>,
    /// Lists users whose names follow this one: `next` of the previous answer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamePart>)]
    pub after: Option<Name<'a>>,
    /// Maximum number of users to list, 1 to 1000. Absent = 100.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Lists the members of a room by user.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembersRequest<'a> {
    /// The room.
    #[serde(borrow)]
    #[schema(value_type = NameText)]
    pub room: Name<'a>,
    /// Namespace of the room. Absent = `/`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespaceText>)]
    pub namespace: Option<Name<'a>>,
    /// In a room with presence: lists users whose names follow this one, `next` of the previous answer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamePart>)]
    pub after: Option<Name<'a>>,
    /// Maximum number of sockets, or of users in a room with presence, to list, 0 to 1000; 0 only counts. Absent = 100.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 1000)]
    pub limit: Option<u32>,
}

/// Describes the nodes of the cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InfoRequest {}

/// The rooms that a request lists: those whose names begin with `prefix` and follow `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomFilter {
    pub namespace: Namespace,
    pub prefix: String,
    /// Empty = from the first.
    pub after: String,
    pub limit: u32,
}

/// The members of a room that a request lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersFilter {
    /// The room alone.
    pub selector: Selector,
    pub room: Room,
    /// In a room with presence: the last user of the previous page. Empty = from the first.
    pub after: String,
    pub limit: u32,
}

/// The users that a request lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsersFilter {
    /// These users, whether or not they are online.
    Named {
        namespace: Namespace,
        users: Vec<String>,
    },
    /// The users who are online; the filter applies to their names.
    Online(RoomFilter),
}

impl SocketsRequest<'_> {
    /// The selected sockets, and how many to list.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self, rules: &CheckRules<'_>) -> Result<(Selector, u32), VerbError> {
        Ok((self.target().selector(rules)?, limit(self.limit, 0)?))
    }
}

impl RoomsRequest<'_> {
    /// The rooms to list.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<RoomFilter, VerbError> {
        Ok(RoomFilter {
            namespace: bounds::namespace(self.namespace.as_ref())?,
            prefix: part(self.prefix.as_ref(), "prefix")?,
            after: part(self.after.as_ref(), "after")?,
            limit: limit(self.limit, 1)?,
        })
    }
}

impl UsersRequest<'_> {
    /// The users to look up or to list.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<UsersFilter, VerbError> {
        let namespace = bounds::namespace(self.namespace.as_ref())?;
        if self.users.is_empty() {
            return Ok(UsersFilter::Online(RoomFilter {
                namespace,
                prefix: part(self.prefix.as_ref(), "prefix")?,
                after: part(self.after.as_ref(), "after")?,
                limit: limit(self.limit, 1)?,
            }));
        }
        if self.prefix.is_some() || self.after.is_some() || self.limit.is_some() {
            let message = "`users` excludes `prefix`, `after` and `limit`";
            return Err(VerbError::new(Code::InvalidField, message));
        }
        let users = checked_list(&self.users, "users")?.iter();
        let users = users.map(|user| checked(user, "users").map(str::to_owned));
        Ok(UsersFilter::Named {
            namespace,
            users: users.collect::<Result<_, _>>()?,
        })
    }
}

impl MembersRequest<'_> {
    /// The members to list.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<MembersFilter, VerbError> {
        let namespace = bounds::namespace(self.namespace.as_ref())?;
        let room = Room::from(checked(&self.room, "room")?);
        Ok(MembersFilter {
            selector: Selector::room(namespace, room.clone()),
            room,
            after: part(self.after.as_ref(), "after")?,
            limit: limit(self.limit, 0)?,
        })
    }
}

pub(super) fn limit(limit: Option<u32>, least: u32) -> Result<u32, VerbError> {
    let limit = limit.unwrap_or(DEFAULT_LISTED);
    if (least..=MAX_LISTED).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("`limit` is {least} to {MAX_LISTED}");
    Err(VerbError::new(Code::InvalidField, message))
}

/// A part of a name, which may be empty.
fn part(text: Option<&Name<'_>>, field: &str) -> Result<String, VerbError> {
    let text = text.map_or("", |text| text);
    if text.len() > MAX_NAME {
        let message = format!("`{field}` has more than {MAX_NAME} bytes");
        return Err(VerbError::new(Code::InvalidName, message));
    }
    Ok(text.to_owned())
}
