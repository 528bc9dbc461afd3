//! Names of channels in Redis with placeholders for a room and a namespace. Pure.

/// Stands for the name of a room.
const ROOM: &str = "{room}";
/// Stands for the name of a namespace without its first slash.
const NAMESPACE: &str = "{namespace}";

/// The name of a channel, in which placeholders can stand for a room and for a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelTemplate {
    /// The text before the first placeholder; not empty.
    prefix: String,
    placeholders: Placeholders,
    /// The text after the last placeholder.
    suffix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Placeholders {
    #[default]
    None,
    Room,
    Namespace,
    /// With the text between them.
    NamespaceThenRoom(String),
    /// With the text between them.
    RoomThenNamespace(String),
}

/// What the name of a channel stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelTarget<'a> {
    /// Without its first slash.
    pub namespace: Option<&'a str>,
    pub room: Option<&'a str>,
}

/// All names of channels with a beginning and an end, or one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelNames {
    prefix: String,
    /// `None`: the prefix is the whole name.
    suffix: Option<String>,
}

impl ChannelTemplate {
    /// Parses a name with at most one placeholder of each kind.
    ///
    /// # Errors
    /// It begins with a placeholder, has two without text between them, or contains spaces or other braces. The text
    /// stands after the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_unusable = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}');
        let rest = text.replace(ROOM, "").replace(NAMESPACE, "");
        if rest.contains(is_unusable) {
            return Err(format!(
                "`{text}` must be a name without spaces and without braces, except {ROOM} and {NAMESPACE}"
            ));
        }
        let pieces = text.replace(ROOM, " ").replace(NAMESPACE, " ");
        let pieces: Vec<&str> = pieces.split(' ').collect();
        let is_room_first = text.find(ROOM) < text.find(NAMESPACE);
        let (prefix, placeholders, suffix) = match pieces[..] {
            [name] => (name, Placeholders::None, ""),
            [prefix, suffix] if text.contains(ROOM) => (prefix, Placeholders::Room, suffix),
            [prefix, suffix] => (prefix, Placeholders::Namespace, suffix),
            [_, "", _] => {
                return Err(format!("`{text}` must have text between its placeholders"));
            }
            [prefix, between, suffix] if text.contains(ROOM) && text.contains(NAMESPACE) => {
                let placeholders = match is_room_first {
                    true => Placeholders::RoomThenNamespace(between.to_owned()),
                    false => Placeholders::NamespaceThenRoom(between.to_owned()),
                };
                (prefix, placeholders, suffix)
            }
            _ => return Err(format!("`{text}` must have each placeholder only once")),
        };
        if prefix.is_empty() {
            return Err(format!("`{text}` must begin with text, not a placeholder"));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            placeholders,
            suffix: suffix.to_owned(),
        })
    }

    /// The channels of all rooms, each `prefix` and the name of the room.
    pub fn of_rooms(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            placeholders: Placeholders::Room,
            suffix: String::new(),
        }
    }

    /// Whether a placeholder stands for the room.
    pub fn has_room(&self) -> bool {
        !matches!(
            self.placeholders,
            Placeholders::None | Placeholders::Namespace
        )
    }

    /// Whether a placeholder stands for the namespace.
    pub fn has_namespace(&self) -> bool {
        !matches!(self.placeholders, Placeholders::None | Placeholders::Room)
    }

    /// The channel of a room in a namespace; both are ignored where no placeholder stands for them. `None` if the name
    /// would stand for another room or namespace: a namespace cannot contain the text between the placeholders.
    pub fn name(&self, namespace: &str, room: &str) -> Option<String> {
        let namespace = namespace.strip_prefix('/').unwrap_or(namespace);
        let Self { prefix, suffix, .. } = self;
        let name = match &self.placeholders {
            Placeholders::None => prefix.clone(),
            Placeholders::Room => format!("{prefix}{room}{suffix}"),
            Placeholders::Namespace => format!("{prefix}{namespace}{suffix}"),
            Placeholders::NamespaceThenRoom(between) => {
                format!("{prefix}{namespace}{between}{room}{suffix}")
            }
            Placeholders::RoomThenNamespace(between) => {
                format!("{prefix}{room}{between}{namespace}{suffix}")
            }
        };
        let target = self.target(&name)?;
        let is_same = target.namespace.is_none_or(|read| read == namespace)
            && target.room.is_none_or(|read| read == room);
        is_same.then_some(name)
    }

    /// What a channel stands for; `None` if the template has no such channel.
    pub fn target<'a>(&self, channel: &'a str) -> Option<ChannelTarget<'a>> {
        let inner = channel.strip_prefix(self.prefix.as_str())?;
        let inner = inner.strip_suffix(self.suffix.as_str())?;
        let (namespace, room) = match &self.placeholders {
            Placeholders::None => {
                return inner.is_empty().then(ChannelTarget::default);
            }
            Placeholders::Room => (None, Some(inner)),
            Placeholders::Namespace => (Some(inner), None),
            // Names of rooms can contain the text between them.
            Placeholders::NamespaceThenRoom(between) => {
                let (namespace, room) = inner.split_once(between.as_str())?;
                (Some(namespace), Some(room))
            }
            Placeholders::RoomThenNamespace(between) => {
                let (room, namespace) = inner.rsplit_once(between.as_str())?;
                (Some(namespace), Some(room))
            }
        };
        let target = ChannelTarget { namespace, room };
        (room != Some("")).then_some(target)
    }

    /// The names of its channels.
    pub(super) fn names(&self) -> ChannelNames {
        match self.placeholders {
            Placeholders::None => ChannelNames::one(&self.prefix),
            _ => ChannelNames {
                prefix: self.prefix.clone(),
                suffix: Some(self.suffix.clone()),
            },
        }
    }
}

impl ChannelNames {
    /// One channel.
    pub(super) fn one(name: &str) -> Self {
        Self {
            prefix: name.to_owned(),
            suffix: None,
        }
    }

    /// All channels that begin with `prefix`.
    pub(super) fn beginning(prefix: String) -> Self {
        Self {
            prefix,
            suffix: Some(String::new()),
        }
    }

    /// Whether both contain a common channel.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let either = |a: &str, b: &str, ends: fn(&str, &str) -> bool| ends(a, b) || ends(b, a);
        match (&self.suffix, &other.suffix) {
            (None, None) => self.prefix == other.prefix,
            (None, Some(_)) => other.contains(&self.prefix),
            (Some(_), None) => self.contains(&other.prefix),
            (Some(suffix), Some(other_suffix)) => {
                either(&self.prefix, &other.prefix, |a, b| a.starts_with(b))
                    && either(suffix, other_suffix, |a, b| a.ends_with(b))
            }
        }
    }

    fn contains(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.prefix.as_str());
        let suffix = self.suffix.as_deref();
        rest.zip(suffix)
            .is_some_and(|(rest, end)| rest.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> ChannelTemplate {
        ChannelTemplate::parse(text).unwrap()
    }

    #[test]
    fn placeholders_stand_for_the_room_and_the_namespace() {
        for (text, namespace, room, name) in [
            ("events", "/a", "r", "events"),
            (
                "app-database-{room}",
                "/a",
                "private-x.1",
                "app-database-private-x.1",
            ),
            ("app:{namespace}:out", "/a:b", "r", "app:a:b:out"),
            ("app:{namespace}:{room}", "/a", "r:s", "app:a:r:s"),
            ("app:{room}@{namespace}!", "/a", "r@s", "app:r@s@a!"),
            ("app#/{namespace}#{room}", "/", "r", "app#/#r"),
        ] {
            let template = template(text);
            assert_eq!(
                template.name(namespace, room).as_deref(),
                Some(name),
                "{text}"
            );
            let target = template.target(name).unwrap();
            let expected = template.has_room().then_some(room);
            assert_eq!(target.room, expected, "{text}");
            let expected = template.has_namespace().then_some(&namespace[1..]);
            assert_eq!(target.namespace, expected, "{text}");
        }
    }

    #[test]
    fn a_namespace_with_the_text_between_the_placeholders_has_no_channel() {
        assert_eq!(template("a:{namespace}:{room}").name("/x:y", "r"), None);
        assert_eq!(template("a:{namespace}::{room}").name("/x:", "r"), None);
        assert_eq!(template("a:{room}::{namespace}").name("/:x", "r"), None);
        assert_eq!(template("a:{room}").name("/", ""), None);
    }

    #[test]
    fn other_channels_are_not_of_the_template() {
        for (text, channel) in [
            ("events", "events2"),
            ("a:{room}:z", "a:z"),
            ("a:{room}:z", "a::z"),
            ("a:{room}", "a:"),
            ("a:{namespace}:{room}", "a:x"),
            ("a:{room}", "b:x"),
        ] {
            assert_eq!(template(text).target(channel), None, "{text} {channel}");
        }
    }

    #[test]
    fn templates_that_fit_no_channels_are_rejected() {
        for (text, message) in [
            ("{room}", "must begin with text, not a placeholder"),
            ("", "must begin with text, not a placeholder"),
            (
                "a:{room}{namespace}",
                "must have text between its placeholders",
            ),
            ("a:{room}:{room}", "must have each placeholder only once"),
            (
                "a:{rooms}",
                "must be a name without spaces and without braces, except {room} and {namespace}",
            ),
            (
                "a b",
                "must be a name without spaces and without braces, except {room} and {namespace}",
            ),
        ] {
            let error = ChannelTemplate::parse(text).unwrap_err();
            assert_eq!(error, format!("`{text}` {message}"));
        }
    }

    #[test]
    fn names_overlap_if_a_channel_can_be_of_both() {
        let names = |text: &str| template(text).names();
        for (a, b, expected) in [
            ("events", "events", true),
            ("events", "event", false),
            ("events", "ev{room}s", true),
            ("eve", "eve{room}ve", false),
            ("app-{room}", "app-database-{room}", true),
            ("app-{room}", "web-{room}", false),
            ("a:{room}:x", "a:{namespace}:y", false),
            ("a:{room}:x", "a:b:{namespace}", true),
        ] {
            assert_eq!(names(a).overlaps(&names(b)), expected, "{a} {b}");
            assert_eq!(names(b).overlaps(&names(a)), expected, "{b} {a}");
        }
        assert!(
            ChannelNames::beginning("roomwire:0:".to_owned()).overlaps(&names("roomwire:{room}"))
        );
    }
}
