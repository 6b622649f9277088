//! A history taken apart into entries and put together again, for checkpoints.
//!
//! Invariant: a history made from the entries of another is the same in every respect.

use super::{History, Occasion, Point, Seal, Snapshot};
use crate::record::{Malformed, Reader, Writer};
use crate::rules::Rules;
use std::sync::Arc;
use weald_model::{SnapshotId, WorkspaceId};

/// What kind of entry a key is of: its first byte.
const SNAPSHOT: u8 = 1;
const STEP: u8 = 2;
const UNDONE: u8 = 3;
/// Everything else; the only entry of its kind.
const REST: u8 = 4;
/// The rules, when there are any; the only entry of its kind.
const RULES: u8 = 5;
/// A deletion that counts.
const DELETION: u8 = 6;
/// Where counting deletions stands, with rules; the only entry of its kind.
const COUNTING: u8 = 7;

impl History {
    /// All entries: keys ascend.
    pub(crate) fn entries(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries = Vec::new();
        for (number, snapshot) in self.snapshots.iter() {
            entries.push((key(SNAPSHOT, *number), value(|w| snapshot.encode(w))));
        }
        for (number, point) in self.steps.iter() {
            entries.push((key(STEP, *number), value(|w| put_point(w, *point))));
        }
        for (number, (to, started)) in self.undone.iter() {
            let both = |w: &mut Writer<'_>| {
                put_point(w, *to);
                put_point(w, *started);
            };
            entries.push((key(UNDONE, *number), value(both)));
        }
        let rest = |w: &mut Writer<'_>| {
            w.number(self.next_snapshot);
            w.optional(self.head.map(|id| id.0));
            w.number(self.next_step);
            w.bool(self.open_since.is_some());
            if let Some(time) = self.open_since {
                w.time(time);
            }
            w.bool(self.is_being_made);
            w.bool(self.logs_reads);
        };
        entries.push((key(REST, 0), value(rest)));
        self.put_rules(&mut entries);
        entries
    }

    /// The entries of rules and what follows from them; none when there are no rules.
    fn put_rules(&self, entries: &mut Vec<(Vec<u8>, Vec<u8>)>) {
        let Some(rules) = &self.rules else { return };
        entries.push((key(RULES, 0), value(|w| rules.encode(w))));
        for (number, time) in self.deletions.recent.iter() {
            entries.push((key(DELETION, *number), value(|w| w.time(*time))));
        }
        let counting = |w: &mut Writer<'_>| {
            w.number(self.deletions.next);
            for time in [self.deletions.stopped, self.deletions.free_until] {
                w.bool(time.is_some());
                if let Some(time) = time {
                    w.time(time);
                }
            }
        };
        entries.push((key(COUNTING, 0), value(counting)));
    }

    /// Takes an entry.
    pub(crate) fn put_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let (kind, number) = key.split_first().ok_or(Malformed("an entry of history"))?;
        let number =
            number.try_into().map(u64::from_be_bytes).map_err(|_| Malformed("an entry of history"))?;
        let mut r = Reader(value);
        match *kind {
            SNAPSHOT => {
                let snapshot = Arc::new(Snapshot::decode(&mut r)?);
                self.numbers.insert(snapshot.id, number);
                self.snapshots.insert(number, snapshot);
            }
            STEP => drop(self.steps.insert(number, take_point(&mut r)?)),
            UNDONE => drop(self.undone.insert(number, (take_point(&mut r)?, take_point(&mut r)?))),
            REST => {
                self.next_snapshot = r.number()?;
                self.head = r.optional()?.map(SnapshotId);
                self.next_step = r.number()?;
                self.open_since = if r.bool()? { Some(r.time()?) } else { None };
                self.is_being_made = r.bool()?;
                self.logs_reads = r.bool()?;
            }
            RULES => self.rules = Some(Arc::new(Rules::decode(&mut r)?)),
            DELETION => drop(self.deletions.recent.insert(number, r.time()?)),
            COUNTING => {
                self.deletions.next = r.number()?;
                self.deletions.stopped = if r.bool()? { Some(r.time()?) } else { None };
                self.deletions.free_until = if r.bool()? { Some(r.time()?) } else { None };
            }
            _ => return Err(Malformed("an entry of history")),
        }
        if r.0.is_empty() { Ok(()) } else { Err(Malformed("bytes behind an entry of history")) }
    }
}

impl Snapshot {
    fn encode(&self, w: &mut Writer<'_>) {
        w.number(self.id.0);
        put_point(w, self.point);
        w.time(self.time);
        w.optional(self.parent.map(|id| id.0));
        w.bytes(self.note.as_bytes());
        w.texts(&self.tags);
        w.tag(self.occasion as u8);
        w.bool(self.seal.is_some());
        if let Some(seal) = self.seal {
            w.raw(&seal.root);
            w.raw(&seal.checkpoint);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: SnapshotId(r.number()?),
            point: take_point(r)?,
            time: r.time()?,
            parent: r.optional()?.map(SnapshotId),
            note: r.text()?,
            tags: r.texts()?,
            occasion: Occasion::from_tag(r.tag()?).ok_or(Malformed("occasion"))?,
            seal: if r.bool()? { Some(Seal { root: r.raw()?, checkpoint: r.raw()? }) } else { None },
        })
    }
}

fn key(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

fn value(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut Writer(&mut bytes));
    bytes
}

pub(crate) fn put_point(w: &mut Writer<'_>, point: Point) {
    w.number(point.log.0);
    w.number(point.seq);
}

pub(crate) fn take_point(r: &mut Reader<'_>) -> Result<Point, Malformed> {
    Ok(Point { log: WorkspaceId(r.number()?), seq: r.number()? })
}
