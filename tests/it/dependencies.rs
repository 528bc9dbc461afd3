//! Every direct dependency of every manifest is used by the sources of its package.
//!
//! An unused dependency costs compile time and security updates.

use std::path::Path;

/// The manifests of the repository, each with the folders that its dependencies may be used in.
const MANIFESTS: &[(&str, &[&str])] = &[
    ("Cargo.toml", &["src", "tests/it"]),
    ("bench/loadgen/Cargo.toml", &["bench/loadgen/src"]),
    (
        "bench/peers/socketioxide/Cargo.toml",
        &["bench/peers/socketioxide/src"],
    ),
    ("fuzz/Cargo.toml", &["fuzz/fuzz_targets"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names under `[dependencies]` and `[dev-dependencies]`, one per line as this repository writes them.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut listed = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            listed = ["[dependencies]", "[dev-dependencies]"].contains(&line);
        } else if let (true, Some((name, _))) = (listed, line.split_once(" = ")) {
            names.push(name);
        }
    }
    names
}

/// The code below a folder, line by line, without comments.
fn code(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lines.extend(code(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            lines.extend(code.map(str::to_owned));
        }
    }
    lines
}

/// Whether a line of code contains the path of the crate: `name::`, `use name;` or `use name as`.
fn uses(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = &line[start + name.len()..];
        let separate = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let imported = line[..start].trim_end().ends_with("use");
        separate
            && (after.starts_with("::")
                || imported && [";", " as "].iter().any(|end| after.starts_with(end)))
    })
}

#[test]
fn every_direct_dependency_is_used_by_its_package() {
    let mut unused = Vec::new();
    for (manifest, folders) in MANIFESTS {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        let lines: Vec<String> = folders
            .iter()
            .flat_map(|folder| code(&root().join(folder)))
            .collect();
        let names = dependencies(&text);
        assert!(!names.is_empty(), "{manifest} has dependencies");
        for dependency in names {
            let name = dependency.replace('-', "_");
            if !lines.iter().any(|line| uses(line, &name)) {
                unused.push(format!("{manifest}: {dependency}"));
            }
        }
    }
    assert!(unused.is_empty(), "no source uses {unused:#?}");
}
