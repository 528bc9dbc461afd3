//! One name for one thing: no type name is given twice.

use std::collections::BTreeMap;

use syn::visit::Visit;

use super::programs;

/// Names whose meaning is that of their module: `Error`, `State` and the like, and parts that traits name.
const RELATIVE: &[&str] = &[
    "Batch",
    "Config",
    "Connection",
    "Context",
    "DecodeError",
    "Entry",
    "Error",
    "Event",
    "Kind",
    "Member",
    "Options",
    "Packet",
    "Parts",
    "Reader",
    "Settings",
    "Shared",
    "State",
];

#[derive(Default)]
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Struct(item) => self.0.push(item.ident.to_string()),
            syn::Item::Enum(item) => self.0.push(item.ident.to_string()),
            syn::Item::Trait(item) => self.0.push(item.ident.to_string()),
            // Test modules name their own helpers.
            syn::Item::Mod(_) => {}
            _ => syn::visit::visit_item(self, item),
        }
    }
}

#[test]
fn no_type_name_stands_for_two_things() {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in programs() {
        let mut types = Types::default();
        types.visit_file(&syn::parse_file(&source.text).unwrap());
        for name in types.0 {
            files.entry(name).or_default().push(source.path.clone());
        }
    }
    assert!(files.len() > 400, "types are read: {}", files.len());
    files.retain(|name, files| files.len() > 1 && !RELATIVE.contains(&name.as_str()));
    for (name, files) in &files {
        eprintln!("{name}: {}", files.join(", "));
    }
    assert!(files.is_empty(), "{} names, see above", files.len());
}
