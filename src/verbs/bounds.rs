//! What a request is checked against.

use super::name::Name;
use super::problem::{Code, VerbError};
use crate::model::{Namespace, Room, SocketId};

/// Longest name of a room, user, namespace or token, in bytes.
pub const MAX_NAME: usize = 255;
/// Maximum number of names in one list of a request.
pub const MAX_NAMES: usize = 1000;

/// What requests are checked against.
#[derive(Clone, Copy)]
pub struct CheckRules<'a> {
    /// `socket.max_depth`: levels of JSON in an event.
    pub max_depth: usize,
    /// The room of all sockets of a user.
    pub user_room: &'a dyn Fn(&str) -> Room,
    /// The socket to which a request without a target applies, such as an action in the answer of a webhook; `None` if
    /// a request must name its target.
    pub own_socket: Option<OwnSocket<'a>>,
}

/// The socket to which a request applies if it names neither a target nor a namespace.
#[derive(Clone, Copy)]
pub struct OwnSocket<'a> {
    pub id: SocketId,
    pub namespace: &'a Namespace,
}

impl CheckRules<'_> {
    /// The namespace of a request: the one it names, or that of the own socket, or `/`.
    pub(super) fn namespace(&self, name: Option<&Name<'_>>) -> Result<Namespace, VerbError> {
        match (name, self.own_socket) {
            (None, Some(own)) => Ok(own.namespace.clone()),
            _ => namespace(name),
        }
    }
}

/// Checks a name that must not be empty.
pub(super) fn checked<'n>(name: &'n Name<'_>, field: &str) -> Result<&'n str, VerbError> {
    match name.len() {
        0 => Err(VerbError::new(
            Code::InvalidName,
            format!("`{field}` contains an empty name"),
        )),
        1..=MAX_NAME => Ok(name),
        length => Err(VerbError::new(
            Code::InvalidName,
            format!("a name in `{field}` has {length} bytes, at most {MAX_NAME} are allowed"),
        )),
    }
}

/// Checks the length of a list of names.
pub(super) fn checked_list<'n, 'a>(
    names: &'n [Name<'a>],
    field: &str,
) -> Result<&'n [Name<'a>], VerbError> {
    if names.len() > MAX_NAMES {
        let message = format!(
            "`{field}` has {} names, at most {MAX_NAMES} are allowed",
            names.len()
        );
        return Err(VerbError::new(Code::TooManyNames, message));
    }
    Ok(names)
}

/// The rooms with these names.
pub(super) fn rooms<C: FromIterator<Room>>(
    names: &[Name<'_>],
    field: &str,
) -> Result<C, VerbError> {
    let names = checked_list(names, field)?.iter();
    names
        .map(|name| checked(name, field).map(Room::from))
        .collect()
}

/// The socket with this id.
pub(super) fn socket(id: &Name<'_>, field: &str) -> Result<SocketId, VerbError> {
    SocketId::parse(id).ok_or_else(|| {
        let shown: String = id.chars().take(40).collect();
        let message = format!("`{shown}` in `{field}` is not the id of a socket");
        VerbError::new(Code::InvalidSocket, message)
    })
}

/// The namespace of a request; `/` if it names none.
pub(super) fn namespace(name: Option<&Name<'_>>) -> Result<Namespace, VerbError> {
    let Some(name) = name else {
        return Ok(Namespace::main());
    };
    let text = checked(name, "namespace")?;
    if text == "/" {
        return Ok(Namespace::main());
    }
    // In a packet, a comma ends the name; in a CONNECT of old clients, a question mark does.
    if !text.starts_with('/') || text.contains([',', '?']) {
        let message =
            format!("`{text}` is not a namespace: it begins with `/` and has no `,` or `?`");
        return Err(VerbError::new(Code::InvalidNamespace, message));
    }
    Ok(Namespace::from(text))
}
