//! Imports between files: none of them may lead back to where it started.
//!
//! A name is followed through `pub use` to the file that defines it, so that a `mod.rs` which only re-exports is no
//! part of a circle. A module and the files below it are one unit where the upper one owns a type and the lower ones
//! carry parts of its implementation: imports between a file and its ancestors are not followed.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::Visit;
use syn::{Item, UseTree, Visibility};

use super::{Source, programs};

/// Segments of a module path below the crate; empty for the root.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    file: String,
    /// Names of the items that the file defines.
    defined: BTreeSet<String>,
    /// What each imported or re-exported name stands for, as written.
    uses: BTreeMap<String, Vec<String>>,
    /// Modules whose names are imported altogether.
    globs: Vec<Vec<String>>,
    /// Paths with more than one segment in the code.
    paths: BTreeSet<Vec<String>>,
}

/// The path of the module in `file`, as `bus/redis/mod.rs` or `bus/redis.rs` -> `[bus, redis]`.
fn module_path(file: &str) -> ModulePath {
    let stem = file.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if matches!(stem, "lib" | "main") {
        return Vec::new();
    }
    stem.split('/').map(str::to_owned).collect()
}

struct Reader<'a>(&'a mut Module);

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(item) {
            return;
        }
        if let Some(name) = name_of(item) {
            self.0.defined.insert(name);
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        debug_assert!(!matches!(item.vis, Visibility::Public(_)) || item.leading_colon.is_none());
        self.read_use(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.0.paths.insert(segments);
        }
        syn::visit::visit_path(self, path);
    }
}

impl Reader<'_> {
    fn read_use(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.read_use(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Name(name) => {
                let full = extended(prefix, &name.ident.to_string());
                let bound = full.last().cloned().unwrap_or_default();
                self.0.uses.insert(bound, full);
            }
            UseTree::Rename(rename) => {
                let full = extended(prefix, &rename.ident.to_string());
                self.0.uses.insert(rename.rename.to_string(), full);
            }
            UseTree::Glob(_) => self.0.globs.push(prefix.clone()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, prefix);
                }
            }
        }
    }
}

fn extended(prefix: &[String], name: &str) -> Vec<String> {
    let mut full = prefix.to_vec();
    // `use a::b::{self}` binds `b`.
    if name != "self" {
        full.push(name.to_owned());
    }
    full
}

fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(item: &Item) -> bool {
    attributes(item).iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|name| name == "test")
    })
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}

struct Crate(BTreeMap<ModulePath, Module>);

impl Crate {
    fn read(sources: impl Iterator<Item = Source>) -> Self {
        let mut modules = BTreeMap::new();
        for source in sources.filter(|source| source.path != "main.rs") {
            let mut module = Module {
                file: source.path.clone(),
                ..Module::default()
            };
            let parsed = syn::parse_file(&source.text)
                .unwrap_or_else(|error| panic!("{}: {error}", source.path));
            Reader(&mut module).visit_file(&parsed);
            modules.insert(module_path(&source.path), module);
        }
        Self(modules)
    }

    /// `path`, written in the module at `from`, from the root of the crate; `None` for a path of another crate.
    fn absolute(&self, from: &[String], path: &[String], depth: usize) -> Option<ModulePath> {
        let first = path.first()?.as_str();
        let (mut base, rest) = match first {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => (from[..from.len().checked_sub(1)?].to_vec(), &path[1..]),
            name => {
                let child = extended(from, name);
                if self.0.contains_key(&child) {
                    (from.to_vec(), path)
                } else {
                    let bound = self.0.get(from)?.uses.get(name)?;
                    if depth == 0 || bound == path {
                        return None;
                    }
                    (self.absolute(from, bound, depth - 1)?, &path[1..])
                }
            }
        };
        for name in rest {
            if name == "super" {
                base.pop();
            } else {
                base.push(name.clone());
            }
        }
        Some(base)
    }

    /// The file that defines what the absolute `path` names.
    fn definer(&self, path: &[String], depth: usize) -> Option<&str> {
        let length = (0..=path.len())
            .rev()
            .find(|&length| self.0.contains_key(&path[..length]))?;
        let (module, rest) = (&path[..length], &path[length..]);
        let entry = &self.0[module];
        // A module by itself: what is taken from it is named elsewhere.
        let name = rest.first()?;
        if entry.defined.contains(name) || depth == 0 {
            return Some(&entry.file);
        }
        if let Some(bound) = entry.uses.get(name) {
            return self.definer(&self.absolute(module, bound, 4)?, depth - 1);
        }
        entry.globs.iter().find_map(|glob| {
            let mut full = self.absolute(module, glob, 4)?;
            full.push(name.clone());
            self.definer(&full, depth - 1)
        })
    }

    /// Every file and the files it takes names from, its ancestors and descendants left out.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut imports = BTreeMap::new();
        for (path, module) in &self.0 {
            let written = module.uses.values().chain(&module.paths);
            let files: BTreeSet<&str> = written
                .filter_map(|written| self.definer(&self.absolute(path, written, 4)?, 4))
                .filter(|file| !is_family(path, &module_path(file)))
                .collect();
            imports.insert(module.file.as_str(), files);
        }
        imports
    }
}

fn is_family(one: &[String], other: &[String]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The files that can be reached from `start`.
fn reachable<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = imports[start].iter().copied().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(&imports[file]);
        }
    }
    reached
}

#[test]
fn no_imports_between_files_form_a_circle() {
    let sources = Crate::read(programs());
    let imports = sources.imports();
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(edges > 500, "imports are read: {edges}");
    let reached: BTreeMap<_, _> = imports
        .keys()
        .map(|file| (*file, reachable(&imports, file)))
        .collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(file) {
            let circle = others
                .iter()
                .filter(|other| reached[**other].contains(file));
            circles.insert(circle.copied().collect::<Vec<_>>());
        }
    }
    for circle in &circles {
        for file in circle {
            let within: Vec<_> = imports[file]
                .iter()
                .filter(|other| circle.contains(other))
                .collect();
            eprintln!("{file} -> {within:?}");
        }
        eprintln!();
    }
    assert!(circles.is_empty(), "{} circles, see above", circles.len());
}
