//! What changed last: the names and inodes that the last changes were about, each once, with the record of the last.
//!
//! A part of the state, so forks have it, a restart rebuilds it, and it costs nothing to ask what changed since some
//! record, however many records there are between. Bounded: the oldest go first, and what is asked about
//! before them is answered with "anything". Invariant: whatever differs between the state behind a record not before
//! `floor` and this state, as git sees it, is named here.

use crate::persistent_map::Map;
use crate::record::{Change, Record};
use weald_model::{Ino, Name};

/// Names and inodes that are kept.
const KEPT_MAX: usize = 16_384;
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Content or attributes.
    Inode(Ino),
    /// A name that was made or taken away.
    Entry(Ino, Name),
}

/// When a subject changed last; the second tells several of one record apart.
type Place = (Moment, u32);

/// The last changes.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Number of this log in its line, from 1.
    depth: u64,
    /// Changes up to here may be missing.
    floor: Moment,
    places: Map<Subject, Place>,
    subjects: Map<Place, Subject>,
}

impl Feed {
    /// That of a state nothing was done in yet.
    pub(crate) fn new() -> Self {
        Self { depth: 0, floor: Moment::BASE, places: Map::default(), subjects: Map::default() }
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
        self.floor = Moment::new(self.depth, seq);
        (self.places, self.subjects) = (Map::default(), Map::default());
    }

    /// Takes in a record of this log.
    pub(crate) fn note(&mut self, record: &Record, seq: u64) {
        let mut number = 0;
        let moment = Moment::new(self.depth, seq);
        subjects(&record.change, &mut |subject| {
            self.put(subject, (moment, number));
            number += 1;
        });
        while self.places.len() > KEPT_MAX {
            let Some((&place, subject)) = self.subjects.iter().next() else { break };
            let subject = subject.clone();
            self.subjects.remove(&place);
            self.places.remove(&subject);
            self.floor = place.0;
        }
    }

    fn put(&mut self, subject: Subject, place: Place) {
        if let Some(old) = self.places.insert(subject.clone(), place) {
            self.subjects.remove(&old);
        }
        self.subjects.insert(place, subject);
    }

    /// What changed behind a moment; None when that is not known.
    pub(crate) fn since(&self, moment: Moment) -> Option<impl Iterator<Item = &Subject>> {
        let first = (Moment(moment.0 + 1), 0);
        (moment >= self.floor)
            .then(|| self.subjects.from(move |place| place.cmp(&first)).map(|(_, subject)| subject))
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
        | Change::Reads { .. }
        | Change::Opened { .. }
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
        Record { time: Timestamp::default(), pid: 0, uid: 0, program: 0, change }
    }

    fn remove(number: u64) -> Record {
        let name = Name::new(number.to_string().as_bytes()).expect("digits are a name");
        record(Change::Remove { parent: Ino::ROOT, name })
    }

    #[test]
    fn each_subject_is_told_once_by_its_last_change() {
        let mut feed = Feed::new();
        feed.begin();
        for seq in 2..100 {
            feed.note(&remove(seq % 3), seq);
        }
        let since = |seq| feed.since(Moment::new(1, seq)).expect("nothing was lost").count();
        assert_eq!([since(0), since(97), since(98), since(99)], [3, 2, 1, 0]);
        assert_eq!(feed.since(Moment::BASE).expect("nothing was lost").count(), 3);
    }

    #[test]
    fn what_is_forgotten_is_not_said_to_be_unchanged() {
        let mut feed = Feed::new();
        feed.begin();
        for seq in 2..KEPT_MAX as u64 + 4 {
            feed.note(&remove(seq), seq);
        }
        assert!(feed.since(Moment::new(1, 2)).is_none());
        assert_eq!(feed.since(Moment::new(1, 3)).expect("it is kept").count(), KEPT_MAX);
        feed.lose(KEPT_MAX as u64 + 10);
        assert!(feed.since(Moment::new(1, KEPT_MAX as u64 + 9)).is_none());
        let mut fork = feed.clone();
        fork.begin();
        fork.note(&remove(1), 2);
        assert_eq!(fork.since(Moment::new(1, KEPT_MAX as u64 + 10)).expect("it is kept").count(), 1);
    }
}
