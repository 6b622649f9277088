//! One pool of threads that serves every mount.
//!
//! All connections are registered in one epoll instance, one-shot: an event hands a connection to one thread, which
//! serves it until nothing waits and then arms it again. Until then arriving requests wake nobody: a program that
//! does one operation after the other costs no wake-up of a second thread that would find nothing. Idle mounts cost no
//! wake-up at all. A thread lets others in early, by arming the connection
//! - before a request that waits for a disk (`Pace::Slow`), unless one program asks for such alone (`syncs`);
//! - in the middle of one that turns out to take long (`Pace::Unsure`, [`watchman`](crate::watchman));
//! - when several requests in a row were waiting already: then there is work for more than one.
//!
//! One free thread waits for events, the others are parked. Measured: with four in epoll a program's requests wander
//! between threads and CPUs, and a create takes up to three times as long. A parked thread is fetched, or a new one
//! started, when the free one lets others in. Up to [`Limits::threads_max`] threads exist
//! while that many requests block: a workspace made from a repository inside another workspace cannot starve, and many
//! fsyncs at once share one group commit. During a dense run of requests CPUs are kept awake ([`wake`](crate::wake)).
//!
//! A request that needs content from elsewhere leaves the pool and waits on a thread of its own ([`waiting`](crate::waiting)).
//!
//! Invariants: a connection is armed, or a thread that will not block unwatched serves it, so no request is left lying; no pool
//! lock is held while a request is answered; `on_end` is called once per connection. Locks are never nested.

mod syncs;
mod worker;

use crate::connection::Connection;
use crate::transport::uring::Rings;
use crate::wake::Wake;
use crate::watchman::Watchman;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Instant;
use worker::{Look, Worker};

pub(crate) use worker::{Pace, pace_of};

/// The sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads kept once they were needed.
    pub threads: usize,
    /// Threads at most, while requests block.
    pub threads_max: usize,
}

impl Default for Limits {
    /// 4 threads: with fewer, one slow read of cold content delays every mount; more only contend on small machines.
    /// 64 at most: bounds memory (1 MiB of buffer each).
    fn default() -> Self {
        Self { threads: 4, threads_max: 64 }
    }
}

/// Names a connection in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId(u64);

/// Called on a pool thread, once, when the kernel says that a mount is gone.
pub type OnEnd = Box<dyn FnOnce(MemberId) + Send>;

/// The pool. Dropping it stops the threads after the requests they are answering; the connections close.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    rings: Option<Arc<Rings>>,
    epoll: OwnedFd,
    stop: OwnedFd,
    stopping: AtomicBool,
    cpus: usize,
    members: RwLock<HashMap<u64, Arc<Member>>>,
    next_id: AtomicU64,
    limits: Limits,
    threads: AtomicUsize,
    /// Threads that wait for events: 1 or, for moments, 0.
    idle: AtomicUsize,
    /// Of the thread that waits for events.
    wake: Mutex<Wake>,
    /// Whether it keeps CPUs awake.
    awake: AtomicBool,
    /// Threads that wait to be fetched.
    parked: Mutex<usize>,
    fetch: Condvar,
    /// A parked or new thread is on its way to wait for events.
    coming: AtomicBool,
    watchman: Watchman<Arc<Member>>,
    syncs: syncs::Syncs,
    running: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Member {
    id: MemberId,
    connection: Arc<Connection>,
    /// Requests until it joins the rings.
    until_busy: AtomicU32,
    on_end: Mutex<Option<OnEnd>>,
    /// The next request wakes a thread. A hint: it may lag behind, towards one wake-up too many.
    armed: AtomicBool,
    /// Threads that serve it now and have not let others in for a request. The last of them arms.
    active: AtomicUsize,
    /// Looks for a request until it no longer counts as asked by several programs at once.
    crowded: AtomicU32,
    /// Its requests may wait for those of another connection. Known with the first that could.
    nested: OnceLock<bool>,
    removed: AtomicBool,
}

impl Member {
    fn new(id: MemberId, connection: Connection, on_end: OnEnd) -> Self {
        let (connection, on_end) = (Arc::new(connection), Mutex::new(Some(on_end)));
        let until_busy = BUSY_REQUESTS.into();
        Self {
            id,
            connection,
            until_busy,
            on_end,
            armed: true.into(),
            active: 0.into(),
            crowded: 0.into(),
            nested: OnceLock::new(),
            removed: false.into(),
        }
    }

    /// Whether more than one program asked of late. Called once a look; a lost count does no harm.
    fn is_crowded(&self) -> bool {
        let left = self.crowded.load(Ordering::Relaxed);
        self.crowded.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    fn is_nested(&self) -> bool {
        *self.nested.get_or_init(|| self.connection.handler().may_ask_a_mount())
    }
}

/// Requests of a mount after which it is busy: a shell that enters a directory makes a dozen.
const BUSY_REQUESTS: u32 = 100;

/// Looks for which a mount stays crowded: a millisecond of work.
const CROWDED_LOOKS: u32 = 64;

/// The event that is no connection: the pool stops.
const STOP: u64 = 0;

impl Pool {
    /// Starts the first thread, and the watchman.
    pub fn new(limits: Limits) -> io::Result<Self> {
        Self::with_rings(limits, None)
    }

    /// The same; mounts that become busy join the rings.
    pub fn with_rings(limits: Limits, rings: Option<Arc<Rings>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            rings,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
            stopping: AtomicBool::new(false),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            members: RwLock::default(),
            next_id: AtomicU64::new(STOP + 1),
            limits,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            wake: Mutex::default(),
            awake: AtomicBool::new(false),
            parked: Mutex::new(0),
            fetch: Condvar::new(),
            coming: AtomicBool::new(false),
            watchman: Watchman::new(),
            syncs: syncs::Syncs::default(),
            running: Mutex::default(),
        });
        epoll::add(&shared.epoll, &shared.stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        shared.start_thread()?;
        shared.start_watchman()?;
        Ok(Self { shared })
    }

    /// Serves a connection from now on. `on_end` is called when it is unmounted by whomever, not after
    /// [`Pool::remove`].
    pub fn add(&self, connection: Connection, on_end: OnEnd) -> io::Result<MemberId> {
        let id = MemberId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let member = Arc::new(Member::new(id, connection, on_end));
        self.shared.members.write().unwrap_or_else(PoisonError::into_inner).insert(id.0, Arc::clone(&member));
        let added = epoll::add(
            &self.shared.epoll,
            member.connection.transport().descriptor(),
            epoll::EventData::new_u64(id.0),
            interest(),
        );
        if let Err(error) = added {
            self.shared.forget_member(id);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Goes on with a connection that another process served, over its rings if it had joined them.
    pub fn resume(&self, id: MemberId) -> io::Result<()> {
        let (Some(rings), Some(member)) = (&self.shared.rings, self.shared.member(id.0)) else {
            return Ok(());
        };
        // It was not this process that was told what the kernel can; joining in vain costs nothing.
        member.connection.assume_rings();
        rings.resume(id.0, &member.connection)
    }

    /// Stops serving a connection. Its descriptor is closed when the last request in answer is done and the caller's
    /// own references are dropped; a mount that still exists then answers ENOTCONN. False when it was gone already.
    pub fn remove(&self, id: MemberId) -> bool {
        let Some(member) = self.shared.forget_member(id) else { return false };
        member.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        member.connection.handler().ended();
        true
    }

    /// Connections served.
    pub fn len(&self) -> usize {
        self.shared.members.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True when no connection is served.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests that wait for content from elsewhere.
    pub fn waiting(&self) -> usize {
        let members = self.shared.members.read().unwrap_or_else(PoisonError::into_inner);
        members.values().map(|member| member.connection.waits().count()).sum()
    }

    /// Connections served over io_uring, too; None without rings.
    pub fn joined(&self) -> Option<usize> {
        self.shared.rings.as_ref().map(|rings| rings.joined())
    }

    /// Threads alive now.
    pub fn threads(&self) -> usize {
        self.shared.threads.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// Stops the threads after the requests they are answering. What the kernel asks from then on waits for whoever
    /// serves the connections next.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The counter stays above 0, so every thread sees it. A failure could only mean that it is above already.
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        {
            let _parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.fetch.notify_all();
        }
        self.shared.watchman.stop();
        self.shared.rings.iter().for_each(|rings| rings.stop());
        let running =
            std::mem::take(&mut *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner));
        let own = thread::current().id();
        for handle in running.into_iter().filter(|handle| handle.thread().id() != own) {
            // Its panic has been reported by the panic hook.
            let _ = handle.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
        let mut members = self.shared.members.write().unwrap_or_else(PoisonError::into_inner);
        members.values().for_each(|member| member.connection.waits().close());
        members.clear();
    }
}

fn interest() -> epoll::EventFlags {
    epoll::EventFlags::IN | epoll::EventFlags::ONESHOT
}

impl Shared {
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::Relaxed);
        let started = self.spawn("weald-fuse", move || {
            Worker::new(&shared).run(&shared);
            shared.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        }
        started
    }

    fn start_watchman(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.spawn("weald-watch", move || shared.watchman.run(&|member| shared.let_others_in(member)))
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let handle = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|handle| !handle.is_finished());
        running.push(handle);
        Ok(())
    }

    fn member(&self, id: u64) -> Option<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn forget_member(&self, id: MemberId) -> Option<Arc<Member>> {
        let member = self.members.write().unwrap_or_else(PoisonError::into_inner).remove(&id.0)?;
        member.removed.store(true, Ordering::Release);
        member.connection.waits().close();
        self.rings.iter().for_each(|rings| rings.leave(id.0));
        // Fails when it never was added; then there is nothing to take away.
        let _ = epoll::delete(&self.epoll, member.connection.transport().descriptor());
        Some(member)
    }

    /// Counts a request; a mount that had many joins the rings.
    fn count(&self, member: &Member) {
        let Some(rings) = &self.rings else { return };
        // The number wraps around after the join, which is once.
        if member.until_busy.fetch_sub(1, Ordering::Relaxed) == 1
            && member.connection.offers_rings()
            && !member.connection.handler().may_ask_a_mount()
        {
            // Without memory for a thread it stays where it is.
            let _ = rings.join(member.id.0, &member.connection);
        }
    }

    /// Lets the next request wake a thread.
    fn arm(&self, member: &Member) {
        member.armed.store(true, Ordering::Release);
        let data = epoll::EventData::new_u64(member.id.0);
        // ENOENT: removed meanwhile.
        let _ = epoll::modify(&self.epoll, member.connection.transport().descriptor(), data, interest());
    }

    /// Lets another thread in beside this one, when there are CPUs for both.
    fn share(self: &Arc<Self>, member: &Member) {
        member.crowded.store(CROWDED_LOOKS, Ordering::Relaxed);
        if self.cpus > 1 && member.active.load(Ordering::Relaxed) < self.cpus {
            self.keep_one_free();
            self.arm(member);
        }
    }

    fn end(&self, member: &Member) {
        if self.forget_member(member.id).is_none() {
            return;
        }
        let on_end = member.on_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic there is reported by the panic hook and must not cost the pool a thread.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            member.connection.handler().ended();
            if let Some(on_end) = on_end {
                on_end(member.id);
            }
        }));
    }

    /// Becomes the thread that waits for events, parking while another one is. False when the thread is to end.
    fn become_idle(&self) -> bool {
        while !self.stopping.load(Ordering::Acquire) {
            let is_it = self.idle.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            // Whoever came is there. Before the look below: who then needs a thread fetches one, or is seen there.
            self.coming.store(false, Ordering::SeqCst);
            if is_it {
                return true;
            }
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock that `keep_one_free` takes after it saw 0, so that nobody parks past its call; the pool
            // tells that it stops under it too.
            if self.idle.load(Ordering::SeqCst) == 0 || self.stopping.load(Ordering::Acquire) {
                continue;
            }
            if *parked + 1 >= self.limits.threads {
                return false;
            }
            *parked += 1;
            parked = self.fetch.wait(parked).unwrap_or_else(PoisonError::into_inner);
            *parked -= 1;
        }
        false
    }

    /// Waits for events; returns with none now and then.
    fn wait(
        &self,
        events: rustix::buffer::SpareCapacity<'_, epoll::Event>,
        look: Look,
    ) -> rustix::io::Result<usize> {
        let mut wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        let patience =
            wake.patience().map(|time| Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() });
        let since = look.in_vain.unwrap_or_else(Instant::now);
        let waited = epoll::wait(&self.epoll, events, patience.as_ref());
        wake.waited(look.found, since.elapsed());
        self.awake.store(wake.patience().is_some(), Ordering::Relaxed);
        waited
    }

    /// Before a thread stays away for longer: another one must wait for events.
    fn keep_one_free(self: &Arc<Self>) {
        // One on its way is enough: until it is there, each request would wake or start another.
        if self.idle.load(Ordering::SeqCst) > 0 || self.coming.swap(true, Ordering::SeqCst) {
            return;
        }
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if *parked > 0 {
            self.fetch.notify_one();
            return;
        }
        drop(parked);
        let may_start = self.threads.load(Ordering::Relaxed) < self.limits.threads_max;
        // Without memory for a thread the requests wait for the threads there are.
        if !may_start || self.start_thread().is_err() {
            self.coming.store(false, Ordering::SeqCst);
        }
    }

    /// For the rest of a request its thread does not count: others serve the connection.
    fn let_others_in(self: &Arc<Self>, member: &Member) {
        self.keep_one_free();
        member.active.fetch_sub(1, Ordering::AcqRel);
        if !member.armed.load(Ordering::Acquire) {
            self.arm(member);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
