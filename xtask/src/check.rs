//! `cargo xtask check`: every test and every rule, cheapest first.
//!
//! Invariant: the tests run last, so that the runner's own summary is the last thing printed. What a step needs is
//! installed by `tools.rs` when it is missing.

use crate::run::{cargo, command, show};
use crate::{instructions, tidy, tools};
use anyhow::{Result, bail};

type Step = fn() -> Result<()>;

/// All steps in the order they run.
const STEPS: &[(&str, Step)] = &[
    ("fmt", fmt),
    ("tidy", tidy::tidy),
    ("clippy", clippy),
    ("deny", deny),
    ("doc", doc),
    ("instructions", instructions::check),
    ("test", test),
];

/// Runs the named steps in their fixed order; all of them when none is named.
pub(crate) fn check(names: &[&str]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|(step, _)| step != *name)) {
        let known: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("no step `{unknown}`; there are: {}", known.join(" "));
    }
    for (name, step) in STEPS {
        if names.is_empty() || names.contains(name) {
            eprintln!("== {name}");
            step()?;
        }
    }
    Ok(())
}

fn fmt() -> Result<()> {
    show(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    show(&mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

/// Licences, sources and duplicates; advisories need a database that is not in a package registry.
fn deny() -> Result<()> {
    let deny = tools::cargo_deny()?;
    show(&mut command(deny, &["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Documentation that builds without a warning, and its examples.
fn doc() -> Result<()> {
    let mut rustdoc = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    show(rustdoc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))?;
    show(&mut cargo(&["test", "--locked", "--workspace", "--doc"]))
}

fn test() -> Result<()> {
    tools::system_packages(tools::FOR_TESTS)?;
    tools::public_suites()?;
    let nextest = tools::cargo_nextest()?;
    // How threads meet is chosen by these tests, which takes other locks than those of the standard library.
    let interleaved = [
        "nextest",
        "run",
        "--locked",
        "--package",
        "weald-store",
        "--features",
        "shuttle",
        "--test",
        "shuttle",
    ];
    show(&mut command(&nextest, &interleaved))?;
    // Last, so that the summary of what was run is that of nearly all tests.
    show(&mut command(&nextest, &["nextest", "run", "--locked", "--workspace"]))
}
