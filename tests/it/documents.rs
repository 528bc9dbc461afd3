//! The documents: anchors that are cited exist, and text wraps at one width.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Characters of a line of text. Tables, code and pictures may be wider.
const WIDTH: usize = 100;

/// Generated, or a licence.
const ANY_WIDTH: &[&str] = &["docs/configuration.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a path of the repository with one of the extensions, without what is built or installed there.
fn files(path: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let start = root().join(path);
    if start.is_file() {
        return vec![start];
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&start).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if [
            "target",
            "node_modules",
            "out",
            ".venv",
            "corpus",
            "artifacts",
        ]
        .contains(&name)
        {
            continue;
        }
        if path.is_dir() {
            found.extend(files(path.to_str().unwrap(), extensions));
        } else if extensions.iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let named = [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ];
    let named = named.into_iter().chain(["docs", "bench"]);
    named.flat_map(|path| files(path, &[".md"])).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// The anchors that Markdown viewers give the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|(_, line)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then_some(heading.strip_prefix(' ')?)
    });
    let anchors = headings.map(|heading| {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    });
    anchors.collect()
}

/// Citations, as path and anchor; the path is empty in links within a document.
fn cited(text: &str) -> Vec<(String, String)> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_anchor = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let citations = text.match_indices('#').filter_map(|(at, _)| {
        let before = &text[..at];
        let path = &before[before.trim_end_matches(is_path).len()..];
        let rest = &text[at + 1..];
        let anchor = &rest[..rest.find(|c| !is_anchor(c)).unwrap_or(rest.len())];
        let is_own = path.is_empty() && before.ends_with("](");
        let is_citation = !anchor.is_empty() && (is_own || path.ends_with(".md"));
        is_citation.then(|| (path.to_owned(), anchor.to_owned()))
    });
    citations.collect()
}

#[test]
fn every_cited_anchor_exists() {
    let sources = [
        "src",
        "tests/it",
        "tests/clients",
        "config",
        "deploy",
        "scripts",
        "bench",
    ];
    let extensions = [
        ".rs", ".md", ".toml", ".yaml", ".cfg", ".conf", ".json", ".mjs", ".py",
    ];
    let texts = sources.iter().flat_map(|path| files(path, &extensions));
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in texts
        .chain(documents())
        .chain([root().join("ARCHITECTURE.md")])
    {
        let text = std::fs::read_to_string(&file).unwrap();
        for (path, anchor) in cited(&text) {
            // Relative to the citing file, to the root, as comments cite, or to `docs`, as texts that end up there.
            let near = file.parent().unwrap().join(&path);
            let places = [near, root().join(&path), root().join("docs").join(&path)];
            let target = match path.as_str() {
                "" => Some(&file),
                _ => places.iter().find(|place| place.is_file()),
            };
            count += 1;
            let document = target.map(|target| std::fs::read_to_string(target).unwrap());
            if !document.is_some_and(|document| anchors(&document).contains(&anchor)) {
                wrong.push(format!("{}: {path}#{anchor}", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 50, "{count} citations were found");
}

#[test]
fn every_linked_file_exists() {
    let mut wrong = Vec::new();
    for file in documents() {
        let text = std::fs::read_to_string(&file).unwrap();
        for (_, line) in prose(&text) {
            for link in line.split("](").skip(1) {
                let target = link.split([')', '#']).next().unwrap();
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                if !file.parent().unwrap().join(target).exists() {
                    wrong.push(format!("{}: {target}", shown(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn text_wraps_at_one_width() {
    let mut long = Vec::new();
    for file in documents() {
        if ANY_WIDTH.contains(&shown(&file).as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in prose(&text) {
            let is_text = !["|", "    ", "![", "#", "<"]
                .iter()
                .any(|start| line.starts_with(start));
            if is_text && line.chars().count() > WIDTH {
                long.push(format!("{}:{number}", shown(&file)));
            }
        }
    }
    assert!(long.is_empty(), "over {WIDTH} characters: {long:#?}");
}

#[test]
fn each_decision_has_a_unique_number() {
    let mut numbers = BTreeSet::new();
    for file in files("docs/adr", &[".md"]) {
        let name = shown(&file);
        let number = file.file_name().unwrap().to_str().unwrap()[..4].to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let heading = format!("# {}. ", number.trim_start_matches('0'));
        assert!(text.starts_with(&heading), "{name}: {heading}");
        assert!(
            numbers.insert(number),
            "{name}: another decision has this number"
        );
    }
}
