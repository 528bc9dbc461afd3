//! Words that stand for nothing in this field, and what is written instead.
//!
//! Every name, comment, log line and document uses one word for one thing. A word below was used once for a standard
//! part, or lets a program speak; each has a plain name by now.

use std::path::Path;

/// A word, in any case, and what to write. A `*` at its end matches any further letters.
const REPLACED: &[(&str, &str)] = &[
    ("leg", "upstream connection"),
    ("legs", "upstream connections"),
    ("ear", "listener"),
    ("doorway", "handle"),
    ("unasked", "effect"),
    ("unheard", "discarded"),
    ("verdict*", "token status"),
    ("deeds", "statistics"),
    ("sum_up", "log_summary"),
    ("surroundings", "context"),
    ("unwant", "unsubscribe"),
    ("rooms_wanted", "subscriptions"),
    ("neighbours", "diagnostics"),
    ("sniff*", "probe"),
    ("kin", "of the same cluster"),
    ("is_kin", "is_same_cluster"),
    ("hearer*", "receiver"),
    ("hears", "receives"),
    ("tells", "notifies, reports"),
    ("says", "states, sends"),
    ("farewell*", "last packets"),
    ("goodbye", "close"),
    ("give_up", "abandon, expire"),
    ("byhand", "RawClient"),
    ("refus*", "reject*"),
    ("(protocol notes", "docs/protocol.md#..."),
];

/// The error of the operating system, which has its own word for it.
const EXEMPT: [&str; 2] = ["connection refused", "connection_refused"];

/// Whether `text` at `start..end` is a word of its own; `_` separates words as well.
fn is_word(text: &str, start: usize, end: usize, open: bool) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    !letter(text[..start].chars().next_back()) && (open || !letter(text[end..].chars().next()))
}

fn holds(line: &str, pattern: &str) -> bool {
    let open = pattern.ends_with('*');
    let word = pattern.trim_end_matches('*');
    line.match_indices(word)
        .any(|(start, _)| is_word(line, start, start + word.len(), open))
}

/// Source files, documents and what operators deploy; of the changelog only what is not about former names.
fn repository_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["src", "tests/it", "docs", "deploy", "config"]
        .map(|name| root.join(name))
        .into();
    let mut files = Vec::new();
    let texts = [
        "rs", "md", "toml", "yaml", "yml", "json", "js", "html", "cfg", "conf",
    ];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| texts.iter().any(|text| end == *text))
                && !path.ends_with("architecture/words.rs")
            {
                files.push(path);
            }
        }
    }
    files.extend(
        [
            "README.md",
            "ARCHITECTURE.md",
            "SECURITY.md",
            "CONTRIBUTING.md",
        ]
        .map(|name| root.join(name)),
    );
    let named = |path: &std::path::PathBuf| path.strip_prefix(root).unwrap().display().to_string();
    files
        .iter()
        .map(|path| (named(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn names_and_sentences_use_the_words_of_the_field() {
    let files = repository_files();
    assert!(files.len() > 300, "{} files were found", files.len());
    let mut found = Vec::new();
    for (path, text) in &files {
        for (number, line) in text.lines().enumerate() {
            let mut line = line.to_lowercase();
            for phrase in EXEMPT {
                line = line.replace(phrase, "");
            }
            for (word, instead) in REPLACED {
                if holds(&line, word) {
                    found.push(format!("{path}:{}: {word} -> {instead}", number + 1));
                }
            }
        }
    }
    for line in &found {
        eprintln!("{line}");
    }
    assert!(found.is_empty(), "{} words, see above", found.len());
}
