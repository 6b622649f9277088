//! A thread of the pool: takes requests, answers them, and lets others in when that takes long.

use super::{Member, Shared};
use crate::connection::{BUFFER_BYTES, Served};
use crate::reply::Reply;
use crate::request::{Operation, Request};
use crate::transport::Received;
use crate::wake::LOOK;
use crate::watchman::Desk;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;
use weald_model::Errno;

/// Requests of one connection before others get their turn: under a millisecond, at one more epoll round in 64.
const TURN_REQUESTS: u32 = 64;

/// Requests in a row that were waiting already, after which another thread is let in.
const BACKLOG_REQUESTS: u32 = 4;

/// What a thread keeps between requests.
pub(super) struct Worker {
    buffer: Box<[u8]>,
    reply: Reply,
    look: Look,
    desk: Arc<Desk<Arc<Member>>>,
    /// Who asked for a sync that nobody was let in for, just now.
    synced_for: Option<u32>,
}

/// How looking for requests went since the last sleep.
#[derive(Clone, Copy, Default)]
pub(super) struct Look {
    /// It spared a sleep.
    pub(super) found: bool,
    /// When the look began that found nothing.
    pub(super) in_vain: Option<Instant>,
}

impl Worker {
    pub(super) fn new(shared: &Shared) -> Self {
        let desk = shared.watchman.desk();
        Self {
            buffer: buffer_in_memory(),
            reply: Reply::default(),
            look: Look::default(),
            desk,
            synced_for: None,
        }
    }

    pub(super) fn run(&mut self, shared: &Arc<Shared>) {
        let mut events = Vec::with_capacity(1);
        while !shared.stopping.load(Ordering::Acquire) {
            if !shared.become_idle() {
                return;
            }
            events.clear();
            let waited =
                shared.wait(rustix::buffer::spare_capacity(&mut events), std::mem::take(&mut self.look));
            shared.idle.fetch_sub(1, Ordering::SeqCst);
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
    fn serve(&mut self, shared: &Arc<Shared>, member: &Arc<Member>) {
        member.active.fetch_add(1, Ordering::AcqRel);
        member.armed.store(false, Ordering::Release);
        let mut backlog = 0;
        for _ in 0..TURN_REQUESTS {
            if shared.stopping.load(Ordering::Acquire) || member.removed.load(Ordering::Acquire) {
                break;
            }
            let (received, was_waiting) = self.receive(shared, member);
            backlog = if was_waiting { backlog + 1 } else { 0 };
            if backlog == BACKLOG_REQUESTS {
                shared.share(member);
                backlog = 0;
            }
            let served = match received {
                Received::Request(count) => {
                    shared.count(member);
                    self.answer(shared, member, count, was_waiting)
                }
                Received::Empty => break,
                Received::Gone => Served::Gone,
            };
            match served {
                Served::Gone => return shared.end(member),
                Served::Done | Served::Unfetched => {}
            }
        }
        if member.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.arm(member);
        }
    }

    /// The next request, and whether it had been waiting. While CPUs are kept awake, or several programs ask, looking again for a
    /// moment is cheaper than going to sleep.
    fn receive(&mut self, shared: &Shared, member: &Member) -> (Received, bool) {
        let mut received = member.connection.transport().receive(&mut self.buffer);
        if !matches!(received, Received::Empty)
            || !(member.is_crowded() || shared.awake.load(Ordering::Relaxed))
        {
            let was_waiting = matches!(received, Received::Request(_));
            return (received, was_waiting);
        }
        let since = Instant::now();
        while matches!(received, Received::Empty) && since.elapsed() < LOOK {
            // Whoever waits for this CPU may be the one that asks.
            rustix::thread::sched_yield();
            received = member.connection.transport().receive(&mut self.buffer);
        }
        match received {
            Received::Empty => self.look.in_vain = Some(since),
            _ => self.look.found = true,
        }
        (received, false)
    }

    fn answer(
        &mut self,
        shared: &Arc<Shared>,
        member: &Arc<Member>,
        count: usize,
        was_waiting: bool,
    ) -> Served {
        let message = &self.buffer[..count];
        let request = match Request::decode(message) {
            Ok(request) => request,
            Err(malformed) => return member.connection.refuse(malformed, &mut self.reply),
        };
        let pid = request.header.pid;
        // The kernel itself is 0, and waits for nothing.
        if self.synced_for.take().is_some_and(|other| was_waiting && pid != 0 && pid != other) {
            shared.syncs.met();
        }
        let usual = pace_of(&request.operation);
        let pace = match usual {
            Pace::Unsure if member.is_nested() => Pace::Slow,
            Pace::Slow if !member.is_nested() && !shared.syncs.begin(member.id.0) => Pace::Unsure,
            pace => pace,
        };
        match pace {
            Pace::Quick => {}
            Pace::Unsure => shared.watchman.begin(&self.desk, Arc::clone(member)),
            Pace::Slow => shared.let_others_in(member),
        }
        let served = member.connection.serve(&request, &mut self.reply);
        let others_are_in = match pace {
            Pace::Quick => false,
            Pace::Unsure => self.desk.end(),
            Pace::Slow => true,
        };
        if usual == Pace::Slow && pace == Pace::Unsure {
            match others_are_in {
                true => shared.syncs.met(),
                false => self.synced_for = Some(pid),
            }
        }
        if others_are_in {
            member.active.fetch_add(1, Ordering::AcqRel);
        }
        if served == Served::Unfetched { self.send_away(member, &request, count) } else { served }
    }

    /// Has a request wait on a thread of its own until content is fetched.
    fn send_away(&self, member: &Arc<Member>, request: &Request<'_>, count: usize) -> Served {
        let header = request.header;
        let refuse = || member.connection.send_error(&header, Errno::Io, &mut Reply::default());
        let Some(wait) = member.connection.waits().begin(header.unique) else { return refuse() };
        let (message, member_there) = (self.buffer[..count].to_vec(), Arc::clone(member));
        let answer = move || {
            if let Ok(request) = Request::decode(&message) {
                // Whoever waits for events finds out as well when the mount is gone.
                member_there.connection.serve_waiting(&request, &wait, &mut Reply::default());
            }
            member_there.connection.waits().end(header.unique);
        };
        if thread::Builder::new().name("weald-far".to_owned()).spawn(answer).is_err() {
            member.connection.waits().end(header.unique);
            return refuse();
        }
        Served::Done
    }
}

/// A buffer for requests whose pages are all there.
///
/// A page that is not makes the kernel's copy of a request fail in a thread that is being killed, and then the program that
/// asked gets EIO (fuse_dev_do_read in fs/fuse/dev.c): the request never reaches the next process.
pub(super) fn buffer_in_memory() -> Box<[u8]> {
    // Zeros would come from the kernel's page of zeros.
    vec![u8::MAX; BUFFER_BYTES].into_boxed_slice()
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Answered from memory, or by an append to the page cache.
    Quick,
    /// Nearly always, but it may wait for a disk.
    Unsure,
    /// It waits for a disk: many at once share one wait. Where one program asks alone, it is as [`Pace::Unsure`].
    Slow,
}

pub(crate) fn pace_of(operation: &Operation<'_>) -> Pace {
    /// Writes up to here are one append to the page cache.
    const QUICK_WRITE_BYTES_MAX: usize = 64 << 10;
    match operation {
        Operation::Fsync { .. } | Operation::Fsyncdir { .. } | Operation::Syncfs => Pace::Slow,
        Operation::Read { .. } | Operation::CopyFileRange { .. } => Pace::Unsure,
        Operation::Write { data, .. } if data.len() > QUICK_WRITE_BYTES_MAX => Pace::Unsure,
        _ => Pace::Quick,
    }
}
