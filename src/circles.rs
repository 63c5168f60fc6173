//! The rooms of this crate know each other in one direction: a test that reads the source.
//!
//! A room is a module with its children. Of two siblings, one may import from the other, and not the other way
//! round, neither directly nor by way of a third. Imports of the parent's own items do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The path of a module or item from the crate's root: `["data", "encode"]`.
type Name = Vec<String>;

/// A module's file without comments and tests.
struct Module {
    name: Name,
    code: String,
}

/// All modules of the library.
fn modules() -> Vec<Module> {
    let mut modules = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &[],
        &mut modules,
    );
    modules
}

fn walk(folder: &Path, name: &[String], modules: &mut Vec<Module>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut inner = name.to_vec();
        // The binary's modules are of another crate, which no room of this one can import.
        let other = name.is_empty() && ["main", "cli", "circles"].contains(&&stem[..]);
        if other || stem == "tests" {
            continue;
        }
        if path.is_dir() {
            inner.push(stem);
            walk(&path, &inner, modules);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let is_folders_own = stem == "mod" || (name.is_empty() && stem == "lib");
            if !is_folders_own {
                inner.push(stem);
            }
            let code = bare(&fs::read_to_string(&path).unwrap());
            modules.push(Module { name: inner, code });
        }
    }
}

/// The code without its comments and without the tests at its end.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line == "#[cfg(test)]";
        let opens = |next: &&str| next.starts_with("mod ") || next.starts_with("pub(crate) mod ");
        if is_test && lines.peek().is_some_and(opens) {
            break;
        }
        bare += line.split("//").next().unwrap_or_default();
        bare.push('\n');
    }
    bare
}

/// A path in the code.
struct Import {
    path: Name,
    /// The name that a `use` gives it in its module.
    alias: Option<String>,
}

/// The paths of all `use` declarations, and those that begin with `crate`, `self` or `super` elsewhere.
fn imports(code: &str) -> Vec<Import> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
    let mut imports = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_word) {
        let text = &rest[start..];
        let end = word(text);
        let taken = match &text[..end] {
            "use" => {
                let end = text.find(';').unwrap_or(text.len());
                expand(&[], &text["use".len()..end], &mut imports);
                end
            }
            "crate" | "self" | "super" if text[end..].starts_with("::") => {
                let end = text.find(|c| !is_word(c) && c != ':');
                let end = end.unwrap_or(text.len());
                let path = text[..end].split("::").filter(|part| !part.is_empty());
                let path = path.map(str::to_owned).collect();
                imports.push(Import { path, alias: None });
                end
            }
            _ => end,
        };
        rest = &text[taken..];
    }
    imports
}

/// The paths of a tree as `use` takes it.
fn expand(before: &[String], tree: &str, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    let (path, inner) = match tree.split_once('{') {
        Some((path, inner)) => (path, inner.strip_suffix('}')),
        None => (tree, None),
    };
    let (path, alias) = match path.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias)),
        None => (path, None),
    };
    let mut name = before.to_vec();
    let parts = path.split("::").map(str::trim);
    name.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    if let Some(inner) = inner {
        let mut depth = 0;
        let parts = inner.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        parts.for_each(|part| expand(&name, part, imports));
        return;
    }
    if name.len() > 1 && name.last().is_some_and(|last| last == "self") {
        name.pop();
    }
    if let Some(last) = name.last() {
        let alias = alias.unwrap_or(last).trim().to_owned();
        imports.push(Import {
            path: name,
            alias: Some(alias),
        });
    }
}

/// What a module's paths mean.
struct Map {
    modules: BTreeSet<Name>,
    /// For each module the names that it imports, and where they are from.
    known_as: BTreeMap<Name, BTreeMap<String, Name>>,
}

impl Map {
    fn new(modules: &[Module]) -> Map {
        let mut map = Map {
            modules: modules.iter().map(|module| module.name.clone()).collect(),
            known_as: BTreeMap::new(),
        };
        for module in modules {
            let known = imports(&module.code).into_iter();
            let known = known.filter_map(|import| {
                let from = map.absolute(&module.name, &import.path)?;
                Some((import.alias?, from))
            });
            let known = known.collect();
            map.known_as.insert(module.name.clone(), known);
        }
        map
    }

    /// The path from the crate's root; `None` for one that leads to another crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Name> {
        let mut base = module.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => (base, rest) = (Vec::new(), &rest[1..]),
            "self" | "super" => {}
            child => {
                base.push(child.to_owned());
                return self
                    .modules
                    .contains(&base)
                    .then(|| [module, path].concat());
            }
        }
        while let Some(first) = rest.first() {
            match first.as_str() {
                "self" => {}
                "super" => drop(base.pop()),
                _ => break,
            }
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// Follows re-exports: of `data::Place`, the name that `data` has it by, `data::source::Place`.
    fn resolved(&self, mut name: Name) -> Name {
        const STEPS: usize = 8;
        for _ in 0..STEPS {
            let is_module = |end: &usize| self.modules.contains(&name[..*end]);
            let end = (0..=name.len()).rev().find(is_module).unwrap_or(0);
            let Some(item) = name.get(end) else { break };
            let module = &self.known_as[&name[..end]];
            let Some(from) = module.get(item).filter(|from| from[..] != name[..=end]) else {
                break;
            };
            name = [from, &name[end + 1..]].concat();
        }
        name
    }
}

/// For each folder, which of its rooms imports from which, and by what path.
fn edges() -> BTreeMap<Name, BTreeMap<String, BTreeMap<String, String>>> {
    let modules = modules();
    let map = Map::new(&modules);
    let mut folders: BTreeMap<Name, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for module in &modules {
        for import in imports(&module.code) {
            let Some(name) = map.absolute(&module.name, &import.path) else {
                continue;
            };
            let name = map.resolved(name);
            let shared = module.name.iter().zip(&name);
            let shared = shared.take_while(|(ours, theirs)| ours == theirs).count();
            let (Some(from), Some(to)) = (module.name.get(shared), name.get(shared)) else {
                continue; // one is the other's parent
            };
            if map.modules.contains(&name[..=shared]) {
                let folder = folders.entry(name[..shared].to_vec()).or_default();
                let why = format!("{} imports {}", module.name.join("::"), name.join("::"));
                let rooms = folder.entry(from.clone()).or_default();
                rooms.entry(to.clone()).or_insert(why);
            }
        }
    }
    folders
}

/// A way from `room` to itself, as a line for each import on it.
fn circle(edges: &BTreeMap<String, BTreeMap<String, String>>, room: &str) -> Option<Vec<String>> {
    let mut ways = vec![(room, Vec::new())];
    let mut seen = BTreeSet::new();
    while let Some((at, way)) = ways.pop() {
        for (to, why) in edges.get(at).into_iter().flatten() {
            let way = [&way[..], std::slice::from_ref(why)].concat();
            if to == room {
                return Some(way);
            }
            if seen.insert(to) {
                ways.push((to, way));
            }
        }
    }
    None
}

#[test]
fn no_two_rooms_know_each_other() {
    let folders = edges();
    let imports = |folder: &[&str], from: &str, to: &str| {
        let folder: Name = folder.iter().map(|part| part.to_string()).collect();
        folders[&folder][from].contains_key(to)
    };
    assert!(imports(&[], "learner", "scorer") && imports(&["gpu"], "engine", "tuner"));
    let mut circles = Vec::new();
    for (folder, rooms) in &folders {
        for room in rooms.keys() {
            let found = circle(rooms, room);
            circles
                .extend(found.map(|way| format!("src/{}: {}", folder.join("/"), way.join("; "))));
        }
    }
    assert!(
        circles.is_empty(),
        "rooms know each other:\n{}",
        circles.join("\n")
    );
}

#[test]
fn imports_are_read_as_they_are_written() {
    let code = bare(
        "use super::a::{self, B as C, d::{E, F}};\npub use self::g::H; // use crate::no;\n\
         fn f() { crate::i::j(super::super::K); let user = reuse::l; }\n\
         #[cfg(test)]\nmod tests {\n    use crate::tests_only;\n}\n",
    );
    let read = imports(&code).into_iter();
    let shown = |import: Import| {
        let alias = import
            .alias
            .map_or(String::new(), |alias| format!(" as {alias}"));
        import.path.join("::") + &alias
    };
    let read: Vec<String> = read.map(shown).collect();
    let expected = [
        "super::a as a",
        "super::a::B as C",
        "super::a::d::E as E",
        "super::a::d::F as F",
        "self::g::H as H",
        "crate::i::j",
        "super::super::K",
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_circle_of_three_is_found() {
    let mut edges: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (from, to) in [("a", "b"), ("b", "c"), ("a", "c"), ("d", "a")] {
        let rooms = edges.entry(from.to_owned()).or_default();
        rooms.insert(to.to_owned(), format!("{from}→{to}"));
    }
    assert_eq!(circle(&edges, "a"), None);
    edges
        .entry("c".to_owned())
        .or_default()
        .insert("a".to_owned(), "c→a".to_owned());
    assert_eq!(circle(&edges, "a").unwrap().last().unwrap(), "c→a");
    assert_eq!(circle(&edges, "d"), None);
}
