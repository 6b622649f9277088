//! What was measured, as JSON in `target/bench` and as a table in docs/benchmarks.md.

use super::measure::{Measured, Sample, Target};
use crate::run::{command, output, root};
use anyhow::{Context, Result};
use std::fmt::Write;

const DOCUMENT: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- measured: written by `cargo xtask bench` -->\n";
const END: &str = "<!-- end of what is measured -->\n";

/// Writes the JSON, prints the table, and puts it into the document after a whole run.
pub(super) fn tell(rows: &[Measured], whole: bool) -> Result<()> {
    let dir = root().join("target/bench");
    std::fs::create_dir_all(&dir)?;
    let name = if whole { "all.json" } else { "part.json" };
    let conditions = conditions()?;
    let json = serde_json::json!({ "conditions": conditions, "rows": rows });
    std::fs::write(dir.join(name), serde_json::to_string_pretty(&json)?)?;
    let text = format!("{conditions}\n\n{}", table(rows));
    println!("{text}");
    if whole {
        let path = root().join(DOCUMENT);
        let document = std::fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
        std::fs::write(&path, replaced(&document, &text)?)?;
    }
    Ok(())
}

/// One row for the eye.
pub(super) fn line(row: &Measured) -> String {
    cells(row).join("  ")
}

fn table(rows: &[Measured]) -> String {
    let mut text =
        String::from("| what | Weald | peer | ratio | target | reached |\n|---|--:|--:|--:|--:|---|\n");
    for row in rows {
        writeln!(text, "| {} |", cells(row).join(" | ")).expect("writing to a string cannot fail");
    }
    text
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
    let commit = output(&mut command("git", &["describe", "--always", "--dirty"]))?;
    let date = output(&mut command("date", &["-u", "+%Y-%m-%d"]))?;
    let model = model.trim_start_matches([':', ' ', '\t']);
    Ok(format!(
        "Commit {}, {}, {cores} cores ({model}), Linux {}. Median (lowest–highest).",
        commit.trim(),
        date.trim(),
        kernel.trim()
    ))
}

/// Puts a text between the markers of a document.
fn replaced(document: &str, text: &str) -> Result<String> {
    let (before, rest) =
        document.split_once(BEGIN).context("docs/benchmarks.md has lost its first marker")?;
    let (_, after) = rest.split_once(END).context("docs/benchmarks.md has lost its last marker")?;
    Ok(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
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
        let document = format!("a\n{BEGIN}old\n{END}b\n");
        let once = replaced(&document, "new").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\nnew\n{END}b\n"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
        assert!(replaced("without markers", "new").is_err());
    }
}
