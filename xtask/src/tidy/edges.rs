//! Which crate may depend on which: the table in ARCHITECTURE.md against the manifests.
//!
//! Invariant: the document is the rule. Tests may use any crate: what they use is not built into the program.

use crate::run::{cargo, output};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The part of `cargo metadata` the rule needs.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// One dependency of a crate; `kind` is empty for a normal one, else `dev` or `build`.
#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) kind: Option<String>,
}

/// What a line of the crate table allows.
struct Allowed {
    crates: Vec<String>,
    alone: Vec<String>,
}

/// Reads the manifests of the workspace.
pub(super) fn metadata() -> Result<Metadata> {
    let text = output(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("cannot read the output of cargo metadata")
}

/// Returns the dependencies the table does not allow, and crates it does not name.
pub(super) fn problems(architecture: &str, metadata: &Metadata) -> Result<Vec<String>> {
    let table = crate_table(architecture)?;
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let Some(short) = package.name.strip_prefix("weald-") else { continue };
        match table.get(short) {
            Some(allowed) => wrong.extend(refused(package, short, allowed, &table)),
            None => wrong.push(format!("ARCHITECTURE.md: the crate table does not name `{short}`")),
        }
    }
    Ok(wrong)
}

fn refused(
    package: &Package,
    short: &str,
    allowed: &Allowed,
    table: &BTreeMap<String, Allowed>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let built_in = package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
    for dependency in built_in {
        if let Some(used) = dependency.name.strip_prefix("weald-") {
            if !allowed.crates.iter().any(|name| name == used) {
                wrong.push(format!(
                    "crates/{short}: may not depend on `{used}` (crate table of ARCHITECTURE.md)"
                ));
            }
        } else if let Some((owner, _)) = table.iter().find(|(_, of)| of.alone.contains(&dependency.name))
            && owner != short
        {
            wrong.push(format!("crates/{short}: `{}` belongs to `{owner}` alone", dependency.name));
        }
    }
    wrong
}

/// Reads lines like ``| `engine` | `model` `store` | – | what it is |``: crate, what it may use, what it alone may use.
fn crate_table(architecture: &str) -> Result<BTreeMap<String, Allowed>> {
    let mut table = BTreeMap::new();
    let section = architecture.split("\n## ").find(|section| section.starts_with("Crates"));
    for line in section.context("ARCHITECTURE.md has no section `## Crates`")?.lines() {
        let cells: Vec<&str> = line.split('|').collect();
        if let [_, name, uses, alone, ..] = cells[..]
            && let [name] = quoted(name)[..]
        {
            let own = |cell| quoted(cell).into_iter().map(str::to_owned).collect();
            table.insert(name.to_owned(), Allowed { crates: own(uses), alone: own(alone) });
        }
    }
    if table.is_empty() {
        bail!("the crate table of ARCHITECTURE.md is empty");
    }
    Ok(table)
}

/// Returns the words between back quotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
