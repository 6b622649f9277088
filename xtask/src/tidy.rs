//! The rules of the house that a program can check.
//!
//! Each rule looks at the repository and returns what it found wrong, one line each. `sources.rs` reads Rust files,
//! `edges.rs` the dependency direction, `documents.rs` the documents.

mod documents;
mod edges;
mod sources;
mod words;

#[cfg(test)]
mod tests;

use crate::run::{command, output, root};
use anyhow::{Context, Result, bail};

/// A text file of the repository.
pub(crate) struct File {
    /// Path from the root.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// Checks every rule and tells all that is wrong.
pub(crate) fn tidy() -> Result<()> {
    let wrong = problems()?;
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("the house is not tidy:\n  {}", wrong.join("\n  "))
}

fn problems() -> Result<Vec<String>> {
    let rust = files("*.rs")?;
    let documents = files("*.md")?;
    let mut wrong = Vec::new();
    for file in &rust {
        wrong.extend(sources::problems(file));
    }
    wrong.extend(sources::dead_files(&rust));
    let architecture = documents::find(&documents, "ARCHITECTURE.md")?;
    wrong.extend(edges::problems(&architecture.text, &edges::metadata()?)?);
    wrong.extend(documents::problems(&documents, &rust));
    Ok(wrong)
}

/// Reads the files git knows or would add that match a pattern.
fn files(pattern: &str) -> Result<Vec<File>> {
    let listed = output(&mut command(
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", pattern],
    ))?;
    let present = listed.lines().filter(|path| root().join(path).is_file());
    present
        .map(|path| {
            let text =
                std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
            Ok(File { path: path.to_owned(), text })
        })
        .collect()
}
