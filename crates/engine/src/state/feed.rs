//! What changed last: the names and inodes that the last changes were about, in order.
//!
//! A part of the state, so forks have it, a restart rebuilds it, and asking what changed since some record costs what
//! changed. Bounded: the oldest go first, and what is asked about before them is answered with "anything". Kept in
//! blocks that states share, since every change of every file comes by here. Invariant: whatever differs between the
//! state behind a record not before `floor` and this state, as git sees it, is named here.

use crate::record::{Change, Record};
use std::collections::VecDeque;
use std::sync::Arc;
use weald_model::{Ino, Name};

/// Subjects in a block; a block that another state shares is copied before more is put into it.
const BLOCK: usize = 512;
/// Full blocks that are kept.
const BLOCKS_MAX: usize = 64;
/// A subject that is among so many last ones is not put again, only moved.
const REPEATS: usize = 4;
/// Bits of a record's number in a [`Moment`].
const SEQ_BITS: u32 = 44;

/// A record in a line of logs: how many logs there were before its own, and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Before everything.
    pub(crate) const BASE: Moment = Moment(0);

    /// The moment behind record `seq` of the log that is number `depth` in its line, from 1.
    pub(crate) fn new(depth: u64, seq: u64) -> Self {
        Self(depth << SEQ_BITS | seq & ((1 << SEQ_BITS) - 1))
    }
}

/// What a change was about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// Content or attributes.
    Inode(Ino),
    /// A name that was made or taken away.
    Entry(Ino, Name),
}

/// Subjects by moment.
type Block = Vec<(Moment, Subject)>;

/// The last changes.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Number of this log in its line, from 1.
    depth: u64,
    /// Changes up to here may be missing.
    floor: Moment,
    full: Arc<VecDeque<Arc<Block>>>,
    last: Arc<Block>,
}

impl Feed {
    /// That of a state nothing was done in yet.
    pub(crate) fn new() -> Self {
        Self { depth: 0, floor: Moment::BASE, full: Arc::default(), last: Arc::default() }
    }

    /// That of a state whose past is not known: whatever is asked, anything may have changed.
    pub(crate) fn unknown() -> Self {
        Self { floor: Moment(u64::MAX), ..Self::new() }
    }

    /// That of the state behind record `seq` of the log that is number `depth` in its line, of which no more is known.
    pub(crate) fn behind(depth: u64, seq: u64) -> Self {
        Self { depth, floor: Moment::new(depth, seq), ..Self::new() }
    }

    /// A log begins here.
    pub(crate) fn begin(&mut self) {
        self.depth += 1;
    }

    /// Nothing is known about changes up to a record of this log.
    pub(crate) fn lose(&mut self, seq: u64) {
        *self = Self::behind(self.depth, seq);
    }

    /// Takes in a record of this log.
    pub(crate) fn note(&mut self, record: &Record, seq: u64) {
        let moment = Moment::new(self.depth, seq);
        subjects(&record.change, &mut |subject| self.put(moment, subject));
    }

    fn put(&mut self, moment: Moment, subject: Subject) {
        let last = Arc::make_mut(&mut self.last);
        let from = last.len().saturating_sub(REPEATS);
        if let Some(at) = last[from..].iter().position(|(_, other)| *other == subject) {
            // In order of moments still: what comes behind it is from before this record.
            last.remove(from + at);
        }
        last.push((moment, subject));
        if last.len() < BLOCK {
            return;
        }
        let full = Arc::make_mut(&mut self.full);
        full.push_back(std::mem::take(&mut self.last));
        if full.len() > BLOCKS_MAX
            && let Some(oldest) = full.pop_front()
            && let Some((moment, _)) = oldest.last()
        {
            self.floor = *moment;
        }
    }

    /// What changed behind a moment, perhaps more than once; None when that is not known.
    pub(crate) fn since(&self, moment: Moment) -> Option<impl Iterator<Item = &Subject>> {
        let blocks = self.full.iter().chain([&self.last]);
        let behind = move |(at, _): &&(Moment, Subject)| *at > moment;
        let blocks = blocks.filter(move |block| block.last().is_some_and(|(last, _)| *last > moment));
        (moment >= self.floor)
            .then(|| blocks.flat_map(|block| block.iter()).filter(behind).map(|(_, subject)| subject))
    }
}

/// What a change is about, as far as git can see it: not a directory's own times, nor what has no name.
fn subjects(change: &Change, tell: &mut impl FnMut(Subject)) {
    let mut entry = |parent: Ino, name: &Name| tell(Subject::Entry(parent, name.clone()));
    match change {
        Change::Make(make) => {
            if let Some((parent, name)) = &make.place {
                entry(*parent, name);
            }
        }
        Change::Link { parent, name, .. } | Change::Remove { parent, name } => entry(*parent, name),
        Change::Rename { from, name, to, new_name, .. } => {
            entry(*from, name);
            entry(*to, new_name);
        }
        Change::Write { ino, .. }
        | Change::Attach { ino, .. }
        | Change::Set { ino, .. }
        | Change::Allocate { ino, .. }
        | Change::Copy { to: ino, .. }
        | Change::SetXattr { ino, .. }
        | Change::RemoveXattr { ino, .. } => tell(Subject::Inode(*ino)),
        // A restore is noted by who does it.
        Change::Restore { .. } => {}
        Change::Origin { .. }
        | Change::Forked { .. }
        | Change::Program { .. }
        | Change::Reclaimed { .. }
        | Change::Moved { .. }
        | Change::GivenUp { .. }
        | Change::Reads { .. }
        | Change::Opened { .. }
        | Change::Rules(_)
        | Change::Sized { .. }
        | Change::Purge { .. }
        | Change::Snapshot { .. }
        | Change::DropSnapshot { .. }
        | Change::Tag { .. }
        | Change::Sealed { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weald_model::Timestamp;

    fn record(change: Change) -> Record {
        Record { time: Timestamp::default(), pid: 0, uid: 0, program: 0, request: 0, change }
    }

    fn remove(number: u64) -> Record {
        let name = Name::new(number.to_string().as_bytes()).expect("digits are a name");
        record(Change::Remove { parent: Ino::ROOT, name })
    }

    fn told(feed: &Feed, depth: u64, seq: u64) -> Option<usize> {
        feed.since(Moment::new(depth, seq)).map(Iterator::count)
    }

    #[test]
    fn what_changed_behind_a_moment_is_told_and_repeats_once() {
        let mut feed = Feed::new();
        feed.begin();
        for seq in 2..5000 {
            feed.note(&remove(seq % 3), seq);
        }
        assert_eq!([4990, 4997, 4998, 4999].map(|seq| told(&feed, 1, seq)), [3, 2, 1, 0].map(Some));
        assert_eq!(feed.since(Moment::BASE).map(Iterator::count), Some(3));
    }

    #[test]
    fn what_is_forgotten_is_not_said_to_be_unchanged() {
        let mut feed = Feed::new();
        feed.begin();
        let kept = (BLOCK * BLOCKS_MAX) as u64;
        let before = feed.clone();
        for seq in 1..=kept + BLOCK as u64 {
            feed.note(&remove(seq), seq);
        }
        assert_eq!(told(&feed, 1, BLOCK as u64 - 1), None);
        assert_eq!(told(&feed, 1, BLOCK as u64), Some(kept as usize));
        assert_eq!(told(&before, 1, 0), Some(0), "another state is not touched");
        feed.lose(kept + 1000);
        assert_eq!(told(&feed, 1, kept + 999), None);
        let mut fork = feed.clone();
        fork.begin();
        fork.note(&remove(1), 2);
        assert_eq!(told(&fork, 1, kept + 1000), Some(1));
        assert_eq!((told(&feed, 1, kept + 1000), told(&fork, 2, 2)), (Some(0), Some(0)));
    }
}
