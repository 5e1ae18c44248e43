//! Who may import whom.
//!
//! The map in `src/lib.rs` is the rule: floors from the bottom up, and on each floor the modules in order.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// On these floors a module knows none of its neighbours; on the others, those listed before it.
const STRANGERS: [usize; 2] = [1, 3];

/// Which modules may name a library.
const DOORS: [(&str, &[&str]); 9] = [
    ("rumqttd", &["broker"]),
    ("rumqttc", &["broker", "simulator"]),
    ("rustix", &["open_files"]),
    ("heap", &["memory"]),
    ("sea_orm", &["store"]),
    ("sea_orm_migration", &["store"]),
    ("sea_query", &["store"]),
    ("entity", &["store"]),
    ("migration", &["store"]),
];

#[test]
fn a_module_imports_only_from_below() {
    let map = Map::read();
    let mut wrong = Vec::new();
    for Source { path, module, code } in sources() {
        for named in paths_from("crate", &code) {
            // What `crate::` names beside modules are macros.
            if map.knows(&named) && !map.allows(&module, &named) {
                wrong.push(format!("{}: {module} must not import {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_on_the_map() {
    let map = Map::read();
    let missing: BTreeSet<String> =
        sources().into_iter().map(|source| source.module).filter(|module| !map.knows(module)).collect();
    assert!(missing.is_empty(), "{missing:?} stand on no floor of src/lib.rs");
}

#[test]
fn only_a_door_names_its_library() {
    let mut wrong = Vec::new();
    for Source { path, module, code } in sources() {
        for (library, doors) in DOORS {
            if !paths_from(library, &code).is_empty() && !doors.contains(&module.as_str()) {
                wrong.push(format!("{}: only {doors:?} may name {library}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_is_obeyed_as_it_is_written() {
    let map = Map::of(
        "// Floor 0, a\npub mod low;\npub mod mid; // why\n// Floor 1, b\npub mod one;\npub mod two;",
    );
    assert!(map.allows("mid", "low") && map.allows("two", "mid") && map.allows("one", "one"));
    assert!(!map.allows("low", "mid") && !map.allows("two", "one") && !map.allows("low", "one"));
}

#[test]
fn paths_are_found_in_every_spelling() {
    let code = "use crate::{\n    hub::{Hub, Tail}, store,\n    model,\n};\nfn f() -> crate::error::Error { xcrate::no::N }";
    let found: Vec<String> = paths_from("crate", code).into_iter().collect();
    assert_eq!(found, ["error", "hub", "model", "store"]);
    assert_eq!(without_comments("a // crate::hub\nb"), "a \nb\n");
}

/// The floors of `src/lib.rs`, from the bottom up.
struct Map(Vec<Vec<String>>);

impl Map {
    fn read() -> Map {
        Map::of(&fs::read_to_string(root().join("src/lib.rs")).unwrap())
    }

    fn of(lib: &str) -> Map {
        let mut floors: Vec<Vec<String>> = Vec::new();
        for line in lib.lines() {
            if line.starts_with("// Floor ") {
                floors.push(Vec::new());
            }
            if let Some((module, _)) = line.strip_prefix("pub mod ").and_then(|rest| rest.split_once(';')) {
                floors.last_mut().expect("each module stands on a floor").push(module.to_owned());
            }
        }
        Map(floors)
    }

    fn knows(&self, module: &str) -> bool {
        self.place(module).is_some()
    }

    fn allows(&self, importer: &str, imported: &str) -> bool {
        let (Some((floor, place)), Some((below, before))) = (self.place(importer), self.place(imported))
        else {
            return false;
        };
        importer == imported
            || below < floor
            || (below == floor && before < place && !STRANGERS.contains(&floor))
    }

    fn place(&self, module: &str) -> Option<(usize, usize)> {
        self.0.iter().enumerate().find_map(|(floor, modules)| {
            let place = modules.iter().position(|one| one == module)?;
            Some((floor, place))
        })
    }
}

struct Source {
    path: PathBuf,
    /// The first level: `broker` for `src/broker/front/codec.rs`.
    module: String,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the library but the map itself.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&src).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.trim_end_matches(".rs").to_owned();
                let code = without_comments(&fs::read_to_string(&path).unwrap());
                sources.push(Source { path, module, code });
            }
        }
    }
    sources.retain(|source| !matches!(source.module.as_str(), "lib" | "main"));
    assert!(sources.len() > 1, "src/ is read");
    sources
}

fn without_comments(code: &str) -> String {
    code.lines().map(|line| format!("{}\n", line.split("//").next().unwrap_or_default())).collect()
}

/// The first names after `start::` in `code`, also those of a `start::{…}` group.
fn paths_from(start: &str, code: &str) -> BTreeSet<String> {
    let start = format!("{start}::");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(&start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':')) {
            continue;
        }
        let rest = code[at + start.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.extend(Some(name_at(rest))),
        }
    }
    names
}

/// The first name of each item, up to the brace that closes the group.
fn group_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![name_at(group)];
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn name_at(code: &str) -> String {
    code.trim_start().chars().take_while(|sign| sign.is_alphanumeric() || *sign == '_').collect()
}
