//! The picture of docs/benchmarks.md: ratios to native ext4 on a logarithmic scale. Above, Weald's rows, each with its target;
//! below, Weald beside other file systems.
//!
//! Invariant: everything stands where its number says; what would lie outside the scale is put on its edge.

use super::super::measure::Target;
use super::{Line, Reached};
use std::fmt::Write;

const WIDTH: f64 = 1000.0;
/// Where the scale begins and ends from left to right, and what it shows there.
const LEFT: f64 = 430.0;
const RIGHT: f64 = 970.0;
const LOWEST: f64 = 0.003;
const HIGHEST: f64 = 100.0;
const LINE_HEIGHT: f64 = 20.0;
const HEAD_HEIGHT: f64 = 62.0;

const WEALD: &str = "#c0392b";
const MISSED: &str = "#e59866";
const OUT_OF_REACH: &str = "#85929e";
const KERNEL: &str = "#0072b2";
/// Colours that can be told apart, also by those who do not see red and green.
const OTHERS: &[&str] = &["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7f6000", "#555555"];

/// A mark on the line of a row.
struct Dot<'a> {
    ratio: f64,
    colour: &'a str,
    title: String,
}

/// Draws the rows that are compared with native ext4.
pub(super) fn picture(lines: &[Line]) -> String {
    let native = |line: &&Line| line.peers.first().is_some_and(|(name, _)| name == "ext4");
    let (many, rows): (Vec<&Line>, Vec<&Line>) =
        lines.iter().filter(native).partition(|line| line.is_of_many());
    let mut body = String::new();
    let mut top = 10.0;
    if !rows.is_empty() {
        top = targets(&mut body, &rows, top);
    }
    if !many.is_empty() {
        top = others(&mut body, &many, top + 30.0);
    }
    let height = top + 20.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Weald's rows with their targets; returns where they end.
fn targets(body: &mut String, lines: &[&Line], top: f64) -> f64 {
    heading(body, top, "Time beside native ext4 (left is faster)");
    legend(
        body,
        top + 24.0,
        &[("Weald", WEALD), ("Weald, target missed", MISSED), ("Weald, target out of reach", OUT_OF_REACH)],
    );
    let first = top + HEAD_HEIGHT;
    scale(body, first, lines.len());
    for (at, line) in lines.iter().enumerate() {
        let y = label(body, first, at, &line.what);
        if let Target::Ratio(most) = line.target {
            stroke(body, y, most, "#000000");
        }
        if let Some(hollow) = line.hollow_ratio() {
            stroke(body, y, hollow, KERNEL);
        }
        let colour = match line.reached() {
            Some(Reached::No) => MISSED,
            Some(Reached::OutOfReach) => OUT_OF_REACH,
            Some(Reached::Yes) | None => WEALD,
        };
        if let Some(ratio) = line.ratio() {
            dot(body, y, &Dot { ratio, colour, title: format!("{}: {ratio:.2}", line.what) });
        }
    }
    let end = first + lines.len() as f64 * LINE_HEIGHT;
    note(body, end + 26.0, "The black stroke is the target, the blue one the kernel's share.");
    end + 30.0
}

/// Weald beside others; returns where they end.
fn others(body: &mut String, lines: &[&Line], top: f64) -> f64 {
    heading(body, top, "The same work on several file systems, beside ext4");
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in lines.iter().flat_map(|line| &line.peers) {
        if name != "ext4" && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let colour_of = |name: &str| {
        let at = names.iter().position(|known| *known == name).unwrap_or(0);
        OTHERS[at % OTHERS.len()]
    };
    let mut entries = vec![("Weald", WEALD)];
    entries.extend(names.iter().map(|name| (*name, colour_of(name))));
    legend(body, top + 24.0, &entries);
    let first = top + HEAD_HEIGHT;
    scale(body, first, lines.len());
    for (at, line) in lines.iter().enumerate() {
        let y = label(body, first, at, &line.what);
        let Some((_, ext4)) = line.peers.first() else { continue };
        for (name, summary) in &line.peers[1..] {
            let ratio = summary.median / ext4.median;
            dot(body, y, &Dot { ratio, colour: colour_of(name), title: format!("{name}: {ratio:.2}") });
        }
        if let Some(ratio) = line.ratio() {
            dot(body, y, &Dot { ratio, colour: WEALD, title: format!("Weald: {ratio:.2}") });
        }
    }
    first + lines.len() as f64 * LINE_HEIGHT + 10.0
}

/// Where a ratio stands from left to right.
fn across(ratio: f64) -> f64 {
    let part = (ratio.clamp(LOWEST, HIGHEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln();
    LEFT + part * (RIGHT - LEFT)
}

/// The lines of the scale and what they mean, over so many rows.
fn scale(body: &mut String, first: f64, rows: usize) {
    let end = first + rows as f64 * LINE_HEIGHT;
    for ratio in [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0] {
        let x = across(ratio);
        let colour = if ratio == 1.0 { "#888888" } else { "#e4e4e4" };
        let _ = writeln!(
            body,
            "<line x1=\"{x:.1}\" y1=\"{first:.1}\" x2=\"{x:.1}\" y2=\"{end:.1}\" stroke=\"{colour}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\" font-size=\"11\">{ratio}</text>",
            first - 4.0
        );
    }
}

/// Names a row and returns where its line is.
fn label(body: &mut String, first: f64, at: usize, what: &str) -> f64 {
    let y = first + (at as f64 + 0.5) * LINE_HEIGHT;
    let plain = what.replace('`', "");
    let shown: String = if plain.chars().count() > LABEL_CHARACTERS {
        plain.chars().take(LABEL_CHARACTERS - 1).chain(['…']).collect()
    } else {
        plain
    };
    let _ = writeln!(
        body,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 12.0,
        y + 4.0,
        escaped(&shown)
    );
    y
}

/// More would not fit beside the scale.
const LABEL_CHARACTERS: usize = 66;

fn dot(body: &mut String, y: f64, dot: &Dot) {
    let _ = writeln!(
        body,
        "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{}\" stroke=\"#ffffff\"><title>{}</title></circle>",
        across(dot.ratio),
        dot.colour,
        escaped(&dot.title)
    );
}

fn stroke(body: &mut String, y: f64, ratio: f64, colour: &str) {
    let x = across(ratio);
    let _ = writeln!(
        body,
        "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        y - 7.0,
        y + 7.0
    );
}

fn heading(body: &mut String, top: f64, text: &str) {
    let _ = writeln!(
        body,
        "<text x=\"12\" y=\"{:.1}\" font-size=\"15\" font-weight=\"bold\">{}</text>",
        top + 12.0,
        escaped(text)
    );
}

fn note(body: &mut String, y: f64, text: &str) {
    let _ = writeln!(body, "<text x=\"12\" y=\"{:.1}\" fill=\"#555555\">{}</text>", y - 8.0, escaped(text));
}

fn legend(body: &mut String, y: f64, entries: &[(&str, &str)]) {
    let mut x = 18.0;
    for (name, colour) in entries {
        let _ = writeln!(
            body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>\n<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 9.0,
            y + 4.0,
            escaped(name)
        );
        x += 34.0 + name.chars().count() as f64 * 7.2;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
