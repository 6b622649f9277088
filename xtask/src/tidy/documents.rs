//! Rules about the documents: their size, and that what they name exists.

use super::File;
use crate::run::root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// Longest documents in lines; a reader must get through them in one sitting.
const LINES_MAX: &[(&str, usize)] = &[("README.md", 100), ("ARCHITECTURE.md", 250)];

/// Documents whose promises each name the test that proves them.
const PROVEN: &[&str] = &["docs/semantics.md", "docs/locks.md", "docs/testing.md", "docs/security.md"];

/// Returns a document by its path.
pub(super) fn find<'a>(documents: &'a [File], path: &str) -> Result<&'a File> {
    documents.iter().find(|file| file.path == path).with_context(|| format!("{path} is missing"))
}

/// Returns what is wrong with the documents.
pub(super) fn problems(documents: &[File], rust: &[File]) -> Vec<String> {
    let tests = test_names(rust);
    let mut wrong = Vec::new();
    for file in documents {
        wrong.extend(too_long(file));
        wrong.extend(
            links(&file.text)
                .filter(|link| !exists(&file.path, link))
                .map(|link| format!("{}: links to `{link}`, which is not there", file.path)),
        );
        if PROVEN.contains(&file.path.as_str()) {
            wrong.extend(
                promised_tests(&file.text)
                    .filter(|name| !tests.contains(name))
                    .map(|name| format!("{}: no test is called `{name}`", file.path)),
            );
        }
    }
    wrong
}

fn too_long(file: &File) -> Option<String> {
    let (_, most) = LINES_MAX.iter().find(|(path, _)| *path == file.path)?;
    let lines = file.text.lines().count();
    (lines > *most).then(|| format!("{}: {lines} lines, more than {most}", file.path))
}

/// Targets of `[text](target)` within the repository, without `#part`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter_map(|target| {
        let path = target.split('#').next().unwrap_or(target);
        (!path.is_empty() && !path.contains("://") && !path.contains(' ')).then_some(path)
    })
}

fn exists(document: &str, link: &str) -> bool {
    let dir = Path::new(document).parent().unwrap_or(Path::new(""));
    root().join(dir).join(link).exists()
}

/// Names of tests in a document: `code` of at least three words joined by `_`.
fn promised_tests(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        let plain = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        plain && word.matches('_').count() >= 2
    })
}

fn test_names(rust: &[File]) -> BTreeSet<&str> {
    rust.iter()
        .flat_map(|file| file.text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next())
        .collect()
}
