//! Moving content from data segments to the store of chunks, where equal content of all workspaces is kept once.
//!
//! Unit is the entry of a data segment. Order, of which each step is durable before the next: chunks; the table that
//! says where the bytes of each entry are; the record in the log that names the table; holes in the data segment.
//! Invariants: before anything is recorded, every byte was read back from the store of chunks and compared with the log,
//! so nothing depends on what the caller says; nothing is dropped from the store of chunks until it is recorded.
//! Read next: `moved` (how such content is read), `reach` (what is given back for good).

use crate::moved::{Entry, PARTS_MAX, Part, TABLE_BYTES, Table};
use crate::record::Change;
use crate::sealing::Placed;
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use weald_model::{Caller, Errno, Result, SnapshotId};
use weald_store::cas::Hash;
use weald_store::chunks::Writer;
use weald_store::log::Place;
use weald_store::log::reclaim::{Piece, Pieces};

/// What no chunk has, of an entry that is moved, is cut into chunks of so many bytes.
const REST_BYTES: usize = 64 << 10;

/// Data moved at a time: others that look at data segments wait so long.
const BATCH_BYTES: usize = 256 << 20;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedAmount {
    /// Entries.
    pub entries: u64,
    /// Bytes of disk given back by the log.
    pub freed_bytes: u64,
}

/// Runs what takes long.
pub type Aside<'a> = dyn Fn(&mut (dyn FnMut() + Send)) + 'a;

/// Entries that can be moved, and the chunks that have parts of them.
type Entries<'a> = dyn Iterator<Item = (Place, Vec<Placed>)> + Send + 'a;

/// A table and the pieces it speaks of.
pub(crate) type Told = (Hash, Vec<Piece>);

/// Entries on their way.
pub(crate) struct Batch<'a> {
    writer: Writer<'a>,
    table: Vec<u8>,
    pieces: Pieces,
    /// Tables that are written, with what they speak of.
    done: Vec<Told>,
    entries: u64,
}

impl Workspace {
    /// True when a snapshot shows data in a data segment of this log.
    pub fn has_data_to_move(&self, id: SnapshotId) -> Result<bool> {
        let snapshot = self.read_state().history.find(id).ok_or(Errno::NotFound)?.1;
        let moved = self.shared.moved_of(self.id())?;
        let mut found = false;
        self.past(snapshot.point)?.data(&mut |place, _, _| {
            found |= place.log == self.id() && moved.table(place.file, place.offset).is_none();
        });
        Ok(found)
    }

    /// Moves entries of this workspace's own log of which chunks hold most. Others, and what is of other logs, stay.
    /// Stops early, with what it has, when `stop` says so. What takes long is given to `aside`, which runs it, on a thread
    /// of its own if it likes. Cost: the bytes, read twice; a sync for each 256 MiB.
    pub fn move_content(
        &self,
        placed: &[Placed],
        stop: &(dyn Fn() -> bool + Sync),
        aside: &Aside<'_>,
    ) -> Result<MovedAmount> {
        let mut entries = self.movable(placed)?.into_iter().peekable();
        let mut amount = MovedAmount::default();
        while entries.peek().is_some() && !stop() {
            let some = self.move_some(&mut entries, stop, aside)?;
            amount.entries += some.entries;
            amount.freed_bytes += some.freed_bytes;
        }
        Ok(amount)
    }

    /// Moves up to [`BATCH_BYTES`].
    fn move_some(
        &self,
        entries: &mut Entries<'_>,
        stop: &(dyn Fn() -> bool + Sync),
        aside: &Aside<'_>,
    ) -> Result<MovedAmount> {
        let _one_at_a_time = self.shared.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.shared.chunks.keep_all();
        let mut put = Ok((Vec::new(), 0));
        aside(&mut || put = self.put_some(entries, stop));
        let (tables, count) = put?;
        let (uid, gid) = self.base.owner();
        let mut moved = Pieces::default();
        for (table, pieces) in tables {
            let change = Change::Moved { table, pieces: pieces.clone() };
            self.change(&Caller::owner(uid, gid), |_, _| Ok(Some(change)))?;
            self.shared.given_back.add_moved(self.id(), table, &pieces);
            pieces.iter().for_each(|piece| moved.add(*piece));
        }
        drop(kept);
        if !moved.is_empty() {
            self.sync()?;
            self.make_holes(&moved)?;
        }
        Ok(MovedAmount { entries: count, freed_bytes: moved.block_bytes() })
    }

    /// Puts what entries consist of, and their tables, into the store of chunks.
    fn put_some(
        &self,
        entries: &mut Entries<'_>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Vec<Told>, u64)> {
        let mut batch = Batch::new(self.shared.chunks.writer());
        let (mut data, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && !stop() {
            let Some((place, runs)) = entries.next() else { break };
            // Damaged data stays where it is, to be told.
            let Ok(len) = self.shared.logs.entry(place, &mut data) else { continue };
            bytes += len;
            if let Some(parts) = self.parts(&data[..len], runs, &mut batch.writer)? {
                batch.add(&Entry { file: place.file, offset: place.offset, parts })?;
            }
        }
        batch.finish()
    }

    /// The entries of this log among what is placed, that are still in it.
    fn movable(&self, placed: &[Placed]) -> Result<BTreeMap<Place, Vec<Placed>>> {
        let mut entries: BTreeMap<Place, Vec<Placed>> = BTreeMap::new();
        let moved = self.shared.moved_of(self.id())?;
        let gone = self.shared.given_back_of(self.id())?;
        for run in placed {
            let Place { log, file, offset } = run.place;
            let is_here = log == self.id() && file & Place::DATA != 0;
            if is_here && moved.table(file, offset).is_none() && gone.at(file, offset).is_none() {
                entries.entry(run.place).or_default().push(*run);
            }
        }
        Ok(entries)
    }

    /// What an entry is made of in the store of chunks; None when that has less than half of it, or not what the log has.
    fn parts(
        &self,
        data: &[u8],
        mut runs: Vec<Placed>,
        writer: &mut Writer<'_>,
    ) -> Result<Option<Vec<Part>>> {
        runs.sort_by_key(|run| (run.skip, std::cmp::Reverse(run.len)));
        let mut found: Vec<(u64, Part)> = Vec::new();
        let mut at = 0;
        for run in runs {
            let end = run.skip.saturating_add(run.len).min(data.len() as u64);
            if end > at {
                let from = run.skip.max(at);
                let skip = run.offset.saturating_add(from - run.skip);
                let (Ok(skip), Ok(len)) = (u32::try_from(skip), u32::try_from(end - from)) else {
                    return Ok(None);
                };
                found.push((from, Part { chunk: run.chunk, skip, len }));
                at = end;
            }
        }
        let held: u64 = found.iter().map(|(_, part)| u64::from(part.len)).sum();
        if held * 2 < data.len() as u64 || found.len() > PARTS_MAX / 2 || !self.are_equal(data, &found) {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(found.len());
        let mut at = 0;
        for (from, part) in found {
            put_rest(&data[at..from as usize], writer, &mut parts)?;
            parts.push(part);
            at = from as usize + part.len as usize;
        }
        put_rest(&data[at..], writer, &mut parts)?;
        Ok((parts.len() <= PARTS_MAX).then_some(parts))
    }

    /// True when the store of chunks has the very bytes.
    fn are_equal(&self, data: &[u8], found: &[(u64, Part)]) -> bool {
        found.iter().all(|(from, part)| {
            let chunk = self.shared.moved_cache.chunk(&self.shared.chunks, &part.chunk);
            let wanted = &data[*from as usize..][..part.len as usize];
            chunk.is_ok_and(|chunk| {
                chunk.get(part.skip as usize..).is_some_and(|bytes| bytes.starts_with(wanted))
            })
        })
    }
}

/// Adds what no chunk has.
fn put_rest(rest: &[u8], writer: &mut Writer<'_>, parts: &mut Vec<Part>) -> Result<()> {
    for bytes in rest.chunks(REST_BYTES) {
        let chunk = writer.put(bytes).map_err(|error| error.errno())?;
        parts.push(Part { chunk, skip: 0, len: bytes.len() as u32 });
    }
    Ok(())
}

impl<'a> Batch<'a> {
    pub(crate) fn new(writer: Writer<'a>) -> Self {
        Self { writer, table: Vec::new(), pieces: Pieces::default(), done: Vec::new(), entries: 0 }
    }

    /// Puts content.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<Hash> {
        self.writer.put(bytes).map_err(|error| error.errno())
    }

    pub(crate) fn add(&mut self, entry: &Entry) -> Result<()> {
        Table::encode(entry, &mut self.table);
        self.pieces.add(entry.piece());
        self.entries += 1;
        if self.table.len() >= TABLE_BYTES { self.end_table() } else { Ok(()) }
    }

    fn end_table(&mut self) -> Result<()> {
        if !self.table.is_empty() {
            let table = self.writer.put(&self.table).map_err(|error| error.errno())?;
            self.table.clear();
            self.done.push((table, std::mem::take(&mut self.pieces).iter().collect()));
        }
        Ok(())
    }

    /// Makes all durable, and tells the tables.
    pub(crate) fn finish(mut self) -> Result<(Vec<Told>, u64)> {
        self.end_table()?;
        self.writer.finish().map_err(|error| error.errno())?;
        Ok((self.done, self.entries))
    }
}
