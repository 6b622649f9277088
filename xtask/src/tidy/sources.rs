//! Rules about one Rust file: its head, its length, its names, and what must not be in it.

use super::File;
use super::words::code_only;

/// Longest Rust file in lines: one screenful of outline, one thing per file.
const LINES_MAX: usize = 800;

/// Words that say nothing about the thing they name; see docs/glossary.md for the ones in use.
const BANNED: &[&str] =
    &["session", "client", "checkout", "backend", "manager", "helper", "helpers", "utils"];

/// Signs of unfinished work.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// Returns what is wrong with a file.
pub(super) fn problems(file: &File) -> Vec<String> {
    let mut wrong = Vec::new();
    if !file.text.starts_with("//!") {
        wrong.push(format!(
            "{}: does not start with `//!` (what it is, its invariant, where to read next)",
            file.path
        ));
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        wrong.push(format!("{}: {lines} lines, more than {LINES_MAX}", file.path));
    }
    let code = code_only(&file.text);
    for (index, line) in code.lines().enumerate() {
        let place = format!("{}:{}", file.path, index + 1);
        wrong.extend(
            identifiers(line).filter_map(banned).map(|word| format!("{place}: banned word in `{word}`")),
        );
        let signs = UNFINISHED.iter().filter(|sign| line.contains(*sign));
        wrong.extend(signs.map(|sign| format!("{place}: unfinished or skipped (`{sign}`)")));
    }
    wrong
}

/// Returns files below a `src` that no module declaration names.
pub(super) fn dead_files(files: &[File]) -> Vec<String> {
    let declared = |file: &File| {
        let Some((root, below)) = file.path.split_once("/src/") else { return true };
        if matches!(below, "lib.rs" | "main.rs") || below.starts_with("bin/") {
            return true;
        }
        let module = below.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let name = module.rsplit('/').next().unwrap_or(module);
        let (by_name, by_path) = (format!("mod {name};"), format!("{name}.rs\"]"));
        let crate_dir = format!("{root}/");
        files
            .iter()
            .filter(|other| other.path.starts_with(&crate_dir))
            .any(|other| other.text.contains(&by_name) || other.text.contains(&by_path))
    };
    files
        .iter()
        .filter(|file| !declared(file))
        .map(|file| format!("{}: no `mod` names it", file.path))
        .collect()
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Returns the identifier when one of its parts (snake or camel case) is a banned word.
fn banned(identifier: &str) -> Option<&str> {
    let mut parts: Vec<String> = vec![String::new()];
    for c in identifier.chars() {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut()
            && c != '_'
        {
            last.extend(c.to_lowercase());
        }
    }
    let whole = identifier.to_lowercase();
    let hit = BANNED.contains(&whole.as_str()) || parts.iter().any(|part| BANNED.contains(&part.as_str()));
    hit.then_some(identifier)
}
