//! Counting commits: how many are reachable from here and not from there.
//!
//! Newest first, painting as git's `limit_list` does: a commit is counted when first met unpainted and uncounted
//! again if paint reaches it later. A commit that cannot be read (shallow boundary, damage) ends its line.

use crate::hash::ObjectFormat;
use gix::ObjectId;
use std::collections::{BinaryHeap, HashMap};

/// How many painted commits are looked at after the last unpainted one, against skewed clocks (git's SLOP).
const SLOP: u32 = 5;

struct Seen {
    hidden: bool,
    /// Set once taken from the queue.
    taken: bool,
    parents: Vec<ObjectId>,
}

struct Walk<'a> {
    objects: &'a gix::OdbHandle,
    format: ObjectFormat,
    seen: HashMap<ObjectId, Seen>,
    queue: BinaryHeap<(i64, ObjectId)>,
    open_in_queue: u64,
    counted: u64,
    buffer: Vec<u8>,
}

/// Counts commits reachable from `tips` but not from `hidden`. `None` when more than `visits_max` commits would
/// have to be read.
pub(crate) fn count_missing(
    objects: &gix::OdbHandle,
    format: ObjectFormat,
    tips: &[ObjectId],
    hidden: &[ObjectId],
    visits_max: u64,
) -> Option<u64> {
    let mut walk = Walk {
        objects,
        format,
        seen: HashMap::new(),
        queue: BinaryHeap::new(),
        open_in_queue: 0,
        counted: 0,
        buffer: Vec::new(),
    };
    hidden.iter().for_each(|id| walk.meet(*id, true));
    tips.iter().for_each(|id| walk.meet(*id, false));
    let mut oldest_counted = i64::MAX;
    let mut slop = SLOP;
    let mut visits = 0;
    while let Some((time, id)) = walk.queue.pop() {
        if walk.open_in_queue == 0 {
            if time < oldest_counted {
                slop -= 1;
            }
            if slop == 0 || walk.counted == 0 {
                break;
            }
        }
        visits += 1;
        if visits > visits_max {
            return None;
        }
        if !walk.take(id) {
            oldest_counted = oldest_counted.min(time);
        }
    }
    Some(walk.counted)
}

impl Walk<'_> {
    /// Puts a commit into the queue, or paints one met before.
    fn meet(&mut self, id: ObjectId, hidden: bool) {
        if let Some(seen) = self.seen.get(&id) {
            if hidden && !seen.hidden {
                self.paint(id);
            }
            return;
        }
        let Some((time, parents)) = self.read(&id) else { return };
        self.seen.insert(id, Seen { hidden, taken: false, parents });
        self.queue.push((time, id));
        if !hidden {
            self.open_in_queue += 1;
        }
    }

    /// Takes a commit from the queue; true when it is painted.
    fn take(&mut self, id: ObjectId) -> bool {
        let seen = self.seen.get_mut(&id).expect("what is queued was met");
        let (hidden, parents) = (seen.hidden, seen.parents.clone());
        seen.taken = true;
        if !hidden {
            self.open_in_queue -= 1;
            self.counted += 1;
        }
        parents.into_iter().for_each(|parent| self.meet(parent, hidden));
        hidden
    }

    /// Paints a commit and everything already walked below it.
    fn paint(&mut self, id: ObjectId) {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let Some(seen) = self.seen.get_mut(&id) else { continue };
            if std::mem::replace(&mut seen.hidden, true) {
                continue;
            }
            if seen.taken {
                self.counted -= 1;
                todo.extend(seen.parents.iter().copied());
            } else {
                self.open_in_queue -= 1;
            }
        }
    }

    fn read(&mut self, id: &ObjectId) -> Option<(i64, Vec<ObjectId>)> {
        let data = gix::objs::Find::try_find(self.objects, id, &mut self.buffer).ok()??;
        if data.kind != gix::objs::Kind::Commit {
            return None;
        }
        let commit = || gix::objs::CommitRefIter::from_bytes(data.data, self.format.kind());
        let time = commit().committer().ok().and_then(|who| who.time().ok()).map_or(0, |time| time.seconds);
        Some((time, commit().parent_ids().collect()))
    }
}
