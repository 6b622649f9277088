//! One pool of threads that serves every mount.
//!
//! All connections are registered in one epoll instance, one-shot: an event hands a connection to one thread, which
//! serves it until nothing waits and then arms it again. Until then arriving requests wake nobody: a program that
//! does one operation after the other costs no wake-up of a second thread that would find nothing. Before a request
//! that may block (`may_block`) the thread arms the connection *early* and so lets others in. Idle mounts cost no
//! wake-up at all.
//!
//! One free thread waits for events, the others are parked. Measured: with four in epoll a program's requests wander
//! between threads and CPUs, and a create takes up to three times as long. A parked thread is fetched, or a new one
//! started, when the free one is about to block. Up to [`Limits::threads_max`] threads exist
//! while that many requests block: a workspace made from a repository inside another workspace cannot starve, and many
//! fsyncs at once share one group commit.
//!
//! Invariants: a connection is armed, or a thread that will not block serves it, so no request is left lying; no pool
//! lock is held while a request is answered; `on_end` is called once per connection. Locks are never nested.

use crate::connection::{BUFFER_BYTES, Connection, Served};
use crate::reply::Reply;
use crate::request::{Operation, Request};
use crate::transport::Received;
use rustix::event::{EventfdFlags, epoll, eventfd};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// The sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads kept once they were needed.
    pub threads: usize,
    /// Threads at most, while requests block.
    pub threads_max: usize,
    /// Longest time a thread looks for the next request before it sleeps; zero turns it off. It does so only while
    /// requests have been arriving within that time.
    pub spin: Duration,
}

impl Default for Limits {
    /// 4 threads: with fewer, one slow read of cold content delays every mount; more only contend on small machines.
    /// 64 at most: bounds memory (1 MiB of buffer each). The spin is twice the time a program needs between two
    /// system calls when it does nothing but file operations.
    fn default() -> Self {
        Self { threads: 4, threads_max: 64, spin: Duration::from_micros(25) }
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
    epoll: OwnedFd,
    stop: OwnedFd,
    stopping: AtomicBool,
    members: RwLock<HashMap<u64, Arc<Member>>>,
    next_id: AtomicU64,
    limits: Limits,
    threads: AtomicUsize,
    /// Threads that wait for events: 1 or, for moments, 0.
    idle: AtomicUsize,
    /// Threads that wait to be fetched.
    parked: Mutex<usize>,
    fetch: Condvar,
    running: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Member {
    id: MemberId,
    connection: Connection,
    on_end: Mutex<Option<OnEnd>>,
    /// The next request wakes a thread. A hint: it may lag behind, towards one wake-up too many.
    armed: AtomicBool,
    /// Threads that serve it now and are not in a request that may block. The last of them arms.
    active: AtomicUsize,
    removed: AtomicBool,
}

impl Member {
    fn new(id: MemberId, connection: Connection, on_end: OnEnd) -> Self {
        let on_end = Mutex::new(Some(on_end));
        Self { id, connection, on_end, armed: true.into(), active: 0.into(), removed: false.into() }
    }
}

/// Requests of one connection before others get their turn: under a millisecond, at one more epoll round in 64.
const TURN_REQUESTS: u32 = 64;

/// The event that is no connection: the pool stops.
const STOP: u64 = 0;

impl Pool {
    /// Starts the first thread.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
            stopping: AtomicBool::new(false),
            members: RwLock::default(),
            next_id: AtomicU64::new(STOP + 1),
            limits,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            parked: Mutex::new(0),
            fetch: Condvar::new(),
            running: Mutex::default(),
        });
        epoll::add(&shared.epoll, &shared.stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        shared.start_thread()?;
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

    /// Threads alive now.
    pub fn threads(&self) -> usize {
        self.shared.threads.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The counter stays above 0, so every thread sees it. A failure could only mean that it is above already.
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        {
            let _parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.fetch.notify_all();
        }
        let running =
            std::mem::take(&mut *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner));
        let own = thread::current().id();
        for handle in running.into_iter().filter(|handle| handle.thread().id() != own) {
            // Its panic has been reported by the panic hook.
            let _ = handle.join();
        }
        self.shared.members.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn interest() -> epoll::EventFlags {
    epoll::EventFlags::IN | epoll::EventFlags::ONESHOT
}

impl Shared {
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let shared = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new().name("weald-fuse".to_owned()).spawn(move || {
            Worker::new(&shared).run(&shared);
            shared.threads.fetch_sub(1, Ordering::Relaxed);
        });
        match started {
            Ok(handle) => {
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                running.retain(|handle| !handle.is_finished());
                running.push(handle);
                Ok(())
            }
            Err(error) => {
                self.threads.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn member(&self, id: u64) -> Option<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn forget_member(&self, id: MemberId) -> Option<Arc<Member>> {
        let member = self.members.write().unwrap_or_else(PoisonError::into_inner).remove(&id.0)?;
        member.removed.store(true, Ordering::Release);
        // Fails when it never was added; then there is nothing to take away.
        let _ = epoll::delete(&self.epoll, member.connection.transport().descriptor());
        Some(member)
    }

    /// Lets the next request wake a thread.
    fn arm(&self, member: &Member) {
        member.armed.store(true, Ordering::Release);
        let data = epoll::EventData::new_u64(member.id.0);
        // ENOENT: removed meanwhile.
        let _ = epoll::modify(&self.epoll, member.connection.transport().descriptor(), data, interest());
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
            if self.idle.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return true;
            }
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock that `keep_one_free` takes after it saw 0, so that nobody parks past its call; the pool
            // tells that it stops under it too.
            if self.idle.load(Ordering::Acquire) == 0 || self.stopping.load(Ordering::Acquire) {
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

    /// Before a thread stays away for longer: another one must wait for events.
    fn keep_one_free(self: &Arc<Self>) {
        if self.idle.load(Ordering::Acquire) > 0 {
            return;
        }
        let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        if *parked > 0 {
            self.fetch.notify_one();
        } else if self.threads.load(Ordering::Relaxed) < self.limits.threads_max {
            drop(parked);
            // Without memory for a thread the requests wait for the threads there are.
            let _ = self.start_thread();
        }
    }
}

/// What a thread keeps between requests.
struct Worker {
    buffer: Box<[u8]>,
    reply: Reply,
    spin: Spin,
}

impl Worker {
    fn new(shared: &Shared) -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            reply: Reply::default(),
            spin: Spin::new(shared.limits.spin),
        }
    }

    fn run(&mut self, shared: &Arc<Shared>) {
        let mut events = Vec::with_capacity(1);
        while !shared.stopping.load(Ordering::Acquire) {
            if !shared.become_idle() {
                return;
            }
            events.clear();
            let asleep = self.spin.begin_sleep();
            let waited = epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None);
            shared.idle.fetch_sub(1, Ordering::AcqRel);
            self.spin.end_sleep(asleep);
            if waited.is_err() {
                continue;
            }
            for event in &events {
                let id = event.data.u64();
                if let Some(member) = shared.member(id) {
                    self.serve(shared, &member);
                }
            }
        }
    }

    /// Serves a connection until nothing waits or its turn is over.
    fn serve(&mut self, shared: &Arc<Shared>, member: &Member) {
        member.active.fetch_add(1, Ordering::AcqRel);
        member.armed.store(false, Ordering::Release);
        for _ in 0..TURN_REQUESTS {
            if shared.stopping.load(Ordering::Acquire) || member.removed.load(Ordering::Acquire) {
                break;
            }
            let mut received = member.connection.transport().receive(&mut self.buffer);
            if received == Received::Empty {
                received = self.spin.look(|| member.connection.transport().receive(&mut self.buffer));
            }
            let served = match received {
                Received::Request(count) => self.answer(shared, member, count),
                Received::Empty => break,
                Received::Gone => Served::Gone,
            };
            if served == Served::Gone {
                return shared.end(member);
            }
        }
        if member.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.arm(member);
        }
    }

    fn answer(&mut self, shared: &Arc<Shared>, member: &Member, count: usize) -> Served {
        let message = &self.buffer[..count];
        let request = match Request::decode(message) {
            Ok(request) => request,
            Err(malformed) => return member.connection.refuse(malformed, &mut self.reply),
        };
        if !may_block(&request.operation) {
            return member.connection.serve(&request, &mut self.reply);
        }
        shared.keep_one_free();
        member.active.fetch_sub(1, Ordering::AcqRel);
        if !member.armed.load(Ordering::Acquire) {
            shared.arm(member);
        }
        let served = member.connection.serve(&request, &mut self.reply);
        member.active.fetch_add(1, Ordering::AcqRel);
        served
    }
}

/// Requests that may wait for a disk or a source, so that others must not wait behind them.
fn may_block(operation: &Operation<'_>) -> bool {
    /// Writes up to here are one append to the page cache.
    const QUICK_WRITE_BYTES_MAX: usize = 64 << 10;
    match operation {
        Operation::Fsync { .. } | Operation::Fsyncdir { .. } | Operation::Syncfs => true,
        Operation::Read { .. } | Operation::CopyFileRange { .. } => true,
        Operation::Write { data, .. } => data.len() > QUICK_WRITE_BYTES_MAX,
        _ => false,
    }
}

/// Looking again for a short while before sleeping, as long as that pays off.
///
/// It starts after a run of sleeps so short that looking would have saved them, and stops when looks keep failing;
/// each stop doubles the run that the next start takes. So it is on while one program does one file operation after
/// the other and another CPU is free for it, and off when idle, when operations are sparse, and when the program needs
/// this very CPU.
struct Spin {
    limit: Duration,
    on: bool,
    /// Short sleeps in a row while off; failed looks in a row while on.
    run: u32,
    /// Short sleeps that turn it on.
    patience: u32,
}

impl Spin {
    /// Failed looks in a row that turn it off.
    const FAILURES_MAX: u32 = 3;
    const PATIENCE_MIN: u32 = 4;
    /// With looks that never succeed, 3 of them per 1,024 requests cost nothing that could be measured.
    const PATIENCE_MAX: u32 = 1024;
    /// A sleep shorter than this took no wake-up of an idle CPU: program and thread take turns on one, which is the
    /// fastest way there is (10 µs a round trip), and looking would only keep the program from running.
    const SAME_CPU: Duration = Duration::from_micros(15);
    /// What waking the program's CPU and then this one takes at most, besides the wait itself.
    const WAKE_UP: Duration = Duration::from_micros(100);

    fn new(limit: Duration) -> Self {
        Self { limit, on: false, run: 0, patience: Self::PATIENCE_MIN }
    }

    fn look(&mut self, mut receive: impl FnMut() -> Received) -> Received {
        if !self.on {
            return Received::Empty;
        }
        let start = Instant::now();
        loop {
            let received = receive();
            if received != Received::Empty {
                self.run = 0;
                self.patience = Self::PATIENCE_MIN;
                return received;
            }
            if start.elapsed() >= self.limit {
                break;
            }
            std::hint::spin_loop();
        }
        self.run += 1;
        if self.run >= Self::FAILURES_MAX {
            self.on = false;
            self.run = 0;
            self.patience = (self.patience * 2).min(Self::PATIENCE_MAX);
        }
        Received::Empty
    }

    fn begin_sleep(&self) -> Option<Instant> {
        (!self.on && !self.limit.is_zero()).then(Instant::now)
    }

    fn end_sleep(&mut self, asleep: Option<Instant>) {
        let Some(start) = asleep else { return };
        let slept = start.elapsed();
        let short = slept >= Self::SAME_CPU && slept < self.limit + Self::WAKE_UP;
        self.run = if short { self.run + 1 } else { 0 };
        if self.run >= self.patience {
            self.on = true;
            self.run = 0;
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
