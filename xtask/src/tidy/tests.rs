//! Each rule finds what it is for, and the repository passes them all.

use super::edges::{Dependency, Metadata, Package};
use super::words::code_only;
use super::*;

fn rust(text: &str) -> Vec<String> {
    sources::problems(&File { path: "crates/x/src/lib.rs".to_owned(), text: text.to_owned() })
}

fn one(found: Vec<String>, part: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(part), "{found:?}");
}

#[test]
fn the_repository_is_tidy() {
    let wrong = problems().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_file_without_a_head_is_found() {
    one(rust("fn main() {}\n"), "does not start with");
}

#[test]
fn a_long_file_is_found() {
    one(rust(&format!("//! Head.\n{}", "\n".repeat(800))), "801 lines");
}

#[test]
fn banned_words_are_found_in_snake_and_camel_case() {
    one(rust("//! Head.\nfn open_session() {}\n"), "`open_session`");
    one(rust("//! Head.\nstruct StoreManager;\n"), "`StoreManager`");
    assert!(rust("//! Head. A session of git.\nconst A: &str = r#\"client \"quoted\"\"#;\n").is_empty());
    assert!(rust("//! Head.\nstruct Clientele;\n").is_empty());
}

#[test]
fn unfinished_work_is_found() {
    one(rust("//! Head.\nfn a() { todo!() }\n"), "unfinished");
}

#[test]
fn code_keeps_its_lines_when_comments_and_literals_go() {
    let text = "a /* x\n /* y */ */ b\n'\\'' 'c' &'d str \"e\\\"\nf\" g // h\ni br##\"\"#\"## j";
    let kept = code_only(text);
    assert_eq!(kept.lines().count(), text.lines().count());
    let words: Vec<&str> = kept.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "&'d", "str", "g", "i", "j"]);
}

#[test]
fn a_file_no_module_names_is_found() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let files = [
        file("crates/x/src/lib.rs", "mod used;"),
        file("crates/x/src/used.rs", ""),
        file("crates/x/src/left.rs", ""),
        file("crates/y/src/lib.rs", "mod left;"),
    ];
    one(sources::dead_files(&files), "left.rs");
}

const TABLE: &str = "# A\n\n## Crates\n\n| crate | uses | alone | what |\n|---|---|---|---|\n\
    | `model` | – | – | nouns |\n| `store` | `model` | `rusqlite` | bytes |\n| `git` | `model` | – | git |\n\n## Next\n";

fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Metadata {
    let dependencies = dependencies
        .iter()
        .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) })
        .collect();
    Metadata { packages: vec![Package { name: name.to_owned(), dependencies }] }
}

#[test]
fn an_edge_against_the_crate_table_is_found() {
    let against = |name, dependencies: &[_]| edges::problems(TABLE, &package(name, dependencies)).unwrap();
    assert!(against("weald-store", &[("weald-model", None), ("rusqlite", None)]).is_empty());
    assert!(against("weald-git", &[("weald-testkit", Some("dev"))]).is_empty());
    one(against("weald-git", &[("weald-store", None)]), "may not depend on `store`");
    one(against("weald-git", &[("weald-testkit", None)]), "may not depend on `testkit`");
    one(against("weald-git", &[("rusqlite", None)]), "belongs to `store` alone");
    one(against("weald-new", &[]), "does not name `new`");
}

#[test]
fn a_long_readme_a_dead_link_and_a_missing_test_are_found() {
    let document = |path: &str, text: &str| [File { path: path.to_owned(), text: text.to_owned() }];
    one(documents::problems(&document("README.md", &"\n".repeat(101)), &[]), "101 lines");
    one(documents::problems(&document("README.md", "[a](docs/nowhere.md)"), &[]), "docs/nowhere.md");
    assert!(
        documents::problems(&document("README.md", "[a](Cargo.toml) [b](https://example.org/)"), &[])
            .is_empty()
    );
    let promise = document("docs/semantics.md", "It holds (`write_survives_daemon_death`).");
    one(documents::problems(&promise, &[]), "write_survives_daemon_death");
    let proof = [File { path: "a.rs".to_owned(), text: "fn write_survives_daemon_death() {}".to_owned() }];
    assert!(documents::problems(&promise, &proof).is_empty());
}
