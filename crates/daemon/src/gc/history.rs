//! Snapshots that are too many, and content that nothing which stays reaches.
//!
//! What stays of a family of forks: the presents of those that are active or in the trash, their listed snapshots,
//! every moment inside the window, and pins. A family one of whose logs cannot be read is left alone.
//! Read next: the engine's `reach`, which decides about content; `thinning`, which decides about snapshots.

use super::Found;
use super::chunks::{Going, Needs};
use crate::config::Config;
use crate::entry::Entry;
use crate::faults;
use crate::forest::Forest;
use crate::keeper::owner;
use crate::pins::Pinned;
use crate::protocol::FaultLine;
use crate::report::{GcItem, GcKind, GcOptions, GcPlan, GcRun, Moment, Refusal};
use crate::thinning::Policy;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use weald_engine::reach::{Reach, Unreached};
use weald_engine::shortening::Shortening;
use weald_engine::{Point, Snapshot, Workspace};
use weald_model::{Code, Errno, Fault, SnapshotId, Timestamp, WorkspaceId};
use weald_store::log::reclaim::{Piece, Pieces};
use weald_store::registry::State;

/// What decides about snapshots and content.
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) config: Config,
    pub(super) pins: Vec<Pinned>,
    now: Timestamp,
}

/// Snapshots that a plan drops, by the workspace that lists them.
pub(super) type Dropped = HashSet<(WorkspaceId, SnapshotId)>;

/// Workspaces forked from each other, loaded.
pub(super) struct Family {
    pub(super) members: Vec<(Arc<Entry>, Arc<Workspace>)>,
}

/// True when `now` has all of an item of an earlier plan.
pub(super) fn covers(now: &GcItem, item: &GcItem) -> bool {
    // With a later floor, more would go than the plan says.
    if item.kind == GcKind::Records && now.what != item.what {
        return false;
    }
    let pieces = pieces_of(now);
    item.pieces.iter().all(|(file, from, to)| pieces.covers(&Piece { file: *file, from: *from, to: *to }))
}

fn pieces_of(item: &GcItem) -> Pieces {
    item.pieces.iter().map(|(file, from, to)| Piece { file: *file, from: *from, to: *to }).collect()
}

impl Forest {
    /// Finds both, and which chunks are needed when they are gone, and when only the logs in `stay` are left.
    pub(super) fn survey_history(
        &self,
        options: &GcOptions,
        stay: &HashSet<WorkspaceId>,
        found: &mut Found,
    ) -> Result<Needs, Fault> {
        let rules = self.rules(options)?;
        let mut needs = Needs::default();
        for entries in self.families() {
            let looked = self.with_family(entries, found, |family, found| {
                let (dropped, unreached) = survey_family(family, &rules, found);
                let going = Going { dropped, pieces: unreached.map(|unreached| unreached.pieces().clone()) };
                needs.family(family, stay, &going, found);
            });
            needs.is_known &= looked.is_some();
        }
        Ok(needs)
    }

    pub(super) fn rules(&self, options: &GcOptions) -> Result<Rules, Fault> {
        let (config, now) = (self.stores.config.read()?, self.stores.env.now());
        Ok(Rules { policy: Policy::of_plan(options, config.keep, now.secs), config, pins: self.pins()?, now })
    }

    /// Workspaces by the one their line of forks began with.
    pub(crate) fn families(&self) -> Vec<Vec<Arc<Entry>>> {
        let mut families: BTreeMap<WorkspaceId, Vec<Arc<Entry>>> = BTreeMap::new();
        for entry in self.all() {
            families.entry(self.root_of(&entry)).or_default().push(entry);
        }
        families.into_values().collect()
    }

    /// Loads a family, and lets those go afterwards that were not in memory.
    pub(super) fn with_family<T>(
        &self,
        entries: Vec<Arc<Entry>>,
        found: &mut Found,
        act: impl FnOnce(&Family, &mut Found) -> T,
    ) -> Option<T> {
        let idle: Vec<Arc<Entry>> =
            entries.iter().filter(|entry| entry.loaded().is_none()).cloned().collect();
        let mut members = Vec::with_capacity(entries.len());
        let mut is_whole = true;
        for entry in entries {
            match entry.load(&self.stores) {
                Ok(workspace) => members.push((entry, workspace)),
                Err(fault) => {
                    found.skip(&entry.name(), &fault);
                    is_whole = false;
                }
            }
        }
        let done = is_whole.then(|| act(&Family { members }, found));
        for entry in idle {
            let life = entry.life();
            // A mount that nobody asked for anything yet has not loaded it either.
            if life.mount.as_ref().is_none_or(|live| live.handler.loaded().is_none()) {
                entry.unload(&self.stores);
            }
        }
        done
    }

    /// Drops the plan's snapshots, then gives back the plan's content as far as it is unreached now.
    pub(super) fn take_history(&self, plan: &GcPlan, run: &mut GcRun) {
        let wanted: Vec<(WorkspaceId, &GcItem)> = plan
            .items
            .iter()
            .filter(|item| matches!(item.kind, GcKind::Content | GcKind::Records))
            .filter_map(|item| Some((WorkspaceId::from_hex(&item.id)?, item)))
            .collect();
        for item in plan.items.iter().filter(|item| item.kind == GcKind::Snapshot) {
            match self.drop_planned(item) {
                Ok(()) => run.done += 1,
                Err(fault) => refuse(run, item, &fault),
            }
        }
        let rules = match self.rules(&plan.options) {
            Ok(rules) => rules,
            Err(fault) => return wanted.iter().for_each(|(_, item)| refuse(run, item, &fault)),
        };
        for entries in self.families() {
            let is_own = |id: WorkspaceId| entries.iter().any(|entry| entry.id == id);
            let own: Vec<_> = wanted.iter().filter(|(id, _)| is_own(*id)).copied().collect();
            if own.is_empty() {
                continue;
            }
            let mut found = Found::default();
            let given = self.with_family(entries, &mut found, |family, _| give_back(family, &rules, &own));
            run.refused.append(&mut found.skipped);
            match given {
                Some(Ok(bytes)) => {
                    run.done += own.len() as u64;
                    run.freed_bytes += bytes;
                }
                Some(Err(fault)) => own.iter().for_each(|(_, item)| refuse(run, item, &fault)),
                None => {}
            }
        }
    }

    fn drop_planned(&self, item: &GcItem) -> Result<(), Fault> {
        let gone = || faults::errno("dropping a snapshot", Errno::NotFound);
        let (workspace, snapshot) = item.id.split_once(' ').ok_or_else(gone)?;
        let entry = WorkspaceId::from_hex(workspace).and_then(|id| self.by_id(id)).ok_or_else(gone)?;
        let id = snapshot_id(snapshot).ok_or_else(gone)?;
        let was_idle = entry.loaded().is_none();
        let dropped = entry.load(&self.stores)?.drop_snapshot(&owner(&entry), id);
        if was_idle && entry.life().mount.is_none() {
            entry.unload(&self.stores);
        }
        dropped.map_err(|error| faults::errno("dropping a snapshot", error))
    }
}

fn refuse(run: &mut GcRun, item: &GcItem, fault: &Fault) {
    run.refused.push(Refusal { name: item.what.clone(), fault: FaultLine::from(fault) });
}

fn snapshot_id(hex: &str) -> Option<SnapshotId> {
    u64::from_str_radix(hex, 16).ok().map(SnapshotId)
}

/// True for what is taken with all of a family at hand.
pub(super) fn is_of_family(kind: GcKind) -> bool {
    matches!(kind, GcKind::Snapshot | GcKind::Content | GcKind::Records)
}

/// Tells what of a family can go. The snapshots that the plan drops count as gone.
fn survey_family(family: &Family, rules: &Rules, found: &mut Found) -> (Dropped, Option<Unreached>) {
    let mut dropped = HashSet::new();
    for (entry, workspace) in family.kept() {
        let snapshots = workspace.snapshots();
        for snapshot in rules.policy.dropped(&snapshots) {
            if rules.pins.iter().any(|pin| pin.point == snapshot.point) {
                continue;
            }
            dropped.insert((entry.id, snapshot.id));
            found.items.push(snapshot_item(entry, snapshot, &rules.policy));
        }
    }
    match family.unreached(rules, &dropped) {
        Ok(Some((unreached, shortenings))) => {
            found.items.extend(shortenings.iter().filter_map(|one| family.records_item(one)));
            for (log, pieces) in unreached.pieces() {
                let bytes = unreached.bytes(*log).unwrap_or(0);
                found.items.extend(family.content_item(*log, pieces, bytes));
            }
            (dropped, Some(unreached))
        }
        Ok(None) => (dropped, None),
        Err(fault) => {
            found.skip(&family.members[0].0.name(), &fault);
            (dropped, None)
        }
    }
}

/// Gives back what the plan says and nobody reaches now.
fn give_back(family: &Family, rules: &Rules, wanted: &[(WorkspaceId, &GcItem)]) -> Result<u64, Fault> {
    // What a crash left recorded and not given back.
    for (_, workspace) in &family.members {
        workspace.finish_giving_back().map_err(not_given_back)?;
    }
    let of_kind = |kind| wanted.iter().filter(move |(_, item)| item.kind == kind);
    let content = of_kind(GcKind::Content).map(|(log, item)| (*log, pieces_of(item))).collect();
    let Some((unreached, shortenings)) = family.unreached(rules, &HashSet::new())? else { return Ok(0) };
    let unreached = unreached.only(&content);
    let mut bytes = unreached.give_back().map_err(not_given_back)?;
    let is_wanted = |one: &&Shortening| {
        let now = family.records_item(one);
        of_kind(GcKind::Records)
            .any(|(_, item)| now.as_ref().is_some_and(|now| now.id == item.id && covers(now, item)))
    };
    for one in shortenings.iter().filter(is_wanted) {
        let given_up = unreached.give_up(one, &|work| work()).map_err(not_given_back)?;
        bytes += given_up.ok_or_else(|| {
            Fault::new(Code::WorkspaceInUse, "the log is being read").hint("run it again in a moment")
        })?;
    }
    Ok(bytes)
}

/// What nobody reaches of a family, and which records nobody needs.
type Looked = Option<(Unreached, Vec<Shortening>)>;

/// Why content stays where it is.
pub(super) fn not_given_back(error: Errno) -> Fault {
    match error {
        Errno::Busy => Fault::new(Code::WorkspaceInUse, "an older state was brought back meanwhile")
            .hint("weald gc plan"),
        Errno::NotSupported => {
            Fault::new(Code::HostIo, "the file system of Weald's home cannot make holes in files")
        }
        error => faults::errno("giving content back", error),
    }
}

impl Family {
    /// Those whose present stays.
    pub(super) fn kept(&self) -> impl Iterator<Item = &(Arc<Entry>, Arc<Workspace>)> {
        self.members.iter().filter(|(entry, _)| matches!(entry.state(), State::Active | State::Trashed))
    }

    /// Content that nothing which stays reaches; None when there is no large content at all.
    fn unreached(&self, rules: &Rules, dropped: &Dropped) -> Result<Looked, Fault> {
        self.begin().map(|reach| self.finish(reach, rules, dropped)).transpose()
    }

    /// Begins looking at content and records; None when there is no large content at all, and no log is long. The caller
    /// keeps forks and pins away.
    pub(super) fn begin(&self) -> Option<Reach> {
        let is_large = |workspace: &Workspace| workspace.has_data() || workspace.is_long();
        if !self.members.iter().any(|(_, workspace)| is_large(workspace)) {
            return None;
        }
        let kept: BTreeSet<WorkspaceId> = self.kept().map(|(entry, _)| entry.id).collect();
        let all = self.members.iter().map(|(_, workspace)| workspace.clone()).collect();
        Some(Reach::begin(all, |id| kept.contains(&id)))
    }

    /// Looks at all that stays. `rules` are those of when looking began, or later ones that keep more.
    pub(super) fn finish(
        &self,
        mut reach: Reach,
        rules: &Rules,
        dropped: &Dropped,
    ) -> Result<(Unreached, Vec<Shortening>), Fault> {
        let failed = |error| faults::errno("looking at what is kept", error);
        let span = i64::try_from(rules.config.window_secs).unwrap_or(i64::MAX);
        let from = Timestamp { secs: rules.now.secs.saturating_sub(span), ..rules.now };
        for (entry, workspace) in self.kept() {
            let listed = workspace.snapshots();
            for snapshot in listed.iter().filter(|snapshot| !dropped.contains(&(entry.id, snapshot.id))) {
                reach.snapshot(snapshot);
            }
            reach.window(workspace, from, rules.config.window_bytes).map_err(failed)?;
        }
        for pin in rules.pins.iter().filter(|pin| self.has(pin.point)) {
            reach.point(pin.point);
        }
        let mut shortenings = Vec::new();
        // What is in the trash is left as it was removed.
        for (_, workspace) in self.members.iter().filter(|(entry, _)| entry.state() == State::Active) {
            shortenings.extend(reach.shorten(workspace).map_err(failed)?);
        }
        let unreached = reach.finish().map_err(|error| faults::open(&self.members[0].0.name(), &error))?;
        Ok((unreached, shortenings))
    }

    fn has(&self, point: Point) -> bool {
        self.members.iter().any(|(entry, _)| entry.id == point.log)
    }

    /// What goes of a log's records.
    fn records_item(&self, one: &Shortening) -> Option<GcItem> {
        let (entry, _) = self.members.iter().find(|(entry, _)| entry.id == one.log)?;
        let since = serde_json::to_value(Moment(one.since.secs)).unwrap_or_default();
        let since = since.as_str().unwrap_or_default().to_owned();
        Some(GcItem {
            kind: GcKind::Records,
            id: one.log.to_string(),
            what: format!(
                "the records of `{}` up to {}; its past begins {since} then",
                entry.name(),
                one.last
            ),
            why: "no present, snapshot, fork, pin or moment of the history window needs them".to_owned(),
            bytes: one.bytes,
            pieces: Vec::new(),
        })
    }

    fn content_item(&self, log: WorkspaceId, pieces: &Pieces, bytes: u64) -> Option<GcItem> {
        let (entry, _) = self.members.iter().find(|(entry, _)| entry.id == log)?;
        Some(GcItem {
            kind: GcKind::Content,
            id: log.to_string(),
            what: format!("content that was written in `{}`", entry.name()),
            why: "no present, snapshot, fork, pin or moment of the history window reaches it".to_owned(),
            bytes,
            pieces: pieces.iter().map(|piece| (piece.file, piece.from, piece.to)).collect(),
        })
    }
}

fn snapshot_item(entry: &Entry, snapshot: &Snapshot, policy: &Policy) -> GcItem {
    let taken = serde_json::to_value(Moment(snapshot.time.secs)).unwrap_or_default();
    let taken = taken.as_str().unwrap_or_default().to_owned();
    let note = if snapshot.note.is_empty() { String::new() } else { format!(" \"{}\"", snapshot.note) };
    GcItem {
        kind: GcKind::Snapshot,
        id: format!("{} {:016x}", entry.id, snapshot.id.0),
        what: format!("the snapshot {:016x} of `{}`, {taken}{note}", snapshot.id.0, entry.name()),
        why: policy.reason().to_owned(),
        bytes: 0,
        pieces: Vec::new(),
    }
}
