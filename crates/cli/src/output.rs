//! Text and JSON on standard output.
//!
//! Invariant: a reader that goes away (`weald list | head -1`) ends the output quietly.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// True when people read standard output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// False when standard output is a pipe whose reader went away (poll(2): POLLERR).
pub(crate) fn is_read() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    let mut wait = [PollFd::new(&stdout, PollFlags::empty())];
    let looked = poll(&mut wait, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_err() || !wait[0].revents().intersects(PollFlags::ERR)
}

/// True when standard output may carry colours.
fn paints() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints a value as JSON: indented for people, on one line for programs.
pub(crate) fn json<T: Serialize>(value: &T) {
    let text = if is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text_line(&text.expect("reports have string keys only"));
}

/// Prints text and a line end.
pub(crate) fn text_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that nobody wants more.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // A closed pipe means that nobody wants more.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Prints lines; false when nobody reads any more.
pub(crate) fn lines(lines: impl Iterator<Item = String>) -> bool {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Emphasised, where the terminal can show it.
pub(crate) fn strong(text: &str) -> String {
    painted(text, "1")
}

/// Set back, where the terminal can show it.
pub(crate) fn faint(text: &str) -> String {
    painted(text, "2")
}

/// A warning's colour, where the terminal can show it.
pub(crate) fn alarming(text: &str) -> String {
    painted(text, "33")
}

fn painted(text: &str, code: &str) -> String {
    if paints() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// How a column is aligned.
#[derive(Clone, Copy)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Prints rows under headings, columns aligned, no lines around them.
pub(crate) fn table(headings: &[(&str, Align)], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|(title, _)| Cell::new(title)));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new));
    }
    for (column, (_, align)) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2)).set_cell_alignment(alignment(*align));
    }
    for (at, line) in table.lines().enumerate() {
        let line = line.trim_end();
        text_line(&if at == 0 { strong(line) } else { line.to_owned() });
    }
}

const fn alignment(align: Align) -> CellAlignment {
    match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    }
}

/// Prints `label  value` lines with the values in one column. Empty values are left out.
pub(crate) fn facts(facts: &[(&str, String)]) {
    let width =
        facts.iter().filter(|(_, value)| !value.is_empty()).map(|(label, _)| label.len()).max().unwrap_or(0);
    for (label, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        text_line(&format!("  {}  {value}", faint(&format!("{label:width$}"))));
    }
}
