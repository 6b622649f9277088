//! What content can still be reached, and giving the rest back to the disk.
//!
//! Unit is the entry of a data segment: what one large write put there. An entry is kept when any byte of it is reached
//! by a state that stays. States that stay are named by the caller (presents, snapshots, the states and writes inside
//! a window of time, pins), for a whole *family*: workspaces forked from each other, since each reads the others' logs.
//!
//! Invariants, in the order they are used:
//! 1. Only entries are looked at that were put, and recorded or given up by their writer, before the states were taken
//!    ([`Reach::begin`]). From these states on, only new entries, those reached, and what a *revival* brings back can be
//!    read; a revival (restore, undo, fork of a past, pin) between looking and recording is seen and refuses.
//! 2. Everything that made the entries needless is durable, in all logs of the family: no crash brings back a state that
//!    needs them.
//! 3. What is given back is recorded in its log; from then on no past that needs it is shown.
//! 4. The records are durable before the first hole is made.
//!
//! Read next: `given_back` (who knows what is gone), the store's `log/reclaim.rs` (holes), docs/format.md.

use crate::content::Extent;
use crate::content::Origin as From;
use crate::history::{Point, Seal, Snapshot};
use crate::past::Past;
use crate::record::{Change, Record, Stored};
use crate::replay::{Replay, state_at};
use crate::seal::Store;
use crate::state::State;
use crate::workspace::{OpenError, Workspace};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError};
use weald_model::{Caller, Errno, Result, Timestamp, WorkspaceId};
use weald_store::log::format::{ENTRY_HEADER_BYTES, Position};
use weald_store::log::reclaim::{Piece, Pieces};
use weald_store::log::{LogError, Place};

/// Pieces in one record: it stays far below the largest body.
const PIECES_PER_RECORD: usize = 10_000;
/// Fewer bytes than this in a piece are not worth telling.
const PIECE_BYTES_MIN: u64 = 4096;

/// Records that are looked at before it is asked whether to go on.
const RECORDS_BETWEEN_LOOKS: u64 = 1024;

/// A workspace of the family, and where its data ended when looking began.
struct Member {
    workspace: Arc<Workspace>,
    end: Position,
}

/// What is reached so far in one family.
pub struct Reach {
    members: Vec<Member>,
    /// Revivals before looking began.
    revivals: u64,
    /// The presents that stay.
    presents: Vec<Past>,
    /// Says that looking is to end.
    stop: Box<Stop>,
    /// Start and end of what is reached of entries, by log and data segment.
    live: HashMap<(WorkspaceId, u32), BTreeMap<u64, u64>>,
    /// Points whose states stay and are yet to be looked at.
    points: BTreeSet<Point>,
    /// Those of them that can be had without any record,
    sealed: BTreeMap<Point, Seal>,
    /// as long as they are listed; these stay also when they are not.
    hard: BTreeSet<Point>,
    /// Of logs of which segments of records may go: data in those before this one, and how much of it is reached.
    inline: HashMap<WorkspaceId, (u32, Inline)>,
}

/// Data within records, by segment and offset of the frame: bytes that are reached, from its first on.
pub(crate) type Inline = BTreeMap<(u32, u64), u64>;

/// Asked again and again while looking: true when something else is more important.
pub type Stop = dyn Fn() -> bool + Send + Sync;

/// What nobody reaches, of one family, as of one moment.
pub struct Unreached {
    members: Vec<Member>,
    pub(crate) revivals: u64,
    pieces: BTreeMap<WorkspaceId, Pieces>,
    /// Data within records that is reached, of logs of which segments may go.
    pub(crate) inline: HashMap<WorkspaceId, (u32, Inline)>,
}

/// What a record brings into the tree.
enum Brought {
    /// New data, and its length.
    Written(Place, u64),
    /// What was there at a point.
    Back(Point),
}

impl Reach {
    /// Begins looking at a family: all workspaces forked from each other that are there, with the presents of those in
    /// `present`. Waits for writes and revivals under way. O(1) for each; what takes long is left to the other methods,
    /// during which the family may grow: a fork has what its parent has now, or is a revival.
    pub fn begin(family: Vec<Arc<Workspace>>, present: impl Fn(WorkspaceId) -> bool) -> Self {
        // One under way has counted itself already, and may append what it brings back behind the presents below.
        let count = |first: &Arc<Workspace>| {
            let given_back = &first.shared.given_back;
            let _none_is_under_way = given_back.gate_closed();
            given_back.revivals()
        };
        let revivals = family.first().map_or(0, count);
        let members: Vec<Member> = family
            .into_iter()
            .map(|workspace| Member { end: workspace.settled_data_end(), workspace })
            .collect();
        let staying = members.iter().filter(|member| present(member.workspace.id()));
        let presents = staying.map(|member| member.workspace.now_past()).collect();
        let (live, points, sealed) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        let hard = BTreeSet::new();
        Self {
            members,
            revivals,
            presents,
            stop: Box::new(|| false),
            live,
            points,
            sealed,
            hard,
            inline: HashMap::new(),
        }
    }

    /// Ends looking early when `stop` says so, with EINTR.
    #[must_use]
    pub fn until(mut self, stop: Box<Stop>) -> Self {
        self.stop = stop;
        self
    }

    /// The first record of a log before which nothing that stays begins or is named, but for sealed snapshots. None when
    /// nothing was named.
    pub(crate) fn first_needed(&self, log: WorkspaceId) -> Result<Option<u64>> {
        let range = Point { log, seq: 0 }..=Point { log, seq: u64::MAX };
        let is_hard = |point: &&Point| !self.sealed.contains_key(*point) || self.hard.contains(*point);
        let named = self.points.range(range.clone()).find(is_hard).map(|point| point.seq);
        let Some(named) = named else { return Ok(None) };
        let named = named.min(self.first_broken(range)?.map_or(u64::MAX, |point| point.seq));
        let forks = self.members.iter().flat_map(|member| member.workspace.lineage());
        let forked = forks.filter(|point| point.log == log).map(|point| point.seq).min();
        Ok(Some(forked.map_or(named, |forked| named.min(forked))))
    }

    /// The first sealed snapshot that is not all there: chunks of one that only a fork of an older past lists may have gone.
    fn first_broken(&self, range: RangeInclusive<Point>) -> Result<Option<Point>> {
        let Some(member) = self.members.first() else { return Ok(None) };
        let chunks = &member.workspace.shared.chunks;
        let (store, mut seen) = (Store::new(chunks), HashSet::new());
        for (point, seal) in self.sealed.range(range) {
            self.go_on(RECORDS_BETWEEN_LOOKS)?;
            let mut is_there = true;
            let looked =
                crate::seal::reach(&store, &seal.root, &seal.checkpoint, &mut seen, &mut |hash, _| {
                    is_there &= chunks.has(hash)?;
                    Ok(())
                });
            if looked.is_err() || !is_there {
                return Ok(Some(*point));
            }
        }
        Ok(None)
    }

    pub(crate) fn is_named(&self, point: Point) -> bool {
        self.points.contains(&point)
    }

    pub(crate) fn workspaces(&self) -> impl Iterator<Item = &Arc<Workspace>> {
        self.members.iter().map(|member| &member.workspace)
    }

    /// From here on it is noted what is reached of data within records before a segment.
    pub(crate) fn track_inline(&mut self, log: WorkspaceId, segment: u32) {
        let (first, _) = self.inline.entry(log).or_default();
        *first = segment.max(*first);
    }

    /// The state at a point of the family's past stays.
    pub fn point(&mut self, point: Point) {
        self.hard.insert(point);
        self.points.insert(point);
    }

    /// A snapshot that a workspace lists stays.
    pub fn snapshot(&mut self, snapshot: &Snapshot) {
        self.points.insert(snapshot.point);
        match (snapshot.seal, self.members.first()) {
            (Some(seal), Some(member)) => {
                self.sealed.insert(snapshot.point, seal);
                member.workspace.shared.add_checkpoint(snapshot.point, seal.checkpoint);
            }
            // A fork that was made before it was sealed does not know that it is.
            _ => _ = self.hard.insert(snapshot.point),
        }
    }

    /// Every state of a workspace since `from` stays, unless more than `bytes_max` were written since: then the last of
    /// them, up to so many bytes. Cost: reading the logs.
    pub fn window(&mut self, workspace: &Workspace, from: Timestamp, bytes_max: u64) -> Result<()> {
        let present = workspace.present();
        let chain: Vec<Point> = workspace.lineage().iter().copied().chain([present]).collect();
        // What was given up is not there to stay.
        let start = workspace.point_at(from).or_else(|error| match error {
            Errno::Stale => Ok(None),
            error => Err(error),
        })?;
        let mut found = Vec::new();
        let mut is_inside = start.is_none();
        for end in &chain {
            let from = match start {
                Some(start) if start.log == end.log => {
                    is_inside = true;
                    start.seq
                }
                _ if is_inside => 0,
                _ => continue,
            };
            self.found_between((workspace, from, *end), &mut found)?;
        }
        let mut start = match start {
            Some(start) => start,
            None => Point { seq: workspace.shared.floor_seq(chain[0].log)?.max(1), ..chain[0] },
        };
        let mut kept_bytes = 0;
        for (at, brought) in found.into_iter().rev() {
            match brought {
                Brought::Written(place, len) => {
                    kept_bytes += len;
                    if kept_bytes > bytes_max {
                        start = at;
                        break;
                    }
                    self.add(place, len);
                }
                // States since then show what was older than the window.
                Brought::Back(to) => self.point(to),
            }
        }
        self.point(start);
        Ok(())
    }

    /// Looks at all that stays and tells what nobody reaches. Cost: a replay of each log with a point, and a look at the
    /// header of each entry.
    pub fn finish(mut self) -> std::result::Result<Unreached, OpenError> {
        self.know_moved_records()?;
        self.add_presents();
        let points = std::mem::take(&mut self.points);
        let logs: BTreeSet<WorkspaceId> = points.iter().map(|point| point.log).collect();
        for log in logs {
            let (first, last) = (Point { log, seq: 0 }, Point { log, seq: u64::MAX });
            self.add_points(log, &points.range(first..=last).map(|point| point.seq).collect())?;
        }
        let mut pieces = BTreeMap::new();
        for member in &self.members {
            let dead = self.dead(member)?;
            if !dead.is_empty() {
                pieces.insert(member.workspace.id(), dead);
            }
        }
        let Self { members, revivals, inline, .. } = self;
        Ok(Unreached { members, revivals, pieces, inline })
    }

    /// What was moved out of segments of records may be needless, too.
    fn know_moved_records(&mut self) -> std::result::Result<(), OpenError> {
        for member in &self.members {
            let id = member.workspace.id();
            if let Some(begin) = member.workspace.shared.logs.begin(id)? {
                let (first, _) = self.inline.entry(id).or_default();
                *first = begin.segment.max(*first);
            }
        }
        Ok(())
    }

    fn add_presents(&mut self) {
        let presents = std::mem::take(&mut self.presents);
        let mut before: Option<&State> = None;
        for past in &presents {
            self.add_state(past.state(), before);
            before = Some(past.state());
        }
    }

    pub(crate) fn go_on(&self, seq: u64) -> Result<()> {
        let is_over = seq.is_multiple_of(RECORDS_BETWEEN_LOOKS) && (self.stop)();
        if is_over { Err(Errno::Interrupted) } else { Ok(()) }
    }

    /// One replay of a log for all states that stay in it.
    fn add_points(&mut self, log: WorkspaceId, seqs: &BTreeSet<u64>) -> std::result::Result<(), OpenError> {
        let (Some(member), Some(last)) = (self.members.first(), seqs.last()) else { return Ok(()) };
        let (shared, base) = (member.workspace.shared.clone(), member.workspace.base.clone());
        let mut replay = Replay::new(&shared, log, &base);
        let mut before: Option<State> = None;
        let floor = shared.floor_seq(log).map_err(OpenError::Past)?;
        for seq in seqs.range(..floor) {
            let state = state_at(&shared, &base, Point { log, seq: *seq })?;
            self.add_state(&state, before.as_ref());
            before = Some(state);
        }
        let seqs = &seqs.range(floor..).copied().collect::<BTreeSet<u64>>();
        let visited = shared.logs.replay_until(log, *last, &mut |record| {
            let seq = record.seq;
            self.go_on(seq)?;
            replay.visit(record)?;
            if let (true, Some(state)) = (seqs.contains(&seq), replay.state()) {
                self.add_state(state, before.as_ref());
                before = Some(state.clone());
            }
            Ok(())
        });
        visited.or_else(|error| replay.failed(error))
    }

    /// What records behind `from` up to `end` brought into the tree that was not there before them.
    fn found_between(
        &self,
        (workspace, from, end): (&Workspace, u64, Point),
        found: &mut Vec<(Point, Brought)>,
    ) -> Result<()> {
        let from = from.max(workspace.shared.floor_seq(end.log)?);
        let visited = workspace.shared.logs.replay_until(end.log, end.seq, &mut |stored| {
            self.go_on(stored.seq)?;
            if stored.seq > from {
                let record = Record::decode(stored.body).map_err(|_| Errno::Io)?;
                let brought = match record.change {
                    Change::Write { len, stored: Stored::At { place, .. }, .. } => {
                        Brought::Written(place, u64::from(len))
                    }
                    Change::Restore { to, .. } => Brought::Back(to),
                    _ => return Ok(()),
                };
                found.push((Point { log: end.log, seq: stored.seq }, brought));
            }
            Ok(())
        });
        visited.map_err(|error: LogError| error.errno())
    }

    /// Everything a state reaches is kept; what it shares with `before` is known already.
    fn add_state(&mut self, state: &State, before: Option<&State>) {
        state.extents(before, &mut |extent: &Extent| {
            if let From::Log(place) = extent.origin {
                self.add(place, extent.skip + extent.len);
            }
        });
    }

    fn add(&mut self, place: Place, len: u64) {
        if place.file & Place::DATA != 0 {
            let from = place.offset.saturating_sub(ENTRY_HEADER_BYTES as u64);
            let end = self.live.entry((place.log, place.file)).or_default().entry(from).or_default();
            *end = (*end).max(place.offset + len);
        } else if let Some((first, inline)) = self.inline.get_mut(&place.log)
            && place.file < *first
        {
            let end = inline.entry((place.file, place.offset)).or_default();
            *end = (*end).max(len);
            let end = self.live.entry((place.log, place.file)).or_default().entry(place.offset).or_default();
            *end = (*end).max(place.offset + len);
        }
    }

    /// Entries of a log that nobody reaches, neighbours joined, without what was given back before.
    fn dead(&self, member: &Member) -> std::result::Result<Pieces, OpenError> {
        let workspace = &member.workspace;
        let (id, shared) = (workspace.id(), &workspace.shared);
        // Moving makes holes, and what was given back is for good.
        let _none_is_moved = shared.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = shared.given_back_of(id).map_err(OpenError::Past)?;
        let mut skipped = Pieces::clone(&gone);
        let moved = shared.moved_of(id).map_err(OpenError::Past)?.pieces();
        moved.iter().for_each(|piece| skipped.add(piece));
        let mut dead = Pieces::default();
        let mut look = |entry: Piece| {
            if !self.is_live(id, &entry) {
                dead.add(entry);
            }
        };
        shared.logs.entries(id, member.end, &skipped, &mut look)?;
        let shown = shared.moved_entries(id, &gone, &mut |_, entry| {
            // What was put since looking began may be in states that nobody named, also when it was moved already.
            let at = (entry.file & !Place::DATA, entry.piece().from);
            let is_before = match entry.file & Place::DATA {
                0 => self.inline.get(&id).is_some_and(|(first, _)| entry.file < *first),
                _ => at < (member.end.segment, u64::from(member.end.offset)),
            };
            if is_before {
                look(entry.piece());
            }
        });
        shown.map_err(OpenError::Past)?;
        let is_worth = |piece: &Piece| {
            piece.block_bytes() >= PIECE_BYTES_MIN || moved.overlaps(piece.file, piece.from, piece.to)
        };
        Ok(dead.iter().filter(is_worth).collect())
    }

    /// What is reached may begin within what claims to be an entry, when its header is damaged.
    fn is_live(&self, log: WorkspaceId, entry: &Piece) -> bool {
        let Some(live) = self.live.get(&(log, entry.file)) else { return false };
        live.range(..entry.to).next_back().is_some_and(|(_, end)| *end > entry.from)
    }
}

impl Unreached {
    pub(crate) fn workspace(&self, id: WorkspaceId) -> Option<&Arc<Workspace>> {
        self.members.iter().map(|member| &member.workspace).find(|workspace| workspace.id() == id)
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.workspace.sync())
    }

    /// What can be given back, by log.
    pub fn pieces(&self) -> &BTreeMap<WorkspaceId, Pieces> {
        &self.pieces
    }

    /// Bytes of disk that a log would give back: what was moved takes none there.
    pub fn bytes(&self, log: WorkspaceId) -> Result<u64> {
        let (Some(pieces), Some(first)) = (self.pieces.get(&log), self.members.first()) else { return Ok(0) };
        let moved = first.workspace.shared.moved_of(log)?;
        Ok(if moved.is_empty() {
            pieces.block_bytes()
        } else {
            pieces.without(&moved.pieces()).block_bytes()
        })
    }

    /// Leaves only what is also in `wanted`.
    #[must_use]
    pub fn only(mut self, wanted: &BTreeMap<WorkspaceId, Pieces>) -> Self {
        for (log, pieces) in &mut self.pieces {
            let wanted = wanted.get(log);
            let both = pieces.iter().filter(|piece| wanted.is_some_and(|wanted| wanted.covers(piece)));
            *pieces = both.collect();
        }
        self.pieces.retain(|_, pieces| !pieces.is_empty());
        self
    }

    /// Records what is given back, makes that durable, and gives it back. EBUSY, and nothing done, when a past state was
    /// brought back since looking began. After any other error more is recorded than given back: `finish_giving_back`.
    pub fn give_back(&self) -> Result<u64> {
        let Some(first) = self.members.first() else { return Ok(0) };
        let shared = first.workspace.shared.clone();
        // All of the family: an entry is needless because of records in any of these logs. Before the record that says
        // so, which a power cut may keep while it takes younger ones of other logs.
        self.sync_all()?;
        {
            let _none_is_revived = shared.given_back.gate_closed();
            if shared.given_back.revivals() != self.revivals {
                return Err(Errno::Busy);
            }
            for member in &self.members {
                if let Some(pieces) = self.pieces.get(&member.workspace.id()) {
                    member.workspace.record_given_back(pieces)?;
                }
            }
        }
        let mut bytes = 0;
        for member in &self.members {
            let Some(pieces) = self.pieces.get(&member.workspace.id()) else { continue };
            member.workspace.make_holes(pieces)?;
            bytes += self.bytes(member.workspace.id())?;
        }
        Ok(bytes)
    }
}

impl Workspace {
    /// Makes the holes once more that were recorded, for what was given back or moved: a crash may have come between.
    pub fn finish_giving_back(&self) -> Result<()> {
        let mut gone = Pieces::clone(&*self.shared.given_back_of(self.id())?);
        self.shared.moved_of(self.id())?.pieces().iter().for_each(|piece| gone.add(piece));
        self.log.sweep_before_begin().map_err(|error| error.errno())?;
        if gone.is_empty() { Ok(()) } else { self.sync().and_then(|()| self.make_holes(&gone)) }
    }

    /// True when data was put in this log: without any, there is nothing to give back.
    pub fn has_data(&self) -> bool {
        self.log.data_end() != Position::default()
    }

    /// True when records of this log are in more than one segment: else none of them can go.
    pub fn is_long(&self) -> bool {
        self.log.is_long()
    }

    /// Bytes of data in this log that were given back.
    pub fn given_back_bytes(&self) -> Result<u64> {
        Ok(self.shared.given_back_of(self.id())?.iter().map(|piece| piece.block_bytes()).sum())
    }

    pub(crate) fn make_holes(&self, pieces: &Pieces) -> Result<()> {
        // The commit that says so must be durable, too: a recovery looks at data behind the last one it finds.
        self.log.settle().map_err(|error| error.errno())?;
        self.shared.logs.give_back(self.id(), &mut pieces.iter()).map_err(|error| error.errno())
    }

    fn record_given_back(&self, pieces: &Pieces) -> Result<()> {
        let (uid, gid) = self.base.owner();
        let all: Vec<Piece> = pieces.iter().collect();
        for some in all.chunks(PIECES_PER_RECORD) {
            self.change(&Caller::owner(uid, gid), |_, _| {
                Ok(Some(Change::Reclaimed { pieces: some.to_vec() }))
            })?;
            self.shared.given_back.add(self.id(), some);
        }
        Ok(())
    }

    /// Where data ends. All that was put before is recorded now, or never will be.
    fn settled_data_end(&self) -> Position {
        let end = self.log.data_end();
        drop(self.putting.write());
        end
    }
}
