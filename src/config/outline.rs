//! The line of each key in a TOML text, for the origins of problems.
//!
//! Purely lexical; `toml` parses the values. Keys inside an inline table have no line of their own.

/// A key or a table header of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Full path: `engine.path`, `app.relay.rooms[0].join`; of a header, the path of its table.
    pub(super) path: String,
    /// Line, from 1.
    pub(super) line: usize,
    /// Whether it is a table header.
    pub(super) is_table: bool,
}

/// All keys and table headers of `text`, in order.
pub(super) fn outline(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut value = ValueScanner::default();
    for (index, raw) in text.lines().enumerate() {
        if value.is_open() {
            value.scan(raw);
            continue;
        }
        let line = raw.trim();
        if line.starts_with('#') {
            continue;
        }
        let entry = |path: String, is_table| Entry {
            path,
            line: index + 1,
            is_table,
        };
        if line.starts_with('[') {
            table = table_path(line, &entries);
            entries.push(entry(table.clone(), true));
        } else if let Some((key, rest)) = line.split_once('=') {
            let key = plain_path(key);
            let path = if table.is_empty() {
                key
            } else {
                format!("{table}.{key}")
            };
            entries.push(entry(path, false));
            value.scan(rest);
        }
    }
    entries
}

/// The line of `path` (of its first entry, if it is a list of tables), or else of the innermost table around it.
pub(super) fn line_of(entries: &[Entry], path: &str) -> Option<usize> {
    let first = format!("{path}[0]");
    let found = entries
        .iter()
        .find(|entry| entry.path == path || entry.path == first);
    let parent = path.rfind(['.', '[']).and_then(|end| path.get(..end));
    let of_parent = || parent.and_then(|parent| line_of(entries, parent));
    found.map(|entry| entry.line).or_else(of_parent)
}

/// `[a.b]` is `a.b`; the nth `[[a.b]]` is `a.b[n]`.
fn table_path(line: &str, earlier: &[Entry]) -> String {
    let header = line.split('#').next().unwrap_or(line).trim();
    let path = plain_path(header.trim_matches(['[', ']']));
    if !header.starts_with("[[") {
        return path;
    }
    let is_sibling = |entry: &&Entry| {
        let index = entry
            .path
            .strip_prefix(&path)
            .and_then(|rest| rest.strip_prefix('['));
        entry.is_table && index.is_some_and(|rest| rest.find(']') == Some(rest.len() - 1))
    };
    format!("{path}[{}]", earlier.iter().filter(is_sibling).count())
}

/// A dotted key without quotes and spaces.
fn plain_path(key: &str) -> String {
    let part = |part: &str| part.trim().trim_matches(['"', '\'']).to_owned();
    key.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Scans a value that can span several lines: an array, or text in triple quotes.
#[derive(Default)]
struct ValueScanner {
    depth: usize,
    triple_quote: Option<&'static str>,
}

impl ValueScanner {
    fn is_open(&self) -> bool {
        self.depth > 0 || self.triple_quote.is_some()
    }

    fn scan(&mut self, line: &str) {
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            let consumed = match (self.triple_quote, character) {
                (Some(quote), _) if rest.starts_with(quote) => {
                    self.triple_quote = None;
                    quote.len()
                }
                (Some("\"\"\""), '\\') => escape_length(rest),
                (Some(_), _) => character.len_utf8(),
                (None, '#') => return,
                (None, '"' | '\'') => self.quoted(rest),
                (None, _) => {
                    self.depth = match character {
                        '[' | '{' => self.depth + 1,
                        ']' | '}' => self.depth.saturating_sub(1),
                        _ => self.depth,
                    };
                    character.len_utf8()
                }
            };
            rest = rest.get(consumed..).unwrap_or_default();
        }
    }

    /// Opens a triple quote, or skips a text that ends on this line. Returns the number of bytes consumed.
    fn quoted(&mut self, rest: &str) -> usize {
        for quote in ["\"\"\"", "'''"] {
            if rest.starts_with(quote) {
                self.triple_quote = Some(quote);
                return quote.len();
            }
        }
        let (quote, escapes) = if rest.starts_with('"') {
            ('"', true)
        } else {
            ('\'', false)
        };
        let mut at = 1;
        while let Some(character) = rest.get(at..).and_then(|tail| tail.chars().next()) {
            if character == quote {
                return at + 1;
            }
            at += if escapes && character == '\\' {
                escape_length(&rest[at..])
            } else {
                character.len_utf8()
            };
        }
        rest.len()
    }
}

/// Bytes of a backslash and the character after it.
fn escape_length(rest: &str) -> usize {
    1 + rest.chars().nth(1).map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<(String, usize)> {
        outline(text)
            .into_iter()
            .map(|entry| (entry.path, entry.line))
            .collect()
    }

    #[test]
    fn every_key_has_its_line() {
        let text = "top = 1\n\n[a]\nb = [\n  \"x]\", # c = 1\n]\nc = \"\"\"\nd = 1\n\\\"\"\" \"\"\"\n[a.e] # note\n\"f\".g = 'q'\n[[r]]\nx = 1\n[[r]]\nx = 2\n";
        let expected = [
            ("top", 1),
            ("a", 3),
            ("a.b", 4),
            ("a.c", 7),
            ("a.e", 10),
            ("a.e.f.g", 11),
            ("r[0]", 12),
            ("r[0].x", 13),
            ("r[1]", 14),
            ("r[1].x", 15),
        ];
        let expected: Vec<(String, usize)> = expected
            .into_iter()
            .map(|(path, line)| (path.to_owned(), line))
            .collect();
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn comments_are_skipped() {
        let expected = [("a".to_owned(), 5), ("b".to_owned(), 6)];
        assert_eq!(
            paths("# head\n\n# one = 1\n#  two\na = 1\nb = 2\n"),
            expected
        );
    }

    #[test]
    fn keys_of_inline_tables_have_the_line_of_the_table() {
        let entries = outline("[app]\nrelay = { join = \"x\" }\n");
        assert_eq!(line_of(&entries, "app.relay.join"), Some(2));
        assert_eq!(line_of(&entries, "other"), None);
    }

    #[test]
    fn invalid_text_is_accepted_without_panic() {
        for text in [
            "[",
            "a = \"",
            "a = \"\\",
            "= 1",
            "[[",
            "'",
            "a = '''\\",
            "[]\n[[]]\n[[]]",
        ] {
            outline(text);
        }
    }
}
