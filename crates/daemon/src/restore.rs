//! Going back, and forward again.
//!
//! Order of the steps: the kernel hands over its changed pages, the present becomes a snapshot, the engine restores in
//! one record, the kernel forgets what is no longer so. A crash between any two leaves a whole workspace, before or
//! after. One at a time for each workspace (`travel`); which state is meant is decided when it is asked for, so two
//! who ask for the same state at once both get it. Programs go on meanwhile: what they write lands before or after.

use crate::asker::Wish;
use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::history::State;
use crate::hold::Hold;
use crate::protocol::{RestoreRequest, Target};
use crate::report::{Bytes, RestoreReport, StateReport, UndoReport};
use crate::{compare, overlook, teller};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use weald_engine::{Changed, Occasion, Past, Point, Workspace};
use weald_model::{Caller, Code, Errno, Fault, Progress};

/// Which way to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Undo.
    Back,
    /// Redo.
    Forward,
}

impl Forest {
    /// Brings a state back, whole or some paths of it.
    pub(crate) fn bring_back(
        &self,
        who: &Caller,
        ask: &RestoreRequest,
        progress: &dyn Progress,
    ) -> Result<RestoreReport, Fault> {
        self.open_for_work()?;
        let state = self.state(&ask.state)?;
        let Some(point) = state.point else { return Err(no_state(&state.report.workspace)) };
        let paths = paths(ask, &state.entry)?;
        let (entry, workspace) = (&state.entry, &state.workspace);
        progress.stage("reading history", 0);
        let target = state.past()?;
        let _alone = entry.travel();
        entry.flush();
        let now = workspace.now_past();
        check_paths(&paths, &now, &target, &state)?;
        progress.stage("comparing", 0);
        let totals = compare::count(&now, &target, &paths)
            .map_err(|error| faults::errno(&format!("comparing with `{}`", state.report.name), error))?;
        let mut report = RestoreReport {
            workspace: state.report.workspace.clone(),
            state: state.report.clone(),
            before: None,
            totals,
        };
        if totals.is_empty() {
            return Ok(report);
        }
        let note = note(&state.report, point, &paths);
        let before = self.take_snapshot(entry, workspace, who, &note, &[], Occasion::BeforeRestore)?;
        report.before = Some(self.snapshot_report(&before, 1));
        progress.stage("restoring", 0);
        let restoring = self.restoring(entry, workspace);
        let changed = workspace.restore(who, &target, &paths).map_err(|error| failed(&state, error))?;
        entry.refresh(&changed);
        drop(restoring);
        self.make_durable(entry, workspace)?;
        Ok(report)
    }

    /// Takes one step back, or forward again.
    pub(crate) fn step(&self, who: &Caller, target: &Target, step: Step) -> Result<UndoReport, Fault> {
        self.open_for_work()?;
        let entry = self.find(target)?;
        let workspace = entry.load(&self.stores)?;
        let name = entry.name();
        let _alone = entry.travel();
        entry.flush();
        let before = workspace.now_past();
        let restoring = self.restoring(&entry, &workspace);
        let failed = |error| faults::errno(&format!("stepping in `{name}`"), error);
        if let Some(changed) = overlook::refreshed_index(&workspace, who, step).map_err(failed)? {
            entry.refresh(&changed);
        }
        let stepped = match step {
            Step::Back => workspace.undo(who),
            Step::Forward => workspace.redo(who),
        };
        let (point, changed) = stepped.map_err(failed)?.ok_or_else(|| nothing(&name, step))?;
        entry.refresh(&changed);
        drop(restoring);
        self.make_durable(&entry, &workspace)?;
        let totals = compare::count(&before, &workspace.now_past(), &[])
            .map_err(|error| faults::errno(&format!("comparing `{name}`"), error))?;
        let report = StateReport {
            name: format!("{name}@{{op {}}}", point.seq),
            workspace: name.clone(),
            snapshot: None,
            log: point.log.to_string(),
            operation: point.seq,
            time: None,
        };
        Ok(UndoReport { workspace: name, state: report, totals })
    }

    /// Remembers, over the end of this daemon, that the kernel is to be told of a restore; until the end of what is
    /// returned.
    pub(crate) fn restoring(&self, entry: &Entry, workspace: &Workspace) -> Option<Restoring> {
        let mount_id = entry.life().mount.as_ref().map(|live| live.mount.identity.mount_id)?;
        self.hold.restoring(mount_id, Some(workspace.present()));
        Some(Restoring { hold: Arc::clone(&self.hold), mount_id })
    }

    /// Tells the kernel of a restore that the daemon before may have left untold.
    pub(crate) fn finish_restore(&self, entry: &Entry, mount_id: u64, from: Point) {
        let told = entry.load(&self.stores).and_then(|workspace| {
            let changed = workspace.changed_since(from).map_err(|error| {
                faults::errno(&format!("looking at what a restore of `{}` changed", entry.name()), error)
            })?;
            entry.go_on_and_refresh(&changed);
            Ok(())
        });
        match told {
            Ok(()) => self.hold.restoring(mount_id, None),
            Err(fault) => crate::note(format_args!("{fault}")),
        }
    }

    fn make_durable(&self, entry: &Entry, workspace: &Workspace) -> Result<(), Fault> {
        workspace.sync().map_err(|error| {
            faults::errno(&format!("making `{}` durable after it was restored", entry.name()), error)
        })
    }
}

/// A restore of which the kernel is to be told.
pub(crate) struct Restoring {
    hold: Arc<Hold>,
    mount_id: u64,
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.hold.restoring(self.mount_id, None);
    }
}

impl Entry {
    /// As [`Entry::refresh`], for a mount from which nothing may have been asked yet.
    fn go_on_and_refresh(&self, changed: &Changed) {
        let handler = self.life().mount.as_ref().map(|live| live.handler.clone());
        // What cannot be loaded is told there, and answers nothing that could be untrue.
        if handler.is_some_and(|handler| handler.load().is_ok()) {
            self.refresh(changed);
        }
    }

    /// Has the kernel forget what a change behind its back made untrue.
    pub(crate) fn refresh(&self, changed: &Changed) {
        let mounted = self
            .life()
            .mount
            .as_ref()
            .map(|live| (live.handler.clone(), live.notifier.clone(), live.device()));
        let Some((handler, notifier, device)) = mounted else { return };
        let Some(adapter) = handler.loaded() else { return };
        let notifier = if changed.is_empty() { notifier } else { teller::notifier(&notifier) };
        match adapter.refresh(&notifier, changed) {
            Ok(()) => Wish::Sizes { device }.ask(),
            // Unmounted meanwhile: no cache is left.
            Err(Errno::Stale) => {}
            Err(error) => eprintln!("weald: {}: refreshing the kernel's caches: {error}", self.name()),
        }
    }
}

/// What the snapshot taken first is for.
fn note(state: &StateReport, point: Point, paths: &[Vec<u8>]) -> String {
    let what = match &state.snapshot {
        Some(id) => id.clone(),
        None => format!("operation {}", point.seq),
    };
    match paths {
        [] => format!("before restoring {what}"),
        [one] => format!("before restoring {} from {what}", String::from_utf8_lossy(one)),
        _ => format!("before restoring {} paths from {what}", paths.len()),
    }
}

/// The paths from the root of the workspace; none when all of it is meant.
fn paths(ask: &RestoreRequest, entry: &Entry) -> Result<Vec<Vec<u8>>, Fault> {
    let mut paths = Vec::with_capacity(ask.paths.len());
    for typed in &ask.paths {
        let path = path_inside(typed, ask.directory.as_ref(), entry)?;
        if path.is_empty() {
            return Ok(Vec::new());
        }
        paths.push(path);
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// A path from the root of the workspace, empty for the root itself. What was typed begins where the caller stands when
/// that is in the workspace, else at its root.
pub(crate) fn path_inside(typed: &Bytes, directory: Option<&Bytes>, entry: &Entry) -> Result<Vec<u8>, Fault> {
    let (typed, mount) = (&typed.0, entry.row().mount_path);
    let path = match typed.strip_prefix(b"/") {
        Some(_) => below(typed, &mount).and_then(|inside| normal(b"", &inside)),
        None => {
            let within = directory.and_then(|directory| below(&directory.0, &mount)).unwrap_or_default();
            normal(&within, typed)
        }
    };
    path.ok_or_else(|| outside(typed, &entry.name()))
}

/// What is left of an absolute path below a mount point, which may be reached through symbolic links.
fn below(path: &[u8], mount: &Path) -> Option<Vec<u8>> {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let canonical = || mount.canonicalize().ok().and_then(|mount| path.strip_prefix(mount).ok());
    let rest = path.strip_prefix(mount).ok().or_else(canonical)?;
    Some(rest.as_os_str().as_bytes().to_vec())
}

/// Joins and takes `.` and `..` out; None when that leads out of the root.
fn normal(within: &[u8], typed: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in within.split(|byte| *byte == b'/').chain(typed.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Refuses paths that neither state has.
fn check_paths(paths: &[Vec<u8>], now: &Past, target: &Past, state: &State) -> Result<(), Fault> {
    for path in paths {
        if target.resolve(path).is_err() && now.resolve(path).is_err() {
            let path = String::from_utf8_lossy(path);
            let report = &state.report;
            return Err(Fault::new(
                Code::UnknownPath,
                format!("`{}` is not in `{}`, nor in the present", path.escape_debug(), report.name),
            )
            .hint(format!(
                "paths begin at the root of the workspace, or where you stand in it; see: weald diff '{}' {}",
                report.name, report.workspace
            )));
        }
    }
    Ok(())
}

fn outside(typed: &[u8], name: &str) -> Fault {
    let typed = String::from_utf8_lossy(typed);
    Fault::new(Code::BadRequest, format!("`{}` leads out of `{name}`", typed.escape_debug()))
        .hint(format!("weald path {name}"))
}

fn no_state(name: &str) -> Fault {
    Fault::new(Code::BadRequest, format!("which state of `{name}`? It is as it is already"))
        .hint(format!("weald restore {name}@1, or '{name}@{{5m ago}}'; weald history {name} lists snapshots"))
}

fn failed(state: &State, error: Errno) -> Fault {
    let doing = format!("restoring `{}`", state.report.name);
    match error {
        Errno::NotDir => {
            Fault::new(Code::BadRequest, format!("{doing}: a file is where a directory of the path was"))
                .hint("restore the directory above it")
        }
        error => faults::errno(&doing, error),
    }
}

fn nothing(name: &str, step: Step) -> Fault {
    match step {
        Step::Back => {
            Fault::new(Code::NothingToUndo, format!("nothing was done in `{name}` that could be undone"))
                .hint(format!("weald history {name}"))
        }
        Step::Forward => {
            Fault::new(Code::NothingToUndo, format!("nothing was undone in `{name}` since its last change"))
                .hint(format!("any moment can be had back all the same: weald restore '{name}@{{1m ago}}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_never_lead_out() {
        for (within, typed, path) in [
            ("", "a/b", Some("a/b")),
            ("src", "main.rs", Some("src/main.rs")),
            ("src", "../a", Some("a")),
            ("src/deep", ".", Some("src/deep")),
            ("", ".", Some("")),
            ("", "a//b/", Some("a/b")),
            ("", "..", None),
            ("src", "../../a", None),
        ] {
            let found = normal(within.as_bytes(), typed.as_bytes());
            assert_eq!(found, path.map(|path| path.as_bytes().to_vec()), "{within} {typed}");
        }
    }

    #[test]
    fn only_what_is_below_the_mount_is() {
        let mount = Path::new("/m/ws");
        assert_eq!(below(b"/m/ws/a", mount).as_deref(), Some(&b"a"[..]));
        assert_eq!(below(b"/m/ws", mount).as_deref(), Some(&b""[..]));
        assert_eq!(below(b"/m/ws2/a", mount), None);
    }
}
