//! The entries of a thread, by the number that completions carry.

use super::Seat;
use super::memory::Slot;
use std::sync::Arc;

/// An entry of a mount.
pub(super) struct Entry {
    pub(super) seat: Arc<Seat>,
    pub(super) queue: u16,
    /// None while a job has it.
    pub(super) slot: Option<Slot>,
    /// The kernel has taken it once.
    pub(super) is_known: bool,
    /// Its request waits for content: nobody knows how long.
    pub(super) waits: bool,
    /// Pages of its slot were used since they were given back.
    pub(super) is_used: bool,
}

impl Entry {
    /// One that is about to be given to the kernel.
    pub(super) fn new(seat: &Arc<Seat>, queue: u16) -> Self {
        let seat = Arc::clone(seat);
        Self { seat, queue, slot: None, is_known: false, waits: false, is_used: false }
    }
}

/// All of a thread.
#[derive(Default)]
pub(super) struct Entries {
    all: Vec<Option<Entry>>,
    free: Vec<usize>,
}

impl Entries {
    pub(super) fn insert(&mut self, entry: Entry) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.all[index] = Some(entry);
                index
            }
            None => {
                self.all.push(Some(entry));
                self.all.len() - 1
            }
        }
    }

    pub(super) fn get(&mut self, index: usize) -> Option<&mut Entry> {
        self.all.get_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.all.get_mut(index)?.take()?;
        self.free.push(index);
        Some(entry)
    }

    pub(super) fn iter(&mut self) -> impl Iterator<Item = (usize, &mut Entry)> {
        self.all.iter_mut().enumerate().filter_map(|(index, entry)| Some((index, entry.as_mut()?)))
    }

    /// True when no job has one, but for those that wait for content.
    pub(super) fn are_done(&mut self) -> bool {
        self.iter().all(|(_, entry)| entry.slot.is_some() || entry.waits)
    }
}
