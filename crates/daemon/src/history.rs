//! Snapshots, and finding a state of a workspace by its words.
//!
//! Invariant: what programs have written, through shared mappings too, is in a snapshot: the kernel hands its changed
//! pages over first ([`crate::writeback`]). Read next: [`crate::refs`] (the words), `restore` (going back), `compare`.

use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::protocol::{Before, HistoryRequest, SnapshotRequest};
use crate::refs::{self, Found, Spot};
use crate::report::{Moment, SnapshotReport, StateReport};
use std::collections::HashSet;
use std::sync::Arc;
use weald_engine::{Occasion, Past, Point, Snapshot, Workspace};
use weald_model::{Caller, Code, Errno, Fault, SnapshotId, WorkspaceId};

/// A state of a workspace that was asked for and found.
pub(crate) struct State {
    /// The workspace.
    pub(crate) entry: Arc<Entry>,
    /// The same, loaded.
    pub(crate) workspace: Arc<Workspace>,
    /// Where it lies; None for the present.
    pub(crate) point: Option<Point>,
    /// In words.
    pub(crate) report: StateReport,
}

impl State {
    /// What it holds.
    pub(crate) fn past(&self) -> Result<Past, Fault> {
        let Some(point) = self.point else { return Ok(self.workspace.now_past()) };
        self.workspace.past(point).map_err(|error| match error {
            Errno::NotFound => no_such_operation(&self.report.workspace, point.seq),
            error => faults::errno(&format!("reading `{}`", self.report.name), error),
        })
    }
}

impl Forest {
    /// Takes a snapshot: durable when this returns.
    pub(crate) fn snapshot(&self, who: &Caller, ask: &SnapshotRequest) -> Result<SnapshotReport, Fault> {
        self.open_for_work()?;
        let (entry, note) = self.subject(ask)?;
        check_texts(&note, &ask.tags)?;
        let workspace = entry.load(&self.stores)?;
        entry.flush();
        let occasion = match ask.before {
            None => Occasion::Asked,
            Some(Before::Run) => Occasion::BeforeRun,
            Some(Before::Merge) => Occasion::BeforeMerge,
        };
        let snapshot = self.take_snapshot(&entry, &workspace, who, &note, &ask.tags, occasion)?;
        Ok(self.snapshot_report(&snapshot, 1))
    }

    /// The workspace that is meant, and the note.
    fn subject(&self, ask: &SnapshotRequest) -> Result<(Arc<Entry>, String), Fault> {
        match (self.find(&ask.target), &ask.note, &ask.target.name) {
            (Ok(entry), note, _) => Ok((entry, note.clone().unwrap_or_default())),
            (Err(fault), None, Some(word)) => {
                self.find(&ask.here).map(|entry| (entry, word.clone())).map_err(|_| fault)
            }
            (Err(fault), ..) => Err(fault),
        }
    }

    /// Takes a snapshot of what the engine has.
    pub(crate) fn take_snapshot(
        &self,
        entry: &Entry,
        workspace: &Workspace,
        who: &Caller,
        note: &str,
        tags: &[String],
        occasion: Occasion,
    ) -> Result<Snapshot, Fault> {
        let id = SnapshotId(self.stores.env.random().max(1));
        workspace
            .snapshot(who, id, note, tags, occasion)
            .map_err(|error| faults::errno(&format!("taking a snapshot of `{}`", entry.name()), error))
    }

    /// Snapshots, newest first.
    pub(crate) fn history(&self, ask: &HistoryRequest) -> Result<Vec<SnapshotReport>, Fault> {
        let found = match &ask.target {
            Some(target) => {
                let entry = self.find(target)?;
                numbered(entry.peek(&self.stores, Workspace::snapshots)?)
            }
            None => self.all_snapshots(),
        };
        let grep = ask.grep.as_ref().map(|text| text.to_lowercase());
        let fits = |snapshot: &Snapshot| {
            grep.as_ref().is_none_or(|text| snapshot.note.to_lowercase().contains(text))
                && ask.tag.as_ref().is_none_or(|tag| snapshot.tags.contains(tag))
        };
        let limit = ask.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let chosen = found.iter().filter(|(_, snapshot)| fits(snapshot)).take(limit);
        Ok(chosen.map(|(back, snapshot)| self.snapshot_report(snapshot, *back)).collect())
    }

    /// Those of all workspaces, each once, numbered as in the workspace it was taken in.
    fn all_snapshots(&self) -> Vec<(u64, Snapshot)> {
        let active = self.active();
        let mut all: Vec<(WorkspaceId, u64, Snapshot)> = Vec::new();
        for entry in &active {
            // A damaged one is told by `list`.
            let Ok(snapshots) = entry.peek(&self.stores, Workspace::snapshots) else { continue };
            all.extend(numbered(snapshots).into_iter().map(|(back, snapshot)| (entry.id, back, snapshot)));
        }
        // Where it was taken goes before a fork that has it too.
        all.sort_by_key(|(id, _, snapshot)| (snapshot.point.log != *id, *id));
        let mut seen = HashSet::new();
        all.retain(|(_, _, snapshot)| seen.insert(snapshot.id));
        all.sort_by_key(|(_, _, snapshot)| std::cmp::Reverse(snapshot.time));
        all.into_iter().map(|(_, back, snapshot)| (back, snapshot)).collect()
    }

    /// Its snapshots for `info`, newest first; none when it cannot be read.
    pub(crate) fn snapshots_of(&self, entry: &Entry) -> Vec<SnapshotReport> {
        let snapshots = entry.peek(&self.stores, Workspace::snapshots).unwrap_or_default();
        numbered(snapshots).iter().map(|(back, snapshot)| self.snapshot_report(snapshot, *back)).collect()
    }

    /// A snapshot in words.
    pub(crate) fn snapshot_report(&self, snapshot: &Snapshot, back: u64) -> SnapshotReport {
        SnapshotReport {
            id: snapshot.id.to_string(),
            workspace: self.name_of(snapshot.point.log),
            parent: snapshot.parent.map(|id| id.to_string()),
            note: snapshot.note.clone(),
            tags: snapshot.tags.clone(),
            created_at: Moment(snapshot.time.secs),
            state: if snapshot.seal.is_some() { "sealed" } else { "taken" }.to_owned(),
            root: snapshot.seal.map(|seal| weald_store::cas::hex(&seal.root)),
            occasion: snapshot.occasion.as_str().to_owned(),
            back,
            operation: snapshot.point.seq,
        }
    }

    /// The name of a workspace, its id once it is gone.
    fn name_of(&self, id: WorkspaceId) -> String {
        self.by_id(id).map_or_else(|| id.to_string(), |entry| entry.name())
    }

    /// Finds the state that is meant.
    pub(crate) fn state(&self, spot: &Spot) -> Result<State, Fault> {
        let entry = self.find(&spot.target).map_err(|fault| maybe_a_reference(spot, fault))?;
        let workspace = entry.load(&self.stores)?;
        let name = entry.name();
        let snapshots = match spot.reference {
            Some(_) => workspace.snapshots(),
            None => Vec::new(),
        };
        let (point, snapshot, time) = match refs::resolve(spot.reference.as_ref(), &name, &snapshots)? {
            Found::Present => (None, None, Some(self.stores.env.now())),
            Found::Snapshot(snapshot) => (Some(snapshot.point), Some(snapshot.id), Some(snapshot.time)),
            Found::Time(time) => {
                let point = workspace
                    .point_at(time)
                    .map_err(|error| faults::errno(&format!("reading the log of `{name}`"), error))?;
                (Some(point.ok_or_else(|| before_its_time(&name))?), None, Some(time))
            }
            Found::Record(seq) => {
                let present = workspace.present();
                if seq > present.seq {
                    return Err(no_such_operation(&name, present.seq));
                }
                (Some(Point { seq, ..present }), None, None)
            }
        };
        let at = point.unwrap_or_else(|| workspace.present());
        let words = spot.reference.as_ref().map(|reference| reference.text.as_str());
        let report = StateReport {
            name: words.map_or_else(|| name.clone(), |words| format!("{name}@{words}")),
            workspace: name,
            snapshot: snapshot.map(|id| id.to_string()),
            log: at.log.to_string(),
            operation: at.seq,
            time: time.map(|time| Moment(time.secs)),
        };
        Ok(State { entry, workspace, point, report })
    }

    /// The last snapshot of a workspace, or how it began when it has none.
    pub(crate) fn last_snapshot(&self, spot: &Spot) -> Result<State, Fault> {
        let mut state = self.state(&Spot { target: spot.target.clone(), reference: None })?;
        let (point, name, time) = match state.workspace.snapshots().pop() {
            Some(last) => {
                state.report.snapshot = Some(last.id.to_string());
                (last.point, "@1", Some(Moment(last.time.secs)))
            }
            None => (Point { seq: 1, ..state.workspace.present() }, "@{op 1}", None),
        };
        state.point = Some(point);
        state.report.name.push_str(name);
        state.report.time = time;
        state.report.log = point.log.to_string();
        state.report.operation = point.seq;
        Ok(state)
    }
}

/// Somebody may have left the `@` out.
fn maybe_a_reference(spot: &Spot, fault: Fault) -> Fault {
    match (&spot.target.name, &spot.reference, fault.code) {
        (Some(word), None, Code::UnknownWorkspace) => {
            let hint = format!("weald list; a state of a workspace is written WS@REF, like NAME@{word}");
            if fault.hint.as_deref() == Some("weald list") { fault.hint(hint) } else { fault }
        }
        _ => fault,
    }
}

/// Newest first, with the N of `@N`.
fn numbered(mut snapshots: Vec<Snapshot>) -> Vec<(u64, Snapshot)> {
    snapshots.reverse();
    (1..).zip(snapshots).collect()
}

fn check_texts(note: &str, tags: &[String]) -> Result<(), Fault> {
    let refused = |why: String| Err(Fault::new(Code::BadRequest, why));
    if note.len() > NOTE_BYTES_MAX {
        return refused(format!("a note is at most {} KiB long", NOTE_BYTES_MAX >> 10));
    }
    if tags.len() > TAGS_MAX {
        return refused(format!("a snapshot has at most {TAGS_MAX} tags"));
    }
    for tag in tags {
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '@' | '{' | '}');
        let why = if tag.is_empty() {
            "it is empty"
        } else if tag.len() > TAG_BYTES_MAX {
            "it is longer than 100 bytes"
        } else if tag.chars().any(bad) {
            "it has a space, a control character or one of @ { }"
        } else if tag.bytes().all(|byte| byte.is_ascii_digit()) {
            "a number counts snapshots back"
        } else {
            continue;
        };
        return refused(format!("`{}` is no tag: {why}", tag.escape_debug()));
    }
    Ok(())
}

/// Longest note.
const NOTE_BYTES_MAX: usize = 16 << 10;
/// Longest tag.
const TAG_BYTES_MAX: usize = 100;
/// Most tags of one snapshot.
const TAGS_MAX: usize = 64;

fn before_its_time(name: &str) -> Fault {
    Fault::new(Code::UnknownState, format!("`{name}` was not there yet at that time"))
        .hint(format!("how it began is '{name}@{{op 1}}'; weald info {name} tells when"))
}

fn no_such_operation(name: &str, last: u64) -> Fault {
    Fault::new(Code::UnknownState, format!("the last operation of `{name}` has the number {last}"))
        .hint(format!("the present is {name} without `@`; weald history {name} lists snapshots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: &str) -> Result<(), Fault> {
        check_texts("", &[tag.to_owned()])
    }

    #[test]
    fn tags_that_no_reference_could_name_are_refused() {
        for good in ["v1", "good", "release/2026", "ünï", "1a", "-x"] {
            assert_eq!(tagged(good), Ok(()), "{good}");
        }
        for bad in ["", "12", "a b", "a@b", "{x}", "a\nb", &"x".repeat(101)] {
            assert_eq!(tagged(bad).unwrap_err().code, Code::BadRequest, "{bad}");
        }
    }
}
