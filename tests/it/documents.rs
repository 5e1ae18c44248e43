//! What the documents say is what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use crosslink::config::SETTINGS;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = read("README.md");
    for setting in SETTINGS {
        let start = format!("| `--{}", setting.name);
        let line = readme
            .lines()
            .find(|line| line.strip_prefix(&start).is_some_and(|rest| rest.starts_with(['`', ' '])));
        let line = line.unwrap_or_else(|| panic!("README.md has no row for --{}", setting.name));
        if let Some(default) = setting.default {
            assert!(line.contains(&format!("`{default}`")), "{line} does not say {default}");
        }
    }
}

#[test]
fn the_readme_lists_every_code_of_the_rest_document() {
    let readme = read("README.md");
    let openapi: serde_json::Value = serde_json::from_str(&read("openapi/openapi.json")).unwrap();
    let mut codes = BTreeSet::new();
    for operation in
        openapi["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let place = answer["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
            let answer = place.map_or(answer, |place| openapi.pointer(place).unwrap());
            // Several with one status stand in a paragraph each.
            let described = answer["description"].as_str().unwrap().split("\n\n");
            let told = described.filter_map(|one| one.split_once(": "));
            codes.extend(told.map(|(code, _)| (code.to_owned(), status.clone())));
        }
    }
    assert!(codes.len() > 5, "{codes:?}");
    // The list of all codes, among them those that no operation answers.
    let listed = openapi["components"]["schemas"]["Problem"]["properties"]["code"]["description"].as_str();
    for line in listed.unwrap().lines().filter_map(|line| line.strip_prefix("* `")) {
        let (code, rest) = line.split_once("` (").unwrap();
        codes.insert((code.to_owned(), rest[..3].to_owned()));
    }
    let named = codes.iter().map(|(code, _)| code).collect::<BTreeSet<_>>();
    assert_eq!(named.len(), codes.len(), "a code has one status: {codes:?}");
    for (code, status) in codes {
        assert!(readme.contains(&format!("| `{code}` | {status} |")), "README.md has no row for {code}");
    }
}

#[test]
fn the_architecture_names_every_module() {
    let architecture = read("ARCHITECTURE.md");
    for line in read("src/lib.rs").lines() {
        if let Some((module, _)) = line.strip_prefix("pub mod ").and_then(|rest| rest.split_once(';')) {
            assert!(architecture.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name {module}");
        }
    }
}

#[test]
fn continuous_integration_runs_the_test_command_of_the_readme() {
    let command = "cargo test --workspace --locked";
    assert!(read("README.md").contains(command));
    assert!(read(".ci/run").contains(command));
}
