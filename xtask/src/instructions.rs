//! `cargo xtask check instructions`: the hot paths cost about as many instructions as when that was last accepted.
//!
//! Times of a busy machine tell nothing; instructions are the same within a percent. `crates/fuse/examples/hot_paths.rs` takes each path a
//! thousand times under callgrind, which counts what its functions `counted::*` do and nothing else. It is the build of the tests, so
//! that nothing is compiled twice. Invariant: with another compiler than the accepted counts come from nothing fails,
//! since another compiler makes other instructions. Decision 0021.

use crate::run::{cargo, command, output, root, show, target};
use crate::tools;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Most that a path may cost more than was accepted.
const TOLERANCE: f64 = 0.03;

const ACCEPTED: &str = "docs/instructions.json";
const ACCEPT: &str = "cargo xtask instructions --accept";

/// Instructions of a thousand times, by path.
type Counts = BTreeMap<String, u64>;

/// What is committed.
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    compiler: String,
    instructions: Counts,
}

/// Counts and compares.
pub(crate) fn check() -> Result<()> {
    let (counts, compiler) = (count()?, compiler()?);
    let text =
        std::fs::read_to_string(root().join(ACCEPTED)).with_context(|| format!("cannot read {ACCEPTED}"))?;
    let accepted: Accepted =
        serde_json::from_str(&text).with_context(|| format!("cannot read {ACCEPTED}"))?;
    let compared = compared(&accepted.instructions, &counts);
    compared.lines.iter().for_each(|line| eprintln!("{line}"));
    if accepted.compiler != compiler {
        eprintln!("not judged: accepted with {}, counted with {compiler}", accepted.compiler);
        return Ok(());
    }
    match &compared.wrong[..] {
        [] => Ok(()),
        wrong => {
            bail!("{}; hint: if that is what it costs, `{ACCEPT}` and commit {ACCEPTED}", wrong.join("; "))
        }
    }
}

/// Counts, and takes that as what is accepted, when the word is `--accept`.
pub(crate) fn instructions(words: &[&str]) -> Result<()> {
    match words {
        [] => check(),
        ["--accept"] => {
            let accepted = Accepted { compiler: compiler()?, instructions: count()? };
            Ok(std::fs::write(root().join(ACCEPTED), serde_json::to_string_pretty(&accepted)? + "\n")?)
        }
        _ => bail!("unknown word; there is: --accept"),
    }
}

fn compiler() -> Result<String> {
    Ok(output(&mut command("rustc", &["--version"]))?.trim().to_owned())
}

fn count() -> Result<Counts> {
    tools::system_packages(&[("valgrind", "valgrind")])?;
    // The whole workspace, so that features are those of the tests and nothing is built once more.
    show(&mut cargo(&["build", "--locked", "--workspace", "--example", "hot_paths"]))?;
    let program = target().join("debug/examples/hot_paths");
    let names = output(&mut command(&program, &["list"]))?;
    names.lines().map(|name| Ok((name.to_owned(), count_one(&program, name)?))).collect()
}

fn count_one(program: &Path, name: &str) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let options = [
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--collect-atstart=no",
        "--toggle-collect=*hot_paths::counted::*",
    ];
    let out = command("valgrind", &options).arg(program).arg(dir.path()).arg(name).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        bail!("`{name}` failed under valgrind: {said}");
    }
    collected(&said).with_context(|| format!("callgrind counted nothing of `{name}`: {said}"))
}

/// The number in callgrind's last words; none when it is zero, since then its functions were not found.
fn collected(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok().filter(|count| *count > 0)
}

/// What a comparison says: a line for each path, and what is wrong.
struct Compared {
    lines: Vec<String>,
    wrong: Vec<String>,
}

fn compared(accepted: &Counts, counts: &Counts) -> Compared {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (name, count) in counts {
        let Some(before) = accepted.get(name) else {
            wrong.push(format!("`{name}` is new"));
            continue;
        };
        let change = *count as f64 / *before as f64 - 1.0;
        lines.push(format!(
            "{name:>16} {:>8} instructions each time, {:+.1} %",
            count / 1000,
            change * 100.0
        ));
        if change > TOLERANCE {
            wrong.push(format!("`{name}` costs {:.1} % more instructions than accepted", change * 100.0));
        } else if change < -TOLERANCE {
            lines.push(format!("{:>16} less than accepted: `{ACCEPT}` keeps it so", ""));
        }
    }
    let gone = accepted.keys().filter(|name| !counts.contains_key(*name));
    wrong.extend(gone.map(|name| format!("`{name}` is no longer counted")));
    Compared { lines, wrong }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[(&str, u64)]) -> Counts {
        values.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn the_count_is_taken_from_callgrinds_last_words() {
        assert_eq!(collected("==1== \n==1== Events    : Ir\n==1== Collected : 1646247\n"), Some(1_646_247));
        assert_eq!(collected("==1== Collected : 0\n"), None);
        assert_eq!(collected("nothing"), None);
    }

    #[test]
    fn only_more_than_the_tolerance_and_other_paths_are_wrong() {
        let accepted = counts(&[("attr", 100_000), ("read", 100_000), ("gone", 1)]);
        let found = compared(&accepted, &counts(&[("attr", 102_900), ("read", 103_100), ("new", 5)]));
        let wrong = found.wrong.join("; ");
        assert_eq!(
            wrong,
            "`new` is new; `read` costs 3.1 % more instructions than accepted; `gone` is no longer counted"
        );
        let less = compared(&counts(&[("attr", 100_000)]), &counts(&[("attr", 90_000)]));
        assert!(less.wrong.is_empty());
        assert!(less.lines.iter().any(|line| line.contains("less than accepted")));
    }
}
