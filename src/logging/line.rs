//! Formats a record as one line, as text or as JSON. Pure.
//!
//! No content of a record can end a line or a field.

use std::fmt::{self, Display, Formatter, Write};

use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::Value as JsonValue;

/// The message of a record and its fields, such as `session closed sid=w7T8BPTS-V reason="ping timeout"`.
pub struct Text<'a>(pub &'a Record<'a>);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaped(f), "{}", self.0.args())?;
        let mut fields = TextFields(f);
        self.0
            .key_values()
            .visit(&mut fields)
            .map_err(|_| fmt::Error)
    }
}

struct TextFields<'a, 'b>(&'a mut Formatter<'b>);

impl<'kvs> VisitSource<'kvs> for TextFields<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        write!(self.0, " {key}=")?;
        let value = value.to_string();
        let is_plain = |c: char| !c.is_whitespace() && !needs_escape(c) && !"\"=\\".contains(c);
        if !value.is_empty() && value.chars().all(is_plain) {
            return Ok(self.0.write_str(&value)?);
        }
        self.0.write_char('"')?;
        for c in value.chars() {
            if "\"\\".contains(c) {
                self.0.write_char('\\')?;
            }
            Escaped(self.0).write_char(c)?;
        }
        Ok(self.0.write_char('"')?)
    }
}

/// Escapes characters that could end a line or control a terminal.
struct Escaped<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        if needs_escape(c) {
            write!(self.0, "{}", c.escape_default())
        } else {
            self.0.write_char(c)
        }
    }
}

/// Control characters, Unicode line separators, and characters that change the direction of text.
fn needs_escape(c: char) -> bool {
    let changes_direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || changes_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A record as an object: `time`, `level`, `target`, `message`, `node`, and its fields beside them.
pub struct Json<'a, T> {
    /// RFC 3339.
    pub time: T,
    /// The name of this node, if it is known.
    pub node: Option<&'a str>,
    pub record: &'a Record<'a>,
}

impl<T: Display> Display for Json<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { time, node, record } = self;
        let message = record.args().to_string();
        write!(
            f,
            r#"{{"time":"{time}","level":"{}","target":{},"message":{}"#,
            record.level(),
            JsonValue::from(record.target()),
            JsonValue::from(message)
        )?;
        if let Some(node) = node {
            write!(f, r#","node":{}"#, JsonValue::from(*node))?;
        }
        let mut fields = JsonFields {
            formatter: f,
            has_node: node.is_some(),
        };
        let written = record.key_values().visit(&mut fields);
        written.map_err(|_| fmt::Error)?;
        f.write_char('}')
    }
}

struct JsonFields<'a, 'b> {
    formatter: &'a mut Formatter<'b>,
    /// Whether the object has a member `node` already.
    has_node: bool,
}

impl<'kvs> VisitSource<'kvs> for JsonFields<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let key = match key.as_str() {
            "node" if self.has_node => return Ok(()),
            // Members that every object has already. Fields of libraries may have the same names.
            own @ ("time" | "level" | "target" | "message") => format!("field_{own}"),
            key => key.to_owned(),
        };
        let mut scalar = Scalar(JsonValue::Null);
        value.visit(&mut scalar)?;
        write!(self.formatter, ",{}:{}", JsonValue::from(key), scalar.0)?;
        Ok(())
    }
}

/// A value as JSON: numbers and booleans as such, everything else as a string.
struct Scalar(JsonValue);

impl<'v> VisitValue<'v> for Scalar {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;
    use log::kv::{Source, ToValue};
    use proptest::prelude::*;

    use super::*;

    /// Both formats of a warning with these fields.
    fn lines(message: &str, fields: &dyn Source) -> (String, String) {
        let args = format_args!("{message}");
        let mut builder = Record::builder();
        let record = builder
            .level(Level::Warn)
            .target("roomwire::test")
            .key_values(&fields);
        let record = record.args(args).build();
        let json = Json {
            time: "2026-01-02T03:04:05.678Z",
            node: Some("ab12"),
            record: &record,
        };
        (Text(&record).to_string(), json.to_string())
    }

    #[test]
    fn fields_follow_the_message() {
        let fields: [(&str, &dyn ToValue); 6] = [
            ("sid", &"w7T8BPTS-V"),
            ("reason", &"ping timeout"),
            ("seconds", &612.4),
            ("code", &4),
            ("last", &true),
            ("empty", &""),
        ];
        let fields: Vec<(&str, Value<'_>)> = fields
            .iter()
            .map(|(key, value)| (*key, value.to_value()))
            .collect();
        let (text, json) = lines("session closed", &fields);
        assert_eq!(
            text,
            r#"session closed sid=w7T8BPTS-V reason="ping timeout" seconds=612.4 code=4 last=true empty="""#
        );
        assert_eq!(
            json,
            concat!(
                r#"{"time":"2026-01-02T03:04:05.678Z","level":"WARN","target":"roomwire::test","#,
                r#""message":"session closed","node":"ab12","sid":"w7T8BPTS-V","reason":"ping timeout","#,
                r#""seconds":612.4,"code":4,"last":true,"empty":""}"#
            )
        );
    }

    #[test]
    fn fields_do_not_replace_members_of_the_object() {
        let fields = [("message", "x"), ("node", "cd34")];
        let (_, json) = lines("m", &fields);
        assert!(
            json.ends_with(r#""message":"m","node":"ab12","field_message":"x"}"#),
            "{json}"
        );
    }

    /// Undoes the quoting of a text field.
    fn unquoted(value: &str) -> String {
        let inner = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let Some(inner) = inner else {
            return value.to_owned();
        };
        let mut plain = String::new();
        let mut rest = inner.chars();
        while let Some(c) = rest.next() {
            let escaped = if c == '\\' { rest.next() } else { None };
            match escaped {
                None => plain.push(c),
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some('u') => {
                    let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).unwrap();
                    plain.push(char::from_u32(code).unwrap());
                }
                Some(quoted) => plain.push(quoted),
            }
        }
        plain
    }

    fn hostile_text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            Just("\n".to_owned()),
            Just("\r\n[2026-01-01T00:00:00Z ERROR roomwire] forged sid=1".to_owned()),
            Just("\" reason=\"forged".to_owned()),
            Just("\"}\n{\"level\":\"ERROR\"".to_owned()),
            Just("\u{1b}[2J\u{7f}\u{85}\u{2028}\u{202e}\\".to_owned()),
            any::<String>(),
        ];
        proptest::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_value_can_forge_a_line_or_a_field(value in hostile_text(), message in hostile_text()) {
            let fields = [("reason", value.as_str()), ("code", "7")];
            let (text, json) = lines("m", &fields);
            prop_assert!(!text.chars().any(needs_escape), "{text:?}");
            let field = text.strip_prefix("m reason=").and_then(|rest| rest.strip_suffix(" code=7"));
            prop_assert_eq!(unquoted(field.unwrap()), value.as_str());
            prop_assert!(!json.contains(['\n', '\r']));
            let object: JsonValue = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(object["reason"].as_str(), Some(value.as_str()));
            prop_assert_eq!(object["level"].as_str(), Some("WARN"));

            let (text, json) = lines(&message, &[("code", "7")]);
            prop_assert!(!text.chars().any(needs_escape), "{text:?}");
            let object: JsonValue = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(object["message"].as_str(), Some(message.as_str()));
        }
    }
}
