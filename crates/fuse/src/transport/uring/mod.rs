//! The io_uring transport: requests of busy mounts, answered on the CPU of the program that makes them.
//!
//! The kernel keeps a queue of requests for each CPU of a mount (fs/fuse/dev_uring.c). Here one thread for each CPU, bound
//! to it, serves that queue of all mounts through one ring: a request and the answer to the one before are one system
//! call. While one program alone asks densely, one more thread serves all queues and looks for requests ([`gathering`]). FORGET,
//! INTERRUPT and notifications stay on `/dev/fuse`.
//!
//! A mount begins on `/dev/fuse` and *joins* when it is busy, so idle mounts have no entries. It never goes back: the kernel
//! knows no way. A request that may wait leaves the thread ([`aside`]); for each such request one more entry is given to
//! the kernel, so that others on that CPU are not kept waiting. A mount whose requests may wait for another mount does not join.
//!
//! Who goes on after a process that was killed finds its slots in the [`memory`] both map ([`resume`]).
//!
//! Invariants: an entry's slot has one owner, the kernel or a thread here; a thread bound to a CPU never waits for a disk's
//! flush, for content from elsewhere or for another mount.

mod aside;
mod entries;
mod gathering;
mod memory;
mod resume;
mod ring;
mod thread;

use crate::connection::Connection;
use memory::{Memory, Slot};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Whether root has allowed it.
const ENABLED_PATH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Whether this kernel takes requests over io_uring now; None when it does not know how to.
pub fn is_enabled() -> Option<bool> {
    std::fs::read_to_string(ENABLED_PATH).ok().map(|text| text.trim() == "Y")
}

/// A mount that has joined.
struct Seat {
    id: u64,
    connection: Arc<Connection>,
    left: AtomicBool,
    /// Nothing of a process before is unknown any more.
    is_settled: AtomicBool,
}

impl Seat {
    fn new(id: u64, connection: &Arc<Connection>, is_settled: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            connection: Arc::clone(connection),
            left: AtomicBool::new(false),
            is_settled: AtomicBool::new(is_settled),
        })
    }
}

/// What a thread is told.
enum Order {
    /// Give entries of this mount to the kernel.
    Join(Arc<Seat>),
    /// Answer what these slots have, and join; then tell.
    Resume(Arc<Seat>, Vec<(u16, Slot)>, Sender<()>),
    /// Slots of the process before are of no use any more.
    Settle(Arc<Seat>),
    /// Refuse what is asked.
    Leave(Arc<Seat>),
    /// An answer is in the slot.
    Commit(usize, Slot),
    /// The request of this entry waits for content.
    Waits(usize),
    /// An entry of another thread's, with an answer: commit it, and have it from now on.
    Take(entries::Entry),
    /// Answer nothing more, and end.
    Stop,
}

/// The way to a thread.
struct Inbox {
    /// The queues that the thread serves.
    queues: Vec<u16>,
    orders: Mutex<Vec<Order>>,
    event: OwnedFd,
}

impl Inbox {
    fn new(queues: Vec<u16>) -> io::Result<Self> {
        Ok(Self { queues, orders: Mutex::default(), event: eventfd(0, EventfdFlags::CLOEXEC)? })
    }

    fn send(&self, order: Order) {
        locked(&self.orders).push(order);
        self.wake();
    }

    /// Wakes the thread.
    fn wake(&self) {
        // Fails only when the counter is full, and then the thread wakes anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }
}

/// The rings of a process.
pub struct Rings {
    memory: Arc<Memory>,
    aside: Arc<aside::Aside>,
    /// Mounts that become busy join.
    invites: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// One for each CPU, and the gatherer, once a mount has joined.
    threads: Vec<(Arc<Inbox>, JoinHandle<()>)>,
    seats: HashMap<u64, Arc<Seat>>,
    /// Slots of the process before, by the kernel's id of the mount.
    left_behind: HashMap<u64, Vec<(u16, Slot)>>,
    is_stopped: bool,
}

impl Rings {
    /// Reserves addresses; threads start with the first mount that joins.
    pub fn new() -> io::Result<Self> {
        Ok(Self::over(Arc::new(Memory::new()?), true, HashMap::new()))
    }

    /// Takes over from a process that ended: its memory, and the kernel's ids of the mounts that are there. Whether others
    /// join, too, is for the caller to say; those that had joined must.
    pub fn take_over(memory: OwnedFd, mounts: &HashSet<u64>, invites: bool) -> io::Result<Self> {
        let memory = Arc::new(Memory::map(memory)?);
        let left_behind = memory.left_behind(mounts);
        Ok(Self::over(memory, invites, left_behind))
    }

    fn over(memory: Arc<Memory>, invites: bool, left_behind: HashMap<u64, Vec<(u16, Slot)>>) -> Self {
        let inner = Mutex::new(Inner { left_behind, ..Inner::default() });
        Self { memory, aside: Arc::default(), invites, inner }
    }

    /// The memory, to be kept for the process that goes on.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.memory.descriptor()
    }

    /// Mounts that have joined.
    pub fn joined(&self) -> usize {
        locked(&self.inner).seats.len()
    }

    /// Has a mount served here from now on, too.
    pub(crate) fn join(&self, id: u64, connection: &Arc<Connection>) -> io::Result<()> {
        let mut inner = locked(&self.inner);
        if !self.invites || inner.is_stopped || inner.seats.contains_key(&id) {
            return Ok(());
        }
        self.start(&mut inner)?;
        let seat = Seat::new(id, connection, true);
        inner.seats.insert(id, Arc::clone(&seat));
        inner.threads.iter().for_each(|(inbox, _)| inbox.send(Order::Join(Arc::clone(&seat))));
        Ok(())
    }

    fn start(&self, inner: &mut Inner) -> io::Result<()> {
        if inner.threads.is_empty() {
            inner.threads = thread::start(&self.memory, &self.aside)?;
        }
        Ok(())
    }

    /// A mount is served no more.
    pub(crate) fn leave(&self, id: u64) {
        let mut inner = locked(&self.inner);
        let Some(seat) = inner.seats.remove(&id) else { return };
        seat.left.store(true, std::sync::atomic::Ordering::Release);
        inner.threads.iter().for_each(|(inbox, _)| inbox.send(Order::Leave(Arc::clone(&seat))));
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        locked(&self.inner).threads.iter().for_each(|(inbox, _)| inbox.send(order()));
    }

    /// Ends the threads. What was taken and not answered lies in the memory for the process that goes on.
    pub(crate) fn stop(&self) {
        let threads = {
            let mut inner = locked(&self.inner);
            inner.is_stopped = true;
            std::mem::take(&mut inner.threads)
        };
        threads.iter().for_each(|(inbox, _)| inbox.send(Order::Stop));
        for (_, handle) in threads {
            // Its panic has been reported by the panic hook.
            let _ = handle.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
