//! Giving up the first segments of records of a log, when no state that stays needs a record in them.
//!
//! Order, of which each step is durable before the next: what staying states reach of data within these records is moved to
//! the store of chunks, read back and compared; a record says so; a record says which records are given up, and the chain
//! behind them; the file `begin` of the log names its new first segment and its floor; the segments go. A crash between any
//! two steps leaves a log that is whole, with or without them.
//! Invariants: the floor is a sealed snapshot whose checkpoint was read; no fork begins before it, no pin, no window and no
//! unsealed listed snapshot is before it, and no restore behind it goes to a point before it, whoever's log that is in;
//! a revival since looking began leaves everything as it is. Read next: `floor` (how such a log is read), `reach`.

use crate::Shared;
use crate::floor::Floor;
use crate::history::Snapshot;
use crate::moved::{Entry, Part};
use crate::moving::{Aside, Batch, Told};
use crate::reach::{Inline, Reach, Unreached};
use crate::record::{Change, Record};
use crate::workspace::Workspace;
use std::sync::PoisonError;
use weald_model::{Caller, Errno, Result, Timestamp, WorkspaceId};
use weald_store::cas::Hash;
use weald_store::log::{LogError, Place};

/// Data of records is put into chunks of about so many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Sealed snapshots that are tried as a floor.
const FLOORS_TRIED: usize = 16;

/// What of a log's records can go.
#[derive(Clone, Debug)]
pub struct Shortening {
    /// The log.
    pub log: WorkspaceId,
    /// Segments before this one go.
    pub segment: u32,
    /// The last record that goes.
    pub last: u64,
    /// Bytes of disk they take.
    pub bytes: u64,
    /// When the sealed snapshot was taken that the log's past will begin with.
    pub since: Timestamp,
    floor: Floor,
}

/// Data on its way: the chunk it is in, and whose data that is.
struct Put {
    chunk: Hash,
    places: Vec<(Place, u64)>,
}

impl Reach {
    /// What of a workspace's records no state that stays needs. All that stays has been named before, its window with it.
    /// Cost: a look at all records of the family, and at what a sealed snapshot is made of.
    pub fn shorten(&mut self, workspace: &Workspace) -> Result<Option<Shortening>> {
        let (id, shared) = (workspace.id(), workspace.shared());
        let starts = shared.logs.segments(id).map_err(|error| error.errno())?;
        if starts.len() < 2 {
            return Ok(None);
        }
        let Some(limit) = self.first_needed(id)? else { return Ok(None) };
        let below = shared.floor_seq(id)?;
        let restores = self.restores_to(workspace, id)?;
        let mut candidates = workspace.snapshots();
        candidates.retain(|one| one.point.log == id && one.seal.is_some() && self.is_named(one.point));
        candidates.retain(|one| (below + 1..=limit).contains(&one.point.seq));
        candidates.sort_by_key(|one| std::cmp::Reverse(one.point.seq));
        for one in candidates.iter().take(FLOORS_TRIED) {
            let seq = one.point.seq;
            let start = starts.iter().rev().find(|start| start.seq_before < seq);
            let Some(start) = start.filter(|start| start.number > starts[0].number) else { break };
            let goes_back = restores.iter().any(|(record, to)| *record > seq && *to < seq);
            if goes_back || !is_ground(workspace, one) {
                continue;
            }
            let Some(floor) = floor(workspace, one)? else { continue };
            let bytes = shared.logs.bytes_before(id, start.number).map_err(|error| error.errno())?;
            self.track_inline(id, start.number);
            let (segment, last) = (start.number, start.seq_before);
            return Ok(Some(Shortening { log: id, segment, last, bytes, since: one.time, floor }));
        }
        Ok(None)
    }

    /// Restores in a log to points of its own: record and point. Those in other logs of the family count as its newest.
    fn restores_to(&self, workspace: &Workspace, id: WorkspaceId) -> Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        for member in self.workspaces() {
            let is_own = member.id() == workspace.id();
            let visited = member.shared.logs.replay_until(member.id(), u64::MAX, &mut |stored| {
                self.go_on(stored.seq)?;
                if !Record::is_restore(stored.body).map_err(|_| Errno::Io)? {
                    return Ok(());
                }
                let record = Record::decode(stored.body).map_err(|_| Errno::Io)?;
                if let Change::Restore { to, .. } = record.change
                    && to.log == id
                {
                    found.push((if is_own { stored.seq } else { u64::MAX }, to.seq));
                }
                Ok(())
            });
            match visited {
                Ok(()) | Err(LogError::Short { .. }) => {}
                Err(error) => return Err(error.errno()),
            }
        }
        Ok(found)
    }
}

/// True when the state of a sealed snapshot can be had from its objects, and all that the log said before.
fn is_ground(workspace: &Workspace, snapshot: &Snapshot) -> bool {
    let Some(seal) = snapshot.seal else { return false };
    let (seq, time) = (snapshot.point.seq, snapshot.time);
    let floor = Floor { seq, seal, time, first: Vec::new() };
    floor.ground(&workspace.shared, workspace.id(), &workspace.base).is_ok()
}

fn floor(workspace: &Workspace, snapshot: &Snapshot) -> Result<Option<Floor>> {
    let Some(seal) = snapshot.seal else { return Ok(None) };
    let (shared, id) = (&workspace.shared, workspace.id());
    let first = match shared.floor(id).map_err(|error| error.errno())? {
        Some(floor) => floor.first,
        None => first_record(shared, id)?,
    };
    Ok(Some(Floor { seq: snapshot.point.seq, seal, time: snapshot.time, first }))
}

fn first_record(shared: &Shared, id: WorkspaceId) -> Result<Vec<u8>> {
    let mut first = Vec::new();
    let visited = shared.logs.replay_until(id, 1, &mut |record| {
        first = record.body.to_vec();
        Ok(())
    });
    visited.map_err(|error| error.errno())?;
    Ok(first)
}

impl Unreached {
    /// Gives up records of a log. Bytes of disk that gives back; None, and nothing given up, while somebody reads segments.
    /// EBUSY when a past state was brought back since looking began.
    pub fn give_up(&self, shortening: &Shortening, aside: &Aside<'_>) -> Result<Option<u64>> {
        let id = shortening.log;
        let Some(workspace) = self.workspace(id) else { return Err(Errno::NotFound) };
        workspace.sync()?;
        if let Some((_, inline)) = self.inline.get(&id) {
            workspace.move_inline(inline, shortening.segment, aside)?;
        }
        // All of the family: what made these records needless is in any of its logs.
        self.sync_all()?;
        let _none_is_revived = workspace.shared.given_back.gate_closed();
        if workspace.shared.given_back.revivals() != self.revivals {
            return Err(Errno::Busy);
        }
        workspace.give_up(shortening)
    }
}

impl Workspace {
    fn give_up(&self, Shortening { segment, bytes, floor, last, .. }: &Shortening) -> Result<Option<u64>> {
        let errno = |error: LogError| error.errno();
        let head = self.log.head_before(*segment).map_err(errno)?.ok_or(Errno::Io)?;
        if head.seq != *last {
            return Err(Errno::Io);
        }
        let (uid, gid) = self.base.owner();
        let change = Change::GivenUp { last: head.seq, chain: head.chain };
        self.change(&Caller::owner(uid, gid), |_, _| Ok(Some(change)))?;
        self.log.settle().map_err(errno)?;
        Ok(self.log.begin_at(*segment, floor.encode()).map_err(errno)?.then_some(*bytes))
    }

    /// Moves data within records before a segment to the store of chunks: what is reached and was not moved before.
    fn move_inline(&self, inline: &Inline, segment: u32, aside: &Aside<'_>) -> Result<()> {
        let moved = self.shared.moved_of(self.id())?;
        let places: Vec<(Place, u64)> = inline
            .range(..(segment, 0))
            .filter(|((file, offset), _)| moved.table(*file, *offset).is_none())
            .map(|((file, offset), len)| (Place { log: self.id(), file: *file, offset: *offset }, *len))
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.shared.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.shared.chunks.keep_all();
        let mut put = Ok(Vec::new());
        aside(&mut || put = self.put_inline(&places));
        let (uid, gid) = self.base.owner();
        for (table, pieces) in put? {
            let change = Change::Moved { table, pieces: pieces.clone() };
            self.change(&Caller::owner(uid, gid), |_, _| Ok(Some(change)))?;
            self.shared.given_back.add_moved(self.id(), table, &pieces);
        }
        drop(kept);
        Ok(())
    }

    /// Puts data into chunks, and tables that say where it is, and compares all of it with the log.
    fn put_inline(&self, places: &[(Place, u64)]) -> Result<Vec<Told>> {
        let mut batch = Batch::new(self.shared.chunks.writer());
        let (mut chunk, mut pending, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (place, len)) in places.iter().enumerate() {
            let start = chunk.len();
            chunk.resize(start + *len as usize, 0);
            self.shared.logs.read(*place, 0, &mut chunk[start..]).map_err(|error| error.errno())?;
            pending.push((*place, *len));
            if chunk.len() >= CHUNK_BYTES || at + 1 == places.len() {
                let places = std::mem::take(&mut pending);
                let put = Put { chunk: batch.put(&chunk)?, places };
                put.add_to(&mut batch)?;
                all.push(put);
                chunk.clear();
            }
        }
        let (told, _) = batch.finish()?;
        all.iter().try_for_each(|put| put.compare(&self.shared))?;
        Ok(told)
    }
}

impl Put {
    fn add_to(&self, batch: &mut Batch<'_>) -> Result<()> {
        let mut skip = 0;
        for (Place { file, offset, .. }, len) in &self.places {
            let part = Part { chunk: self.chunk, skip, len: *len as u32 };
            batch.add(&Entry { file: *file, offset: *offset, parts: vec![part] })?;
            skip += *len as u32;
        }
        Ok(())
    }

    /// Nothing is believed: what the store of chunks has by now is compared with the log.
    fn compare(&self, shared: &Shared) -> Result<()> {
        let content = shared.chunks.read(&self.chunk).map_err(|error| error.errno())?;
        let (mut at, mut data) = (0, Vec::new());
        for (place, len) in &self.places {
            data.resize(*len as usize, 0);
            shared.logs.read(*place, 0, &mut data).map_err(|error| error.errno())?;
            let end = at + *len as usize;
            if content.get(at..end) != Some(&data[..]) {
                return Err(Errno::Io);
            }
            at = end;
        }
        Ok(())
    }
}
