//! What differs between two states, for people and programs.
//!
//! Invariant: what is listed ends at a limit, what is counted does not. Read next: `patch` (differences by lines).

use crate::faults;
use crate::forest::Forest;
use crate::history::State;
use crate::patch::{self, Side};
use crate::protocol::{Detail, DiffRequest};
use crate::refs::Spot;
use crate::report::{Bytes, DiffEntry, DiffReport, Totals};
use weald_engine::{Difference, Past};
use weald_model::attr::SIZE_UNKNOWN;
use weald_model::{Attr, Fault, FileKind, Progress, Result as FileResult};

/// Most paths listed: an answer is one line with a limit of its own.
const LISTED_MAX: u64 = 100_000;
/// Most bytes of patches in one answer.
const PATCH_BYTES_MAX: usize = 24 << 20;
/// Largest file compared by lines; larger ones are called binary.
const LINED_BYTES_MAX: u64 = 8 << 20;

impl Forest {
    /// Compares two states.
    pub(crate) fn compare(&self, ask: &DiffRequest, progress: &dyn Progress) -> Result<DiffReport, Fault> {
        let (from, to) = self.sides(ask)?;
        for side in [&from, &to] {
            if side.point.is_none() {
                side.entry.flush();
            }
        }
        progress.stage("comparing", 0);
        let (a, b) = (from.past()?, to.past()?);
        let mut listing = Listing::new(&a, &b, ask.detail);
        let told =
            |error| faults::errno(&format!("comparing {} with {}", from.report.name, to.report.name), error);
        listing.fill().map_err(told)?;
        let Listing { added, removed, modified, totals, truncated, .. } = listing;
        Ok(DiffReport { from: from.report, to: to.report, added, removed, modified, totals, truncated })
    }

    fn sides(&self, ask: &DiffRequest) -> Result<(State, State), Fault> {
        let here = Spot { target: ask.here.clone(), reference: None };
        let from = ask.from.as_ref().unwrap_or(&here);
        let Some(to) = &ask.to else {
            let present = Spot { target: from.target.clone(), reference: None };
            let earlier = match from.reference {
                Some(_) => self.state(from)?,
                None => self.last_snapshot(from)?,
            };
            return Ok((earlier, self.state(&present)?));
        };
        Ok((self.state(from)?, self.state(to)?))
    }
}

/// Counts what differs, below these paths only when there are any.
pub(crate) fn count(a: &Past, b: &Past, paths: &[Vec<u8>]) -> FileResult<Totals> {
    let mut totals = Totals::default();
    weald_engine::diff(a, b, &mut |difference| {
        if paths.is_empty() || paths.iter().any(|path| is_below(&difference.path, path)) {
            add(&mut totals, &difference);
        }
        true
    })?;
    Ok(totals)
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn add(totals: &mut Totals, difference: &Difference) {
    match (&difference.old, &difference.new) {
        (None, _) => totals.added += 1,
        (_, None) => totals.removed += 1,
        _ => totals.modified += 1,
    }
}

/// Differences being listed.
struct Listing<'a> {
    a: &'a Past,
    b: &'a Past,
    detail: Detail,
    added: Vec<DiffEntry>,
    removed: Vec<DiffEntry>,
    modified: Vec<DiffEntry>,
    totals: Totals,
    truncated: bool,
    patch_bytes: usize,
}

impl<'a> Listing<'a> {
    fn new(a: &'a Past, b: &'a Past, detail: Detail) -> Self {
        let lines = (detail >= Detail::Stat).then_some(0);
        let totals = Totals { lines_added: lines, lines_removed: lines, ..Totals::default() };
        let (added, removed, modified) = (Vec::new(), Vec::new(), Vec::new());
        Self { a, b, detail, added, removed, modified, totals, truncated: false, patch_bytes: 0 }
    }

    fn fill(&mut self) -> FileResult<()> {
        let mut differences = Vec::new();
        weald_engine::diff(self.a, self.b, &mut |difference| {
            add(&mut self.totals, &difference);
            if differences.len() as u64 >= LISTED_MAX {
                self.truncated = true;
            } else {
                differences.push(difference);
            }
            true
        })?;
        for difference in differences {
            self.list(difference)?;
        }
        Ok(())
    }

    fn list(&mut self, difference: Difference) -> FileResult<()> {
        let (old, new) = (difference.old, difference.new);
        let Some(shown) = new.or(old) else { return Ok(()) };
        let mut entry = DiffEntry {
            kind: kind(shown.kind).to_owned(),
            mode: mode(&shown),
            size_bytes: known(shown.size),
            old_mode: None,
            old_size_bytes: None,
            content: None,
            lines: None,
            patch: None,
            path: Bytes(difference.path),
        };
        if let (Some(old), Some(new)) = (&old, &new) {
            entry.old_mode = Some(mode(old)).filter(|was| *was != mode(new));
            entry.old_size_bytes = known(old.size).filter(|was| *was != new.size);
            entry.content = Some(difference.content);
        }
        if self.detail >= Detail::Stat {
            self.by_lines(&mut entry, old.as_ref(), new.as_ref(), difference.content)?;
        }
        match (old, new) {
            (None, _) => self.added.push(entry),
            (_, None) => self.removed.push(entry),
            _ => self.modified.push(entry),
        }
        Ok(())
    }

    /// Adds counts of lines, and the patch when it is asked for.
    fn by_lines(
        &mut self,
        entry: &mut DiffEntry,
        old: Option<&Attr>,
        new: Option<&Attr>,
        content: bool,
    ) -> FileResult<()> {
        let side = |past: &Past, attr: Option<&Attr>| match attr {
            Some(attr) => side(past, attr, content),
            None => Ok(None),
        };
        let (old, new) = (side(self.a, old)?, side(self.b, new)?);
        let made = patch::patch(&entry.path.0, old.as_ref(), new.as_ref());
        if let Some(lines) = made.lines {
            entry.lines = Some(lines);
            self.totals.lines_added = self.totals.lines_added.map(|sum| sum + lines.added);
            self.totals.lines_removed = self.totals.lines_removed.map(|sum| sum + lines.removed);
        }
        if self.detail < Detail::Patch || made.text.is_empty() {
            return Ok(());
        }
        if self.patch_bytes + made.text.len() > PATCH_BYTES_MAX {
            self.truncated = true;
            return Ok(());
        }
        self.patch_bytes += made.text.len();
        entry.patch = Some(Bytes(made.text));
        Ok(())
    }
}

/// What a patch says about one side; None for what git does not keep.
fn side(past: &Past, attr: &Attr, content: bool) -> FileResult<Option<Side>> {
    let bytes = match attr.kind {
        FileKind::Symlink => Some(past.read_link(attr.ino)?),
        FileKind::File if !content => Some(Vec::new()),
        FileKind::File => match past.size(attr.ino)? {
            size if size > LINED_BYTES_MAX => None,
            size => {
                let mut bytes = Vec::new();
                past.read(attr.ino, 0, usize::try_from(size).unwrap_or(0), &mut bytes)?;
                Some(bytes)
            }
        },
        _ => return Ok(None),
    };
    let mode = match attr.kind {
        FileKind::Symlink => 0o120_000,
        _ if attr.perm & 0o100 != 0 => 0o100_755,
        _ => 0o100_644,
    };
    Ok(Some(Side { mode, bytes }))
}

/// A size, unless it is one of content that was not fetched yet.
fn known(size: u64) -> Option<u64> {
    (size != SIZE_UNKNOWN).then_some(size)
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice | FileKind::BlockDevice => "device",
    }
}

fn mode(attr: &Attr) -> String {
    format!("{:06o}", attr.kind.mode_bits() | attr.perm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_itself_and_its_directories_only() {
        for (path, above, is) in [
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a/b/c", "a/b", true),
        ] {
            assert_eq!(is_below(path.as_bytes(), above.as_bytes()), is, "{path} {above}");
        }
    }
}
