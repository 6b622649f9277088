//! Points, snapshots, restore, undo: going to the past of a workspace and coming back.
//!
//! Nothing here takes anything out of the log: a restore is one more record, and can be undone like any other change.
//! Lock order: a past is made before the state's lock is taken, since that may read the log.
//! Read next: `history` (what is remembered), `state/restore` (what a restore does), `replay` (how a past is made).

use crate::history::{Changed, Occasion, Point, Snapshot};
use crate::past::Past;
use crate::programs::Author;
use crate::record::{Change, Path, Record, Why};
use crate::replay::state_at;
use crate::state::State;
use crate::workspace::{OpenError, Workspace};
use weald_model::name::NAME_BYTES_MAX;
use weald_model::{Caller, Errno, Name, NameError, Result, SnapshotId, Timestamp};
use weald_store::log::LogError;

/// Longest note of a snapshot in bytes: a record holds it.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Most tags of a snapshot.
const TAGS_MAX: usize = 256;

impl Workspace {
    /// The point that is now.
    pub fn present(&self) -> Point {
        let _state = self.read_state();
        Point { log: self.id(), seq: self.log.seq() }
    }

    /// Takes a snapshot, which is durable when this returns. The caller has written the kernel's dirty pages. O(1) but
    /// for the sync. EEXIST when there is one with this id.
    pub fn snapshot(
        &self,
        who: &Caller,
        id: SnapshotId,
        note: &str,
        tags: &[String],
        occasion: Occasion,
    ) -> Result<Snapshot> {
        check_texts(note, tags)?;
        let who = self.shared.author(who);
        let snapshot = {
            let mut state = self.write_state();
            if state.history.find(id).is_some() {
                return Err(Errno::Exists);
            }
            let (note, tags) = (note.to_owned(), tags.to_vec());
            let change = Change::Snapshot { id, note, tags, occasion };
            let seq = self.append(&mut state, &who, self.now(), change, &[])?;
            self.shared.keep(Point { log: self.id(), seq }, state.clone());
            state.history.find(id).ok_or(Errno::Io)?.1
        };
        self.sync()?;
        Ok(Snapshot::clone(&snapshot))
    }

    /// The snapshots of this workspace, and those of the ones it was forked from up to there, the oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.read_state().history.snapshots()
    }

    /// Lists a snapshot no more. What it shows can still be gone to as a point. ENOENT.
    pub fn drop_snapshot(&self, who: &Caller, id: SnapshotId) -> Result<()> {
        self.change(who, |state, _| {
            state.history.find(id).ok_or(Errno::NotFound)?;
            Ok(Some(Change::DropSnapshot { id }))
        })
    }

    /// Gives a snapshot these tags in place of those it has. ENOENT.
    pub fn tag(&self, who: &Caller, id: SnapshotId, tags: &[String]) -> Result<()> {
        check_texts("", tags)?;
        self.change(who, |state, _| {
            state.history.find(id).ok_or(Errno::NotFound)?;
            Ok(Some(Change::Tag { id, tags: tags.to_vec() }))
        })
    }

    /// The last point whose record, and all before it, are not younger than `time`; None when there is none, ESTALE when
    /// that record was given up. Where
    /// the clock was set back, records count as made when the youngest before them was. Cost: reading the logs up to there.
    pub fn point_at(&self, time: Timestamp) -> Result<Option<Point>> {
        let present = self.present();
        let mut last = None;
        for end in self.lineage().iter().copied().chain([present]) {
            let floor = self.shared.floor(end.log).map_err(|error| error.errno())?;
            let mut is_over = false;
            let visited = self.shared.logs.replay_until(end.log, end.seq, &mut |stored| {
                let record = Record::decode(stored.body).map_err(|_| Errno::Io)?;
                is_over = record.time > time;
                match &floor {
                    // It was among those that were given up, unless the log was begun later.
                    Some(floor) if is_over && stored.seq <= floor.seq && floor.born() <= time => {
                        return Err(Errno::Stale);
                    }
                    Some(floor) if !is_over && stored.seq < floor.seq => return Ok(()),
                    _ => {}
                }
                if is_over {
                    return Err(Errno::Interrupted);
                }
                last = Some(Point { log: end.log, seq: stored.seq });
                Ok(())
            });
            match visited {
                Ok(()) => {}
                Err(LogError::Refused(Errno::Interrupted)) if is_over => break,
                Err(error) => return Err(error.errno()),
            }
        }
        Ok(last)
    }

    /// The workspace as it was at a point of its past, or of those it was forked from. ENOENT for any other point, ESTALE
    /// when content it needs was given back.
    /// Cost: the records since the nearest state in memory, see `kept`.
    pub fn past(&self, point: Point) -> Result<Past> {
        self.must_be_past(point)?;
        self.must_be_kept(point)?;
        let state = state_at(&self.shared, &self.base, point).map_err(|error| errno_of(&error))?;
        self.check_whole(&state)?;
        Ok(self.past_of(point, state))
    }

    /// What is different now from what it was at a point of its past, for who caches it. Errors as for [`Workspace::past`].
    pub fn changed_since(&self, point: Point) -> Result<Changed> {
        let past = self.past(point)?;
        let state = self.read_state();
        let mut changed = past.state().changed(&self.base, &state)?;
        let seen = past.state().masks_changed(&self.base, &state)?;
        changed.inodes.extend(seen.inodes);
        changed.inodes.sort_unstable();
        changed.inodes.dedup();
        changed.entries.extend(seen.entries);
        changed.entries.sort_unstable();
        changed.entries.dedup();
        Ok(changed)
    }

    /// The present, frozen. O(1).
    pub fn now_past(&self) -> Past {
        let state = self.read_state();
        let point = Point { log: self.id(), seq: self.log.seq() };
        self.past_of(point, state.clone())
    }

    /// Restores everything, or the paths, to what it was at `to`: one record, atomic. Files keep their inode numbers
    /// where they are the same in both; what then had no name and has one now becomes an orphan, for those who have it
    /// open. Paths are relative to the root and name what is restored with all below it; symbolic links are not
    /// followed. ENOENT for a path that is neither then nor now, ENOTDIR for one whose way is blocked, EINVAL for one
    /// with `..`. Without a difference nothing is recorded. No snapshot is taken.
    pub fn restore(&self, who: &Caller, to: &Past, paths: &[Vec<u8>]) -> Result<Changed> {
        let paths = paths.iter().map(|path| parse(path)).collect::<Result<Vec<Path>>>()?;
        self.must_be_past(to.point())?;
        let who = self.shared.author(who);
        // Some of it may have been given back since this past was made.
        let _revival = self.shared.given_back.revive();
        self.must_be_kept(to.point())?;
        self.check_whole(to.state())?;
        let mut state = self.write_state();
        self.restore_to(&mut state, &who, (to.point(), to.state()), paths, Why::Asked)
    }

    /// Takes the last step back: a restore, or a burst of changes less than two seconds apart. Returns where it went;
    /// None when there is no step. What Weald did when it made the workspace is none.
    pub fn undo(&self, who: &Caller) -> Result<Option<(Point, Changed)>> {
        self.step(who, Why::Undo, |state| state.history.undo_target())
    }

    /// Takes the last undo back. None when there is none, or something was changed since.
    pub fn redo(&self, who: &Caller) -> Result<Option<(Point, Changed)>> {
        self.step(who, Why::Redo, |state| state.history.redo_target())
    }

    /// Goes back to `to` as if nothing had been done since: what can be undone and redone is what could be then. For
    /// changes that nobody knows of, such as a cache that was written anew. None, and nothing is done, when something was
    /// changed behind `present`.
    pub fn overlook(&self, who: &Caller, to: &Past, present: Point) -> Result<Option<Changed>> {
        if to.point().log != self.id() {
            return Err(Errno::NotFound);
        }
        self.must_be_past(to.point())?;
        let who = self.shared.author(who);
        let _revival = self.shared.given_back.revive();
        self.check_whole(to.state())?;
        let mut state = self.write_state();
        if (Point { log: self.id(), seq: self.log.seq() }) != present {
            return Ok(None);
        }
        self.restore_to(&mut state, &who, (to.point(), to.state()), Vec::new(), Why::Overlook).map(Some)
    }

    fn step(
        &self,
        who: &Caller,
        why: Why,
        target: impl Fn(&State) -> Option<Point>,
    ) -> Result<Option<(Point, Changed)>> {
        let who = self.shared.author(who);
        let _revival = self.shared.given_back.revive();
        loop {
            let Some(to) = target(&self.read_state()) else { return Ok(None) };
            let past = self.past(to)?;
            let mut state = self.write_state();
            // Somebody may have changed something while the past was made.
            if target(&state) == Some(to) {
                let changed = self.restore_to(&mut state, &who, (to, past.state()), Vec::new(), why)?;
                return Ok(Some((to, changed)));
            }
        }
    }

    fn restore_to(
        &self,
        state: &mut State,
        who: &Author,
        (to, target): (Point, &State),
        paths: Vec<Path>,
        why: Why,
    ) -> Result<Changed> {
        let time = self.now();
        // Made before it is logged, so that what cannot be done is not.
        let mut next = state.restored(&self.base, target, &paths, time)?;
        let changed = state.changed(&self.base, &next)?;
        if changed.is_empty() && why == Why::Asked {
            return Ok(changed);
        }
        let change = Change::Restore { to, paths: paths.clone(), why };
        let before = self.append_with(who, time, change, &[], |_, at| {
            next.note_restore(target, &paths, why, at.point)?;
            self.shared.keep(at.point.before(), state.clone());
            Ok(std::mem::replace(state, next))
        })?;
        drop(before);
        Ok(changed)
    }

    fn past_of(&self, point: Point, state: State) -> Past {
        Past::new(self.shared.clone(), self.base.clone(), point, state)
    }

    /// ESTALE for a point whose record was given up, unless a snapshot listed here was sealed there.
    fn must_be_kept(&self, point: Point) -> Result<()> {
        let floor = self.shared.floor(point.log).map_err(|error| error.errno())?;
        if floor.is_none_or(|floor| point.seq >= floor.seq) {
            return Ok(());
        }
        let listed = self.snapshots().into_iter().find(|snapshot| snapshot.point == point);
        let seal = listed.and_then(|snapshot| snapshot.seal).ok_or(Errno::Stale)?;
        self.shared.add_checkpoint(point, seal.checkpoint);
        Ok(())
    }

    fn must_be_past(&self, point: Point) -> Result<()> {
        let last = match point.log == self.id() {
            true => Some(self.log.seq()),
            false => self.lineage().iter().find(|past| past.log == point.log).map(|past| past.seq),
        };
        match last {
            Some(last) if (1..=last).contains(&point.seq) => Ok(()),
            _ => Err(Errno::NotFound),
        }
    }
}

/// The names of a path from the root.
fn parse(path: &[u8]) -> Result<Path> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names
        .map(|name| {
            Name::new(name).map_err(|error| match error {
                NameError::TooLong => Errno::NameTooLong,
                NameError::Invalid => Errno::Invalid,
            })
        })
        .collect()
}

fn check_texts(note: &str, tags: &[String]) -> Result<()> {
    let fits = note.len() <= TEXT_BYTES_MAX
        && tags.len() <= TAGS_MAX
        && tags.iter().all(|tag| tag.len() <= NAME_BYTES_MAX);
    if fits { Ok(()) } else { Err(Errno::TooBig) }
}

fn errno_of(error: &OpenError) -> Errno {
    match error {
        OpenError::Log(error) => error.errno(),
        OpenError::Record(..) => Errno::Io,
        OpenError::Unrooted(..) => Errno::NotFound,
        OpenError::Past(errno) => *errno,
    }
}
