//! What was measured, as JSON in `target/bench` and as a table in docs/benchmarks.md.

use super::measure::{Measured, Sample, Target};
use crate::run::{command, output, root};
use anyhow::{Context, Result};

const HEAD: &str =
    "| what | Weald | peer | ratio | target | reached | commit |\n|---|--:|--:|--:|--:|---|---|\n";
const DOCUMENT: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- measured: written by `cargo xtask bench` -->\n";
const END: &str = "<!-- end of what is measured -->\n";

/// Writes the JSON, prints the table, and puts the rows into the document when they are at full scale.
pub(super) fn tell(rows: &[Measured], is_full: bool) -> Result<()> {
    let dir = root().join("target/bench");
    std::fs::create_dir_all(&dir)?;
    let (conditions, commit) =
        (conditions()?, output(&mut command("git", &["describe", "--always", "--dirty"]))?);
    let commit = commit.trim();
    let json = serde_json::json!({ "conditions": conditions, "commit": commit, "rows": rows });
    std::fs::write(dir.join("last.json"), serde_json::to_string_pretty(&json)?)?;
    println!("{conditions}\n\n{HEAD}{}", lines(rows, commit).concat());
    if is_full {
        let path = root().join(DOCUMENT);
        let document = std::fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
        std::fs::write(&path, replaced(&document, &conditions, lines(rows, commit))?)?;
    }
    Ok(())
}

/// One row for the eye.
pub(super) fn line(row: &Measured) -> String {
    cells(row).join("  ")
}

fn lines(rows: &[Measured], commit: &str) -> Vec<String> {
    rows.iter().map(|row| format!("| {} | {commit} |\n", cells(row).join(" | "))).collect()
}

/// What a line of the table is about: its first cell.
fn subject(line: &str) -> Option<&str> {
    line.strip_prefix("| ")?.split(" | ").next()
}

fn cells(row: &Measured) -> [String; 6] {
    let peer = row.peer.as_ref().map(|(name, sample)| format!("{name}: {}", value(sample, row.unit)));
    let target = match row.target {
        Target::Ratio(most) => format!("ratio ≤ {most}"),
        Target::AtMost(most) => format!("≤ {most} {}", row.unit),
    };
    let reached = if row.reached() { "yes" } else { "**no**" };
    [
        row.what.clone(),
        value(&row.weald, row.unit),
        peer.unwrap_or("–".to_owned()),
        row.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        target,
        reached.to_owned(),
    ]
}

fn value(sample: &Sample, unit: &str) -> String {
    let (low, high) = sample.spread();
    let digits = usize::from(sample.median() < 100.0);
    if low == high {
        return format!("{low:.digits$} {unit}");
    }
    format!("{:.digits$} {unit} ({low:.digits$}–{high:.digits$})", sample.median())
}

/// Where and on what it was measured.
fn conditions() -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = output(&mut command("uname", &["-r"]))?;
    let date = output(&mut command("date", &["-u", "+%Y-%m-%d"]))?;
    let model = model.trim_start_matches([':', ' ', '\t']);
    Ok(format!(
        "Last on {}, {cores} cores ({model}), Linux {}. Median (lowest–highest).",
        date.trim(),
        kernel.trim()
    ))
}

/// Puts lines into the table between the markers of a document, each in place of the one about the same.
fn replaced(document: &str, conditions: &str, lines: Vec<String>) -> Result<String> {
    let (before, rest) =
        document.split_once(BEGIN).context("docs/benchmarks.md has lost its first marker")?;
    let (old, after) = rest.split_once(END).context("docs/benchmarks.md has lost its last marker")?;
    let mut table: Vec<String> =
        old.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| format!("{line}\n")).collect();
    for line in lines {
        match table.iter_mut().find(|old| subject(old) == subject(&line)) {
            Some(old) => *old = line,
            None => table.push(line),
        }
    }
    Ok(format!("{before}{BEGIN}\n{conditions}\n\n{HEAD}{}\n{END}{after}", table.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_medians_spreads_ratio_and_target() {
        let sample = |values: &[f64]| Sample::new(values.to_vec()).unwrap();
        let row = Measured {
            what: "work".to_owned(),
            unit: "ms",
            weald: sample(&[120.0, 110.0, 130.0]),
            peer: Some(("ext4".to_owned(), sample(&[100.0]))),
            target: Target::Ratio(1.1),
        };
        assert_eq!(line(&row), "work  120 ms (110–130)  ext4: 100 ms  1.20  ratio ≤ 1.1  **no**");
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = format!("a\n{BEGIN}old\n\n{HEAD}| one | 1 |\n| two | 2 |\n{END}b\n");
        let new = || vec!["| two | 3 |\n".to_owned(), "| three | 4 |\n".to_owned()];
        let once = replaced(&document, "new", new()).unwrap();
        let table = "| one | 1 |\n| two | 3 |\n| three | 4 |\n";
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n\n{HEAD}{table}\n{END}b\n"));
        assert_eq!(replaced(&once, "new", new()).unwrap(), once);
        assert!(replaced("without markers", "new", new()).is_err());
    }
}
