//! The verb that reads the log of a room.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bounds::{self, checked};
use super::name::Name;
use super::problem::{Code, VerbError};
use super::reads::limit;
use super::text_schema::{NameText, NamespaceText};
use super::whole_number::whole_number;
use crate::model::{Namespace, Position, Room};

/// Reads the events of a room that has a log, oldest first: those after a position, or else the newest ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest<'a> {
    /// The room.
    #[serde(borrow)]
    #[schema(value_type = NameText)]
    pub room: Name<'a>,
    /// Namespace of the room. Absent = `/`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NamespaceText>)]
    pub namespace: Option<Name<'a>>,
    /// Reads events after this position: the `offset` of an event, or `next` of the previous answer.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9]{6}-[0-9]{1,19}$")]
    pub after: Option<Name<'a>>,
    /// Reads the newest events before this position. Excludes `after`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9]{6}-[0-9]{1,19}$")]
    pub before: Option<Name<'a>>,
    /// Maximum number of events, 1 to 1000. Absent = 100.
    #[serde(
        default,
        deserialize_with = "whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

/// The part of a log that a request reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryFilter {
    pub namespace: Namespace,
    pub room: Room,
    pub range: HistoryRange,
    pub limit: u32,
}

/// Which events of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRange {
    After(Position),
    /// The newest before the position, or of all.
    Before(Option<Position>),
}

impl HistoryRequest<'_> {
    /// The part of the log.
    ///
    /// # Errors
    /// The request is rejected.
    pub fn check(&self) -> Result<HistoryFilter, VerbError> {
        let range = match (&self.after, &self.before) {
            (Some(_), Some(_)) => {
                let message = "`after` excludes `before`";
                return Err(VerbError::new(Code::InvalidField, message));
            }
            (Some(after), None) => HistoryRange::After(position(after, "after")?),
            (None, None) => HistoryRange::Before(None),
            (None, Some(before)) => HistoryRange::Before(Some(position(before, "before")?)),
        };
        Ok(HistoryFilter {
            namespace: bounds::namespace(self.namespace.as_ref())?,
            room: Room::from(checked(&self.room, "room")?),
            range,
            limit: limit(self.limit, 1)?,
        })
    }
}

fn position(text: &Name<'_>, field: &str) -> Result<Position, VerbError> {
    text.parse().map_err(|invalid| {
        let message = format!("`{field}` is {invalid}");
        VerbError::new(Code::InvalidField, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::VerbRequest;

    fn filter(body: &str) -> Result<HistoryFilter, VerbError> {
        match VerbRequest::parse("history", body.as_bytes())? {
            VerbRequest::History(request) => request.check(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_range_is_after_a_position_or_the_newest_events() {
        let position: Position = "abcdef-7".parse().unwrap();
        for (body, range, limit) in [
            (r#"{"room":"r"}"#, HistoryRange::Before(None), 100),
            (
                r#"{"room":"r","after":"abcdef-7","limit":5}"#,
                HistoryRange::After(position),
                5,
            ),
            (
                r#"{"room":"r","before":"abcdef-7"}"#,
                HistoryRange::Before(Some(position)),
                100,
            ),
        ] {
            let filter = filter(body).unwrap();
            assert_eq!((filter.range, filter.limit), (range, limit), "{body}");
        }
        for body in [
            r#"{"room":"r","after":"abcdef-7","before":"abcdef-9"}"#,
            r#"{"room":"r","after":"7"}"#,
            r#"{"room":"r","limit":0}"#,
            r#"{"room":""}"#,
        ] {
            assert!(filter(body).is_err(), "{body}");
        }
    }
}
