//! Going to the past in a world: what it shows, what a restore does, and what it says it changed.

use crate::steps::{Chosen, STEMS_MAX, Step};
use crate::world::{Checked, Stem, USER, World};
use std::collections::{BTreeMap, BTreeSet};
use weald_engine::seal::SealCheck;
use weald_engine::{Changed, Occasion, Past, Point, diff};
use weald_model::{Attr, FileKind, Ino, Result, SnapshotId, WorkspaceId};
use weald_testkit::compare::{Clock, Description, Node, describe, same};
use weald_testkit::operation::{Slots, name};
use weald_testkit::reference::Reference;

/// Entries of a directory.
type Entries = BTreeMap<Vec<u8>, Ino>;

impl World {
    /// Does a step that has to do with the past.
    pub(crate) fn travel(&mut self, step: &Step) -> Checked {
        match step {
            Step::Snapshot { stem } => self.snapshot(*stem),
            Step::Seal { stem, which } => self.stem(*stem).seal(*which),
            Step::Tag { stem, which } => self.stem(*stem).tag(*which),
            Step::Move { stem, which } => self.stem(*stem).move_content(*which),
            Step::Drop { stem, which } => self.stem(*stem).drop_snapshot(*which),
            Step::Look { stem, moment, other } => self.stem(*stem).look(*moment, *other),
            Step::Restore { stem, moment, paths, forget } => {
                self.stem(*stem).restore(*moment, paths, *forget)
            }
            Step::Undo { stem } => {
                let stem = self.stem(*stem);
                let undone = stem.engine.undo(&USER);
                stem.follow("undo", undone)
            }
            Step::Redo { stem } => {
                let stem = self.stem(*stem);
                let redone = stem.engine.redo(&USER);
                stem.follow("redo", redone)
            }
            Step::ForkAt { stem, moment, sync } => self.fork_at(*stem, *moment, *sync),
            _ => {
                self.clock.tick();
                self.clock.tick();
                Ok(())
            }
        }
    }

    fn snapshot(&mut self, stem: usize) -> Checked {
        self.forks += 1;
        let id = SnapshotId(self.forks);
        let stem = self.stem(stem);
        let taken = stem.engine.snapshot(&USER, id, "note", &[], Occasion::Asked);
        let taken = taken.map_err(|error| format!("snapshot failed: {error}"))?;
        if taken.point != stem.engine.present() || stem.engine.snapshots().last() != Some(&taken) {
            return Err(format!("{taken:?} is not the last snapshot"));
        }
        // It made everything before it durable.
        stem.sync()
    }

    fn fork_at(&mut self, stem: usize, moment: usize, sync: bool) -> Checked {
        if self.stems.len() == STEMS_MAX {
            return Ok(());
        }
        self.forks += 1;
        let id = WorkspaceId(1 + self.forks);
        let parent = self.stem(stem);
        let number = moment % parent.moments.len();
        let moments = parent.moments[..=number].to_vec();
        let (point, then) = moments[number].clone();
        let engine = parent.engine.fork_at(point, id, b"fork");
        let engine = engine.map_err(|error| format!("fork at {point:?} failed: {error}"))?;
        let mut child = Stem::new(id, engine, vec![then.clone()], false);
        child.numbers = parent.numbers.clone();
        child.numbers.keep_known(&then);
        child.moments = moments;
        if sync {
            child.sync()?;
        }
        child.check().map_err(|why| format!("forked at {point:?}: {why}"))?;
        self.stems.push(child);
        Ok(())
    }
}

impl Stem {
    /// Notes the present as a moment to go back to.
    pub(crate) fn note(&mut self) {
        let point = self.engine.present();
        if self.moments.last().is_none_or(|(last, _)| *last != point) {
            self.moments.push((point, self.reference.clone()));
        }
    }

    /// After a power cut: what was behind its end is in nobody's past.
    pub(crate) fn forget_lost_moments(&mut self) {
        let Point { log, seq } = self.engine.present();
        self.moments.retain(|(point, _)| point.log != log || point.seq <= seq);
    }

    fn moment(&self, number: usize) -> (Point, Reference) {
        self.moments[number % self.moments.len()].clone()
    }

    pub(crate) fn look(&self, moment: usize, other: usize) -> Checked {
        let ((point, mut then), (other, _)) = (self.moment(moment), self.moment(other));
        let past = self.past(point)?;
        let found = describe_past(&past).map_err(|error| format!("{point:?} cannot be walked: {error}"))?;
        let wanted = describe(&mut then, &Slots::default()).expect("the reference can be walked");
        let mut numbers = self.numbers.clone();
        numbers.keep_known(&then);
        same(&found, &wanted, &mut numbers, Clock::Shared).map_err(|why| format!("at {point:?}: {why}"))?;
        let end = self.past(other)?;
        let there = describe_past(&end).map_err(|error| format!("{other:?} cannot be walked: {error}"))?;
        same_differences(&past, &end, &found, &there)
    }

    /// Seals a snapshot, and computes it again in every way there is.
    fn seal(&mut self, which: usize) -> Checked {
        let unsealed = self.engine.unsealed();
        let Some(snapshot) = unsealed.get(which % unsealed.len().max(1)) else { return Ok(()) };
        let id = snapshot.id;
        let sealed =
            self.engine.seal(id, &|_| true).map_err(|error| format!("{id:?} not sealed: {error}"))?;
        let snapshots = self.engine.snapshots();
        let snapshot = snapshots.iter().find(|one| one.id == id).expect("it was just there");
        if snapshot.seal != sealed.map(|sealed| sealed.seal) {
            return Err(format!("{snapshot:?} does not say that it is {sealed:?}"));
        }
        self.check_seals()?;
        let past = self.past(snapshot.point)?;
        let alone = self.engine.sealed_past(id).map_err(|error| format!("{id:?} not read: {error}"))?;
        alone.check().map_err(|error| error.to_string())??;
        let wanted = describe_past(&past).map_err(|error| error.to_string())?;
        let found = describe_past(&alone).map_err(|error| error.to_string())?;
        if found != wanted {
            return Err(format!(
                "sealed, {id:?} shows {found:?}
not {wanted:?}"
            ));
        }
        self.note();
        Ok(())
    }

    fn tag(&mut self, which: usize) -> Checked {
        let listed = self.engine.snapshots();
        let Some(one) = listed.get(which % listed.len().max(1)) else { return Ok(()) };
        let tags = [format!("tag {which}")];
        self.engine.tag(&USER, one.id, &tags).map_err(|error| format!("tag failed: {error}"))?;
        let found = self.engine.snapshots().into_iter().find(|found| found.id == one.id);
        match found.is_some_and(|found| found.tags.contains(&tags[0])) {
            true => Ok(()),
            false => Err(format!("{one:?} has no tag")),
        }
    }

    fn move_content(&mut self, which: usize) -> Checked {
        let mut sealed = self.engine.snapshots();
        sealed.retain(|one| one.seal.is_some());
        let Some(one) = sealed.get(which % sealed.len().max(1)) else { return Ok(()) };
        let mut placed = Vec::new();
        let places = self.engine.sealed_places(one.id, &mut |one| placed.push(one));
        places.map_err(|error| format!("move failed: {error}"))?;
        let moved = self.engine.move_content(&placed, &|| false, &|work| work());
        moved.map_err(|error| format!("move failed: {error}"))?;
        self.check().map(drop)
    }

    fn drop_snapshot(&mut self, which: usize) -> Checked {
        let listed = self.engine.snapshots();
        let Some(one) = listed.get(which % listed.len().max(1)) else { return Ok(()) };
        self.engine.drop_snapshot(&USER, one.id).map_err(|error| format!("drop failed: {error}"))?;
        match self.engine.snapshots().contains(one) {
            true => Err(format!("{one:?} is still listed")),
            false => Ok(()),
        }
    }

    /// Every sealed snapshot is what it says, looked at alone and one after the other.
    pub(crate) fn check_seals(&self) -> Checked {
        let mut together = SealCheck::default();
        for snapshot in self.engine.snapshots().iter().filter(|one| one.seal.is_some()) {
            let past = self.past(snapshot.point)?;
            for check in [&mut together, &mut SealCheck::default()] {
                check.check(&past, snapshot).map_err(|why| format!("{snapshot:?}: {why}"))?;
            }
        }
        Ok(())
    }

    fn past(&self, point: Point) -> std::result::Result<Past, String> {
        self.engine.past(point).map_err(|error| format!("{point:?} cannot be gone to: {error}"))
    }

    fn restore(&mut self, moment: usize, paths: &[Chosen], forget: bool) -> Checked {
        let (point, then) = self.moment(moment);
        let paths = choose(paths, &then, &self.reference);
        let joined: Vec<Vec<u8>> = paths.iter().map(|path| path.join(&b'/')).collect();
        let past = self.past(point)?;
        let before = self.engine.now_past();
        let restored = self.engine.restore(&USER, &past, &joined);
        let wanted = self.reference.restore(&then, &paths);
        let changed = match (restored, wanted) {
            (Ok(changed), Ok(())) => changed,
            (Err(found), Err(wanted)) if found == wanted => return Ok(()),
            (found, wanted) => return Err(format!("answered {found:?}, wanted {wanted:?}")),
        };
        self.check_restored(&before, &changed)?;
        if forget {
            for ino in &changed.inodes {
                if !self.slots.held.contains(&Some(*ino)) {
                    self.engine.forget(*ino);
                }
            }
            self.reference.forget_all_but(&self.reference_slots.held);
            self.history.push(self.reference.clone());
        }
        self.check().map(|_| ())
    }

    /// The reference goes where the engine went.
    fn follow(&mut self, what: &str, went: Result<Option<(Point, Changed)>>) -> Checked {
        let went = went.map_err(|error| format!("{what} failed: {error}"))?;
        let Some((point, changed)) = went else { return Ok(()) };
        // What lies between the moments that were noted cannot be seen.
        let noted = self.moments.iter().rev().find(|(noted, _)| noted.log == point.log && *noted <= point);
        let Some((_, then)) = noted else {
            return Err(format!("{what} went to {point:?}, which nobody knows"));
        };
        let before = self.moments.last().map(|(point, _)| *point);
        self.reference.restore(&then.clone(), &[]).expect("everything can be restored");
        let before = self.past(before.expect("there is a moment"))?;
        self.check_restored(&before, &changed).map_err(|why| format!("{what} to {point:?}: {why}"))
    }

    fn check_restored(&mut self, before: &Past, changed: &Changed) -> Checked {
        self.history.push(self.reference.clone());
        self.check()?;
        check_changed(before, &self.engine.now_past(), changed)
    }
}

/// The names of the chosen paths.
fn choose(paths: &[Chosen], then: &Reference, now: &Reference) -> Vec<Vec<Vec<u8>>> {
    let mut there = BTreeSet::new();
    for mut reference in [then.clone(), now.clone()] {
        let all = describe(&mut reference, &Slots::default()).expect("the reference can be walked");
        there.extend(all.into_keys().filter(|path| !path.is_empty()));
    }
    let there: Vec<Vec<u8>> = there.into_iter().collect();
    let choose = |path: &Chosen| match path {
        Chosen::There(number) if !there.is_empty() => {
            let path = &there[number % there.len()][1..];
            path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
        }
        Chosen::There(_) => vec![name(0)],
        Chosen::Any(names) => names.iter().map(|index| name(*index)).collect(),
    };
    paths.iter().map(choose).collect()
}

fn describe_past(past: &Past) -> Result<Description> {
    let mut all = Description::new();
    let mut open = vec![(Vec::new(), Ino::ROOT)];
    while let Some((path, ino)) = open.pop() {
        let node = node(past, ino)?;
        for (name, child) in entries(past, ino) {
            open.push(([&path[..], b"/", &name].concat(), child));
        }
        all.insert(path, node);
    }
    Ok(all)
}

fn node(past: &Past, ino: Ino) -> Result<Node> {
    // Where content is elsewhere, asking for the size brings it here.
    if matches!(past.attr(ino)?.kind, FileKind::File | FileKind::Symlink) {
        past.size(ino)?;
    }
    let attr = past.attr(ino)?;
    let mut content = Vec::new();
    match attr.kind {
        FileKind::File => past.read(ino, 0, attr.size as usize + 10, &mut content)?,
        FileKind::Symlink => content = past.read_link(ino)?,
        _ => {}
    }
    let names = past.list_xattr(ino)?;
    let names = names.split_inclusive(|byte| *byte == 0).map(|name| &name[..name.len() - 1]);
    let xattrs = names.map(|name| Ok((name.to_vec(), past.get_xattr(ino, name)?))).collect::<Result<_>>()?;
    let parent = if attr.kind == FileKind::Dir { Some(past.parent_of(ino)?) } else { None };
    Ok(Node { attr, content, xattrs, parent })
}

/// None when it is no directory, or not there.
fn entries(past: &Past, dir: Ino) -> Entries {
    let mut entries = Entries::new();
    let _ = past.read_dir(dir, Default::default(), &mut |entry| {
        entries.insert(entry.name.to_vec(), entry.ino);
        true
    });
    entries
}

/// What a restore says it changed is all that changed, and nothing else.
fn check_changed(before: &Past, after: &Past, changed: &Changed) -> Checked {
    let reachable = |past: &Past| -> BTreeSet<Ino> {
        let all = describe_past(past).expect("it was walked before");
        all.into_values().map(|node| node.attr.ino).collect()
    };
    let known: BTreeSet<Ino> =
        reachable(before).into_iter().chain(reachable(after)).chain(changed.inodes.iter().copied()).collect();
    let mut wanted = Changed::default();
    for ino in known {
        let (old_entries, new_entries) = (entries(before, ino), entries(after, ino));
        let names: BTreeSet<&Vec<u8>> = old_entries.keys().chain(new_entries.keys()).collect();
        let Ok(old) = node(before, ino) else { continue };
        for name in names {
            if old_entries.get(name) != new_entries.get(name) {
                wanted.entries.push((ino, name.clone()));
            }
        }
        let new = node(after, ino).map_err(|error| format!("{ino:?} got lost: {error}"))?;
        if old_entries != new_entries || old != new {
            wanted.inodes.push(ino);
        }
    }
    if *changed == wanted { Ok(()) } else { Err(format!("said {changed:?}\nchanged {wanted:?}")) }
}

/// What `diff` tells is what differs.
fn same_differences(a: &Past, b: &Past, old: &Description, new: &Description) -> Checked {
    let mut found = BTreeMap::new();
    let mut order = Vec::new();
    let told = diff(a, b, &mut |it| {
        order.push(it.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>());
        let path = if it.path.is_empty() { Vec::new() } else { [b"/", &it.path[..]].concat() };
        found.insert(path, (it.old, it.new, it.content));
        true
    });
    told.map_err(|error| format!("diff failed: {error}"))?;
    if order.len() != found.len() || !order.is_sorted() {
        return Err("diff is out of order or tells a path twice".to_owned());
    }
    let mut wanted = BTreeMap::new();
    for path in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (old.get(path), new.get(path));
        let content = match (one, other) {
            (Some(one), Some(other)) if one.attr.kind == other.attr.kind => one.content != other.content,
            _ => [one, other].into_iter().flatten().any(|node| !node.content.is_empty()),
        };
        let plain = |node: &Node| {
            let Attr { kind, perm, uid, gid, rdev, size, mtime, .. } = node.attr;
            let of_file = (kind != FileKind::Dir).then_some((size, mtime));
            (kind, perm, uid, gid, rdev, of_file, node.xattrs.clone())
        };
        if content || one.map(plain) != other.map(plain) {
            wanted.insert(path.clone(), (one.map(|node| node.attr), other.map(|node| node.attr), content));
        }
    }
    match found == wanted {
        true => Ok(()),
        false => Err(format!("from {a:?} to {b:?} diff tells {found:?}\n  wanted {wanted:?}")),
    }
}
