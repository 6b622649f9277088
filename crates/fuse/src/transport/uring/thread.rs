//! The thread of a CPU, or the gatherer: takes requests from its ring, answers them, and gives the answers with the next call.
//!
//! Invariants: an entry is in the kernel's hands, in this thread's, with a job, or on its way to another thread; only in the
//! first case does the kernel touch its slot, and it does so while this thread is in a call (deferred task work). So the pages
//! of entries in the kernel's hands can be given back between two calls.

use super::aside::Aside;
use super::entries::{Entries, Entry};
use super::gathering::{Gathering, Wait};
use super::memory::{Memory, Slot};
use super::ring::{EVENT, Ring};
use super::{Inbox, Order, Seat};
use crate::connection::{Connection, Prepared, fail};
use crate::pool::{Pace, pace_of};
use crate::reply::Reply;
use crate::request::{Operation, Request};
use crate::wake::{LOOK, PAUSE, SharedWake};
use rustix::io::Errno as HostErrno;
use rustix::thread::CpuSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use weald_model::Errno;

/// Entries of a mount for each CPU that are not with a job.
const ENTRIES: usize = 4;
/// After so long without a request the pages of slots are given back.
const IDLE: Duration = Duration::from_secs(1);
/// A thread that is to end takes requests until none came for so long: whoever waits for an answer makes no other.
const QUIET: Duration = Duration::from_millis(5);
/// Between two trials to give an answer while root has turned io_uring off.
const OFF_PAUSE: Duration = Duration::from_secs(1);

/// What the threads share.
struct Crew {
    /// Of each thread, by its number; the last is the gatherer's.
    inboxes: Vec<Arc<Inbox>>,
    /// The number of the thread whose CPU a queue is of, by queue.
    owners: Vec<usize>,
    memory: Arc<Memory>,
    aside: Arc<Aside>,
    wake: SharedWake,
    gathering: Gathering,
}

impl Crew {
    fn new(inboxes: Vec<Arc<Inbox>>, memory: &Arc<Memory>, aside: &Arc<Aside>) -> Self {
        let queues = inboxes.iter().flat_map(|inbox| inbox.queues.iter()).max().copied().unwrap_or_default();
        let mut owners = vec![0; usize::from(queues) + 1];
        for (number, inbox) in inboxes.iter().enumerate() {
            inbox.queues.iter().for_each(|queue| owners[usize::from(*queue)] = number);
        }
        let (memory, aside) = (Arc::clone(memory), Arc::clone(aside));
        Self { inboxes, owners, memory, aside, wake: SharedWake::default(), gathering: Gathering::default() }
    }

    /// The number of the thread that is to have the entries of a queue now.
    fn server(&self, queue: u16) -> usize {
        match self.gathering.is_gathered() {
            true => self.gatherer(),
            false => self.owners.get(usize::from(queue)).copied().unwrap_or_default(),
        }
    }

    fn gatherer(&self) -> usize {
        self.inboxes.len() - 1
    }
}

/// Starts a thread for each CPU there is, of which the first takes the queues of those that may come, too; and the gatherer.
pub(super) fn start(
    memory: &Arc<Memory>,
    aside: &Arc<Aside>,
) -> io::Result<Vec<(Arc<Inbox>, JoinHandle<()>)>> {
    let (online, possible) = (cpus("online")?, cpus("possible")?);
    let mut inboxes = Vec::new();
    for &cpu in &online {
        let mut queues = vec![cpu];
        if inboxes.is_empty() {
            queues.extend(possible.iter().filter(|queue| !online.contains(queue)));
        }
        inboxes.push(Arc::new(Inbox::new(queues)?));
    }
    inboxes.push(Arc::new(Inbox::new(Vec::new())?));
    let crew = Arc::new(Crew::new(inboxes, memory, aside));
    let mut threads = Vec::new();
    for (number, inbox) in crew.inboxes.iter().enumerate() {
        let (crew, cpu) = (Arc::clone(&crew), online.get(number).copied());
        let run = move || {
            cpu.into_iter().for_each(bind);
            if let Ok(ring) = Ring::new() {
                Thread::new(ring, number, crew).run();
            }
        };
        let name = cpu.map_or_else(|| "weald-rings".to_owned(), |cpu| format!("weald-cpu{cpu}"));
        threads.push((Arc::clone(inbox), std::thread::Builder::new().name(name).spawn(run)?));
    }
    Ok(threads)
}

fn bind(cpu: u16) {
    let mut set = CpuSet::new();
    set.set(cpu.into());
    // A CPU we may not run on is served from another.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Reads a list like `0-3,8`.
fn cpus(kind: &str) -> io::Result<Vec<u16>> {
    let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/{kind}"))?;
    parse_cpus(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_cpus(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        numbers.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

struct Thread {
    ring: Ring,
    number: usize,
    inbox: Arc<Inbox>,
    crew: Arc<Crew>,
    entries: Entries,
    /// Slots of the process before that had no request, until all of its mount is settled.
    parked: Vec<(Arc<Seat>, Slot)>,
    reply: Reply,
    /// Pages were used since they were given back.
    is_used: bool,
    is_stopping: bool,
}

impl Thread {
    fn new(ring: Ring, number: usize, crew: Arc<Crew>) -> Self {
        Self {
            ring,
            number,
            inbox: Arc::clone(&crew.inboxes[number]),
            crew,
            entries: Entries::default(),
            parked: Vec::new(),
            reply: Reply::default(),
            is_used: false,
            is_stopping: false,
        }
    }

    fn run(&mut self) {
        self.ring.watch(self.inbox.event.as_fd());
        if self.is_gatherer() {
            self.crew.gathering.allow();
        }
        let mut completed = Vec::new();
        let mut is_quiet = false;
        while !(self.is_stopping && is_quiet && self.entries.are_done()) {
            let since = Instant::now();
            // Whoever asked what is answered now has asked nothing more.
            let was_waiting = self.ring.has_more();
            self.crew.wake.waits();
            let is_found = self.is_looking() && self.ring.look(LOOK);
            if !is_found && self.ring.wait(self.patience()).is_err() {
                return;
            }
            self.ring.completed(&mut completed);
            is_quiet = completed.is_empty();
            let time = self.crew.wake.waited(!is_quiet, is_found);
            let wait = if was_waiting || completed.len() > 1 { Wait::None } else { Wait::For(time) };
            match (is_quiet, self.is_gatherer()) {
                (true, true) => self.crew.gathering.end(),
                (true, false) => {}
                (false, true) => self.crew.gathering.came_to_gatherer(wait, is_found),
                (false, false) if self.crew.gathering.came(wait) => {
                    self.crew.inboxes[self.crew.gatherer()].wake();
                }
                (false, false) => {}
            }
            if is_quiet && since.elapsed() >= IDLE {
                self.give_pages_back();
            }
            for (about, result) in completed.drain(..) {
                self.completed(about, result);
            }
        }
    }

    fn is_gatherer(&self) -> bool {
        self.number == self.crew.gatherer()
    }

    fn is_looking(&self) -> bool {
        self.is_gatherer() && !self.is_stopping && self.crew.gathering.is_gathered()
    }

    /// How long to wait for a completion at most.
    fn patience(&self) -> Option<Duration> {
        let of_run = match (self.crew.gathering.is_gathered(), self.is_gatherer()) {
            _ if self.is_stopping => Some(QUIET),
            (true, true) => Some(PAUSE),
            // The gatherer learns when the run is over.
            (true, false) => None,
            (false, _) => self.crew.wake.patience(),
        };
        of_run.or(self.is_used.then_some(IDLE))
    }

    fn completed(&mut self, about: u64, result: i32) {
        match about {
            EVENT => self.hear(),
            index => self.entry_completed(index as usize, result),
        }
    }

    fn hear(&mut self) {
        let orders = std::mem::take(&mut *super::locked(&self.inbox.orders));
        for order in orders {
            match order {
                Order::Join(seat) => self.join(&seat),
                Order::Resume(seat, slots, told) => self.resume(&seat, slots, told),
                Order::Settle(seat) => self.settle(&seat),
                Order::Leave(seat) => self.settle(&seat),
                Order::Commit(index, slot) => self.commit(index, slot),
                Order::Waits(index) => {
                    self.entries.get(index).into_iter().for_each(|entry| entry.waits = true);
                }
                Order::Take(entry) => self.take(entry),
                Order::Stop => self.is_stopping = true,
            }
        }
        self.ring.watch(self.inbox.event.as_fd());
    }

    fn join(&mut self, seat: &Arc<Seat>) {
        for queue in self.inbox.queues.clone() {
            (0..ENTRIES).for_each(|_| self.register(seat, queue));
        }
    }

    /// Gives the kernel one more entry.
    fn register(&mut self, seat: &Arc<Seat>, queue: u16) {
        // With all slots taken, those the mount has must do.
        let Some(slot) = self.crew.memory.take(seat.connection.mount_id(), queue) else { return };
        let index = self.entries.insert(Entry::new(seat, queue));
        self.ring.register(seat.connection.transport().descriptor(), queue, &slot, index as u64);
        if let Some(entry) = self.entries.get(index) {
            entry.slot = Some(slot);
        }
    }

    /// The kernel has done with an entry: a request is in its slot, or it gives the entry back.
    fn entry_completed(&mut self, index: usize, result: i32) {
        if result < 0 {
            return self.entry_failed(index, result);
        }
        if self.is_stopping {
            // It lies in its slot for the process that goes on.
            return;
        }
        let Some(entry) = self.entries.get(index) else { return };
        let Some(slot) = entry.slot.take() else { return };
        (entry.is_known, entry.is_used, self.is_used) = (true, true, true);
        let seat = Arc::clone(&entry.seat);
        self.answer(index, seat, slot);
    }

    fn answer(&mut self, index: usize, seat: Arc<Seat>, mut slot: Slot) {
        if seat.left.load(Ordering::Acquire) {
            // Who is still in a mount that was taken away learns it so; the kernel does not give entries back before.
            self.reply.start();
            slot.put(self.reply.fail(slot.commit_id(), Errno::Io));
            return self.commit(index, slot);
        }
        match answer(&seat.connection, &mut slot, &mut self.reply, &self.crew.gathering) {
            Answered::Done => self.commit(index, slot),
            Answered::Wants(way) => self.send_aside(index, slot, seat, way),
        }
    }

    fn entry_failed(&mut self, index: usize, result: i32) {
        let is_off = result == -HostErrno::OPNOTSUPP.raw_os_error();
        if is_off
            && self
                .entries
                .get(index)
                .is_some_and(|entry| entry.is_known && !entry.seat.left.load(Ordering::Acquire))
        {
            return self.commit_later(index);
        }
        let Some(entry) = self.entries.remove(index) else { return };
        let Some(slot) = entry.slot else { return };
        let is_left = entry.seat.left.load(Ordering::Acquire);
        if self.is_stopping && !is_left {
            // What its record says stays for the process that goes on.
            return;
        }
        if entry.is_known && !is_left && !entry.seat.is_settled.load(Ordering::Acquire) {
            self.park(entry.seat, slot);
        } else {
            slot.give_back();
        }
    }

    fn park(&mut self, seat: Arc<Seat>, mut slot: Slot) {
        slot.clear();
        self.parked.push((seat, slot));
    }

    /// Gives back what is parked for a mount.
    fn settle(&mut self, seat: &Seat) {
        for (of, slot) in std::mem::take(&mut self.parked) {
            match of.id == seat.id {
                true => slot.give_back(),
                false => self.parked.push((of, slot)),
            }
        }
    }

    /// Root has turned io_uring off while mounts use it. The answer waits until it is on again.
    fn commit_later(&mut self, index: usize) {
        let Some(slot) = self.entries.get(index).and_then(|entry| entry.slot.take()) else { return };
        let inbox = Arc::clone(&self.inbox);
        self.crew.aside.run(Box::new(move || {
            std::thread::sleep(OFF_PAUSE);
            inbox.send(Order::Commit(index, slot));
        }));
    }

    fn commit(&mut self, index: usize, slot: Slot) {
        let Some(entry) = self.entries.get(index) else { return };
        entry.waits = false;
        entry.slot = Some(slot);
        let server = self.crew.server(entry.queue);
        if self.is_stopping || server == self.number {
            return self.commit_here(index);
        }
        if let Some(entry) = self.entries.remove(index) {
            self.crew.inboxes[server].send(Order::Take(entry));
        }
    }

    /// An entry of another thread's, with an answer, is this one's from now on.
    fn take(&mut self, entry: Entry) {
        self.is_used = true;
        let index = self.entries.insert(entry);
        self.commit_here(index);
    }

    fn commit_here(&mut self, index: usize) {
        if self.is_stopping {
            // The process that goes on tells the kernel, which would answer with the next request.
            return;
        }
        let Some(Entry { seat, queue, slot: Some(slot), .. }) = self.entries.get(index) else { return };
        let (device, id) = (seat.connection.transport().descriptor(), slot.commit_id());
        self.ring.commit(device, *queue, id, index as u64);
    }

    fn send_aside(&mut self, index: usize, mut slot: Slot, seat: Arc<Seat>, way: Way) {
        if let Some(queue) = self.entries.get(index).map(|entry| entry.queue) {
            self.register(&seat, queue);
        }
        let inbox = Arc::clone(&self.inbox);
        self.crew.aside.run(Box::new(move || {
            answer_aside(&seat.connection, &mut slot, way, || inbox.send(Order::Waits(index)));
            inbox.send(Order::Commit(index, slot));
        }));
    }

    fn give_pages_back(&mut self) {
        self.is_used = false;
        self.parked.iter_mut().for_each(|(_, slot)| slot.release());
        for (_, entry) in self.entries.iter() {
            if let Some(slot) = entry.slot.as_mut().filter(|_| entry.is_used) {
                slot.release();
                entry.is_used = false;
            }
        }
    }
}

/// Going on after another process.
impl Thread {
    fn resume(&mut self, seat: &Arc<Seat>, slots: Vec<(u16, Slot)>, told: Sender<()>) {
        for (queue, mut slot) in slots {
            let id = slot.commit_id();
            if id == 0 {
                self.park(Arc::clone(seat), slot);
                continue;
            }
            let entry = Entry { is_known: true, is_used: true, ..Entry::new(seat, queue) };
            let index = self.entries.insert(entry);
            if slot.answered() == id {
                // Whether the kernel has heard it, it says: then it knows no such request.
                self.commit(index, slot);
            } else {
                slot.mark_resent();
                self.answer(index, Arc::clone(seat), slot);
            }
        }
        self.ring.submit();
        self.join(seat);
        self.ring.submit();
        // Who asked may have given up.
        let _ = told.send(());
    }
}

/// How a request goes on that leaves the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It was not begun.
    Slow,
    /// Content must be fetched first.
    Fetch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Done,
    Wants(Way),
}

/// Answers the request in a slot, unless that may take long.
fn answer(connection: &Connection, slot: &mut Slot, reply: &mut Reply, gathering: &Gathering) -> Answered {
    let prepared = match Request::decode(slot.message()) {
        Ok(request) if is_slow(&request.operation) => return Answered::Wants(Way::Slow),
        Ok(request) => {
            if pace_of(&request.operation) == Pace::Unsure {
                // Others are not to wait for it more than they must.
                gathering.spread();
            }
            connection.prepare(&request, reply)
        }
        Err(malformed) => connection.prepare_refusal(malformed, reply),
    };
    match prepared {
        Prepared::Unfetched => return Answered::Wants(Way::Fetch),
        Prepared::Reply => {}
        // Nothing of the kind comes this way; the entry must be given back all the same.
        Prepared::Silence => reply.start(),
    }
    slot.put(reply.message());
    Answered::Done
}

fn answer_aside(connection: &Connection, slot: &mut Slot, way: Way, waits: impl FnOnce()) {
    let mut reply = Reply::default();
    reply.start();
    if let Ok(request) = Request::decode(slot.message()) {
        let prepared = match way {
            Way::Slow => connection.prepare(&request, &mut reply),
            Way::Fetch => Prepared::Unfetched,
        };
        if prepared == Prepared::Unfetched {
            waits();
            if connection.waits().count() >= ENTRIES {
                // All entries may have been out at once, and the kernel looks into its queue when one comes back.
                connection.handler().nudge();
            }
            match connection.waits().begin(request.header.unique) {
                Some(wait) => connection.prepare_waiting(&request, &wait, &mut reply),
                None => fail(&request.header, Errno::Io, &mut reply),
            };
            connection.waits().end(request.header.unique);
        }
    }
    slot.put(reply.message());
}

/// Requests that wait for a disk's flush, or take long.
fn is_slow(operation: &Operation<'_>) -> bool {
    matches!(
        operation,
        Operation::Fsync { .. }
            | Operation::Fsyncdir { .. }
            | Operation::Syncfs
            | Operation::CopyFileRange { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_cpus("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpus("0\n"), Some(vec![0]));
        assert_eq!(parse_cpus(""), None);
    }
}
