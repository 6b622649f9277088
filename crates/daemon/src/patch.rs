//! Differences by lines, in the format of `git diff`, so that `git apply` takes them.
//!
//! Format: git-diff(1), "Generating patch text with -p". Paths with special bytes are quoted as there.
//! Invariant: bytes in, bytes out; nothing has to be UTF-8.

use crate::report::LineCounts;
use gix_imara_diff::sources::byte_lines;
use gix_imara_diff::{Algorithm, Diff, Hunk, InternedInput};
use std::io::Write;
use std::ops::Range;

/// Lines shown around each change.
const CONTEXT_LINES: u32 = 3;
/// Git calls a file binary when there is a NUL in so many bytes at its front.
const BINARY_LOOK_BYTES: usize = 8000;

/// A file or link on one side.
pub(crate) struct Side {
    /// As git has it: 100644, 100755 or 120000.
    pub(crate) mode: u32,
    /// Content; None when it is too large to be compared by lines.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl Side {
    fn is_link(&self) -> bool {
        self.mode == 0o120_000
    }

    /// Its content when it is text.
    fn text(&self) -> Option<&[u8]> {
        let bytes = self.bytes.as_deref()?;
        let front = &bytes[..bytes.len().min(BINARY_LOOK_BYTES)];
        (self.is_link() || !front.contains(&0)).then_some(bytes)
    }
}

/// A patch.
#[derive(Default)]
pub(crate) struct Patch {
    /// Lines that came and went; None for what is not text.
    pub(crate) lines: Option<LineCounts>,
    /// The patch itself; empty when git would show nothing.
    pub(crate) text: Vec<u8>,
}

/// Writes the patch of one path. None on a side: it is not there, or is nothing git keeps.
pub(crate) fn patch(path: &[u8], old: Option<&Side>, new: Option<&Side>) -> Patch {
    match (old, new) {
        (None, None) => Patch::default(),
        // What became something else is one thing removed and another added.
        (Some(was), Some(is)) if was.is_link() != is.is_link() => {
            let (gone, come) = (one(path, old, None), one(path, None, new));
            let lines = gone.lines.zip(come.lines);
            let lines = lines.map(|(gone, come)| LineCounts { added: come.added, removed: gone.removed });
            Patch { lines, text: [gone.text, come.text].concat() }
        }
        _ => one(path, old, new),
    }
}

fn one(path: &[u8], old: Option<&Side>, new: Option<&Side>) -> Patch {
    let text = |side: Option<&Side>| side.map_or(Some(Vec::new()), |side| side.text().map(<[u8]>::to_vec));
    let (before, after) = (text(old), text(new));
    let mut patch = Vec::new();
    head(&mut patch, path, old, new);
    if old
        .zip(new)
        .is_some_and(|(old, new)| old.mode == new.mode && old.bytes.is_some() && old.bytes == new.bytes)
    {
        // Only what git does not keep differs: times, owner, permissions of others.
        return Patch { lines: Some(LineCounts::default()), text: Vec::new() };
    }
    let Some((before, after)) = before.zip(after) else {
        let same = old.zip(new).is_some_and(|(old, new)| old.bytes.is_some() && old.bytes == new.bytes);
        if !same {
            let (a, b) = names(path, old, new);
            line(&mut patch, &[b"Binary files ", &a, b" and ", &b, b" differ"]);
        }
        return Patch { lines: None, text: patch };
    };
    let input = InternedInput::new(byte_lines(&before), byte_lines(&after));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let lines = LineCounts { added: diff.count_additions().into(), removed: diff.count_removals().into() };
    if before != after {
        let (a, b) = names(path, old, new);
        line(&mut patch, &[b"--- ", &a, tab(&a)]);
        line(&mut patch, &[b"+++ ", &b, tab(&b)]);
        hunks(&mut patch, &input, &diff);
    }
    Patch { lines: Some(lines), text: patch }
}

/// `diff --git`, and modes where they say something.
fn head(patch: &mut Vec<u8>, path: &[u8], old: Option<&Side>, new: Option<&Side>) {
    line(patch, &[b"diff --git ", &quoted(b"a/", path), b" ", &quoted(b"b/", path)]);
    let mode = |side: &Side| format!("{:06o}", side.mode);
    match (old, new) {
        (None, Some(new)) => line(patch, &[b"new file mode ", mode(new).as_bytes()]),
        (Some(old), None) => line(patch, &[b"deleted file mode ", mode(old).as_bytes()]),
        (Some(old), Some(new)) if old.mode != new.mode => {
            line(patch, &[b"old mode ", mode(old).as_bytes()]);
            line(patch, &[b"new mode ", mode(new).as_bytes()]);
        }
        _ => {}
    }
}

/// The names in `---` and `+++`.
fn names(path: &[u8], old: Option<&Side>, new: Option<&Side>) -> (Vec<u8>, Vec<u8>) {
    let name = |side: Option<&Side>, prefix: &[u8]| match side {
        Some(_) => quoted(prefix, path),
        None => b"/dev/null".to_vec(),
    };
    (name(old, b"a/"), name(new, b"b/"))
}

/// As git does: a name with a space ends with a tab, so that nobody takes the space for its end.
fn tab(name: &[u8]) -> &'static [u8] {
    if name.contains(&b' ') && !name.starts_with(b"\"") { b"\t" } else { b"" }
}

fn line(patch: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| patch.extend_from_slice(part));
    patch.push(b'\n');
}

fn hunks(patch: &mut Vec<u8>, input: &InternedInput<&[u8]>, diff: &Diff) {
    let mut group: Vec<Hunk> = Vec::new();
    for hunk in diff.hunks() {
        // Changes whose surroundings touch are shown together.
        if group.last().is_some_and(|last| hunk.before.start - last.before.end > 2 * CONTEXT_LINES) {
            show(patch, input, &group);
            group.clear();
        }
        group.push(hunk);
    }
    show(patch, input, &group);
}

fn show(patch: &mut Vec<u8>, input: &InternedInput<&[u8]>, group: &[Hunk]) {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return };
    let lead = first.before.start.min(CONTEXT_LINES);
    let end = input.before.len() as u32;
    let tail = (end - last.before.end).min(CONTEXT_LINES);
    let before = first.before.start - lead..last.before.end + tail;
    let after = first.after.start - lead..last.after.end + tail;
    let header = format!("@@ -{} +{} @@", span(&before), span(&after));
    line(patch, &[header.as_bytes()]);
    let mut at = before.start;
    for hunk in group {
        lines(patch, b' ', input, &input.before[at as usize..hunk.before.start as usize]);
        lines(patch, b'-', input, &input.before[hunk.before.start as usize..hunk.before.end as usize]);
        lines(patch, b'+', input, &input.after[hunk.after.start as usize..hunk.after.end as usize]);
        at = hunk.before.end;
    }
    lines(patch, b' ', input, &input.before[at as usize..before.end as usize]);
}

fn lines(patch: &mut Vec<u8>, mark: u8, input: &InternedInput<&[u8]>, tokens: &[gix_imara_diff::Token]) {
    for token in tokens {
        let text = input.interner[*token];
        patch.push(mark);
        patch.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            patch.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

/// `start,count` as in unified diffs: counted from 1, the line before it when there is none.
fn span(range: &Range<u32>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

/// A path as git writes it: in double quotes with C escapes when it has special bytes (core.quotePath).
fn quoted(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff);
    if !path.iter().any(is_special) {
        return [prefix, path].concat();
    }
    let mut quoted = vec![b'"'];
    quoted.extend_from_slice(prefix);
    for byte in path {
        match byte {
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', *byte]),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            b'\t' => quoted.extend_from_slice(b"\\t"),
            _ if is_special(byte) => write!(quoted, "\\{byte:03o}").expect("a vector takes all"),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests;
