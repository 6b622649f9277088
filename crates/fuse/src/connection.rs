//! One mounted file system as the kernel talks to it: negotiation, and the way of a request from bytes to answer.
//!
//! Invariant: every request that wants a reply gets exactly one, whatever the handler does (errors, panics) and
//! whatever the kernel sent. Who calls this: [`crate::pool`]. What the handler does: [`crate::adapter`].

use crate::abi::{self, init};
use crate::reply::{InitOut, Reply};
use crate::request::{Header, Init, Malformed, Operation, Request};
use crate::transport::{Sent, Transport};
use crate::waiting::Waits;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use weald_model::{Errno, Result, Wait};

/// Pages of one request: 256 of 4 KiB, the kernel's own ceiling unless `fs.fuse.max_pages_limit` is raised.
pub const REQUEST_PAGES_MAX: u16 = 256;
/// Bytes of one WRITE.
pub const WRITE_BYTES_MAX: u32 = REQUEST_PAGES_MAX as u32 * 4096;
/// Bytes a receive buffer needs: the largest WRITE, its two headers, rounded up to a page.
pub const BUFFER_BYTES: usize = WRITE_BYTES_MAX as usize + 4096;
/// Read-ahead and write-back requests the kernel keeps in flight per mount (its default of 12 starves 1 MiB streams).
const BACKGROUND_REQUESTS_MAX: u16 = 64;
/// From here on the kernel calls the mount congested: three quarters, its own ratio.
const CONGESTION_THRESHOLD: u16 = 48;

/// Fetches for one request before it fails: what was fetched is there, so one is enough but for a file that was changed
/// meanwhile.
const FETCHES_MAX: u32 = 8;

/// Without these the design does not hold (Linux 5.13 has them all).
const FLAGS_NEEDED: u64 = init::NO_OPEN_SUPPORT
    | init::NO_OPENDIR_SUPPORT
    | init::SETXATTR_EXT
    | init::MAX_PAGES
    | init::DO_READDIRPLUS
    | init::EXPLICIT_INVAL_DATA;

/// Taken when the kernel offers them.
///
/// ASYNC_READ, ASYNC_DIO, PARALLEL_DIROPS: more in flight. BIG_WRITES, MAX_PAGES: 1 MiB per request.
/// DO_READDIRPLUS without AUTO: a scan fills the caches in one pass. CACHE_SYMLINKS, EXPLICIT_INVAL_DATA: what is cached
/// stays, since nobody but the kernel changes a workspace behind its back. DONT_MASK: a default ACL replaces the
/// umask, so the engine applies it. HANDLE_KILLPRIV_V2: no GETXATTR and SETATTR around each write. POSIX_ACL: the
/// kernel enforces ACLs. EXPORT_SUPPORT: open_by_handle_at(2) and NFS re-export find evicted nodes again.
/// HAS_RESEND: for taking over a running connection. Not taken: ATOMIC_O_TRUNC (without OPEN the truncation would be
/// lost), POSIX_LOCKS and FLOCK_LOCKS (locks stay local, in the kernel), READDIRPLUS_AUTO, AUTO_INVAL_DATA,
/// CREATE_SUPP_GROUP (the kernel strips sgid itself since 6.0 and the engine's record has no use for the group).
const FLAGS_WANTED: u64 = FLAGS_NEEDED
    | init::ASYNC_READ
    | init::ASYNC_DIO
    | init::PARALLEL_DIROPS
    | init::BIG_WRITES
    | init::CACHE_SYMLINKS
    | init::DONT_MASK
    | init::HANDLE_KILLPRIV_V2
    | init::POSIX_ACL
    | init::EXPORT_SUPPORT
    | init::HAS_RESEND;

/// Whether the kernel may keep dirty pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Every write(2) is a request before it returns.
    #[default]
    WriteThrough,
    /// Small writes gather in the page cache; a snapshot has to `syncfs` the mount first.
    WriteBack,
}

/// The file system behind a connection. Called from many threads at once.
pub trait Handler: Send + Sync {
    /// Appends the body of the answer, or fails; never waits for a network. FORGET, BATCH_FORGET and NOTIFY_REPLY get no answer whatever is
    /// returned; INIT, DESTROY and INTERRUPT do not come here.
    fn answer(&self, request: &Request<'_>, reply: &mut Reply) -> Result<()>;
    /// Brings what `answer` needed and did not have when it failed with [`Errno::Unfetched`]; then it is asked again.
    /// May take as long as the network does, and ends soon after `wait` is cancelled.
    fn fetch(&self, request: &Request<'_>, wait: &Wait) -> Result<()> {
        let _ = (request, wait);
        Err(Errno::Io)
    }
    /// Whether to answer may take a request to a mount of this process, such as one the content comes from.
    fn may_ask_a_mount(&self) -> bool {
        false
    }
    /// Has another process make a request of this mount from each CPU, and returns when they are answered.
    fn nudge(&self) {}
    /// The mount is gone: the kernel holds no reference any more.
    fn ended(&self);
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Answered, or nothing was to be answered.
    Done,
    /// Not answered: content must be fetched first. To be continued by `serve_waiting`.
    Unfetched,
    /// The connection is gone.
    Gone,
}

/// What became of a request before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// The answer is whole.
    Reply,
    /// Nothing is to be answered.
    Silence,
    /// Content must be fetched first.
    Unfetched,
}

/// One connection.
pub struct Connection {
    transport: Arc<dyn Transport>,
    handler: Arc<dyn Handler>,
    caching: Caching,
    /// Flags in force; 0 before INIT, and in a process that took the connection over.
    flags: AtomicU64,
    /// The kernel takes requests over io_uring, too.
    offers_rings: AtomicBool,
    waits: Waits,
    /// Tells requests of this mount from those of others.
    mount: u64,
}

impl Connection {
    /// Joins a transport and a file system.
    pub fn new(transport: Arc<dyn Transport>, handler: Arc<dyn Handler>, caching: Caching) -> Self {
        Self {
            transport,
            handler,
            caching,
            flags: AtomicU64::new(0),
            offers_rings: AtomicBool::new(false),
            waits: Waits::default(),
            mount: 0,
        }
    }

    /// Numbers requests such that those of the next 65,535 mounts have other numbers: the kernel begins anew in each.
    #[must_use]
    pub fn of_mount(self, mount_id: u64) -> Self {
        Self { mount: mount_id, ..self }
    }

    /// What the log calls a request. The kernel's numbers are even.
    fn number(&self, unique: u64) -> u64 {
        (unique & !abi::UNIQUE_RESEND) >> 1 << 16 | self.mount & 0xffff
    }

    /// The transport.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The file system.
    pub fn handler(&self) -> &Arc<dyn Handler> {
        &self.handler
    }

    /// The INIT flags in force; 0 before the kernel has sent INIT to this process.
    pub fn flags(&self) -> u64 {
        self.flags.load(Ordering::Acquire)
    }

    /// The kernel's id of the mount, or 0.
    pub(crate) fn mount_id(&self) -> u64 {
        self.mount
    }

    /// Whether the kernel said that it takes requests over io_uring, too.
    pub(crate) fn offers_rings(&self) -> bool {
        self.offers_rings.load(Ordering::Acquire)
    }

    /// Takes it for true.
    pub(crate) fn assume_rings(&self) {
        self.offers_rings.store(true, Ordering::Release);
    }

    /// The requests that wait.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Answers a message that could not be decoded. `reply` is scratch space.
    pub fn refuse(&self, malformed: Malformed, reply: &mut Reply) -> Served {
        match self.prepare_refusal(malformed, reply) {
            Prepared::Reply => self.send(reply),
            Prepared::Silence | Prepared::Unfetched => Served::Done,
        }
    }

    /// Makes the answer to a message that could not be decoded.
    pub(crate) fn prepare_refusal(&self, malformed: Malformed, reply: &mut Reply) -> Prepared {
        match malformed {
            Malformed::Short(header) if wants_reply(header.opcode) => fail(&header, Errno::Invalid, reply),
            Malformed::Short(_) | Malformed::NoHeader => Prepared::Silence,
        }
    }

    /// Answers one request. `reply` is scratch space.
    pub fn serve(&self, request: &Request<'_>, reply: &mut Reply) -> Served {
        match self.prepare(request, reply) {
            Prepared::Silence => return Served::Done,
            Prepared::Unfetched => return Served::Unfetched,
            Prepared::Reply => {}
        }
        match self.transport.send(reply.message()) {
            Sent::Taken | Sent::Unwanted => Served::Done,
            // The kernel still waits for an answer it understands.
            Sent::Refused => self.send_error(&request.header, Errno::Io, reply),
            Sent::Gone => Served::Gone,
        }
    }

    /// Carries one request out and makes the answer in `reply`; sends nothing.
    pub(crate) fn prepare(&self, request: &Request<'_>, reply: &mut Reply) -> Prepared {
        let number = self.number(request.header.unique);
        let request = &Request { header: Header { request: number, ..request.header }, ..*request };
        let header = &request.header;
        reply.start();
        let outcome = match &request.operation {
            Operation::Init(init) => self.negotiate(init, reply),
            Operation::Destroy => Ok(()),
            Operation::Interrupt { unique } => {
                self.waits.interrupt(*unique);
                Ok(())
            }
            // A panic is a bug, but one request's: the program gets EIO and the mount lives on.
            _ => catch_unwind(AssertUnwindSafe(|| self.handler.answer(request, reply)))
                .unwrap_or(Err(Errno::Io)),
        };
        if !wants_reply(header.opcode) {
            return Prepared::Silence;
        }
        match outcome {
            Ok(()) => {
                reply.finish(header.unique);
                Prepared::Reply
            }
            Err(Errno::Unfetched) => Prepared::Unfetched,
            Err(error) => fail(header, error, reply),
        }
    }

    /// Answers a request that could not be answered before content was fetched. Blocks until that is here.
    pub(crate) fn serve_waiting(&self, request: &Request<'_>, wait: &Wait, reply: &mut Reply) -> Served {
        match self.prepare_waiting(request, wait, reply) {
            Prepared::Reply => self.send(reply),
            Prepared::Silence | Prepared::Unfetched => Served::Done,
        }
    }

    /// The same, without sending. Never "unfetched".
    pub(crate) fn prepare_waiting(&self, request: &Request<'_>, wait: &Wait, reply: &mut Reply) -> Prepared {
        for _ in 0..FETCHES_MAX {
            let fetched = catch_unwind(AssertUnwindSafe(|| self.handler.fetch(request, wait)));
            if let Err(error) = fetched.unwrap_or(Err(Errno::Io)) {
                return fail(&request.header, error, reply);
            }
            match self.prepare(request, reply) {
                Prepared::Unfetched => {}
                prepared => return prepared,
            }
        }
        fail(&request.header, Errno::Io, reply)
    }

    /// Answers with an error.
    pub(crate) fn send_error(&self, header: &Header, error: Errno, reply: &mut Reply) -> Served {
        fail(header, error, reply);
        self.send(reply)
    }

    fn send(&self, reply: &Reply) -> Served {
        match self.transport.send(reply.message()) {
            Sent::Gone => Served::Gone,
            Sent::Taken | Sent::Unwanted | Sent::Refused => Served::Done,
        }
    }

    fn negotiate(&self, init: &Init, reply: &mut Reply) -> Result<()> {
        let offered = init.flags;
        if init.major != abi::MAJOR || init.minor < abi::MINOR_MIN || offered & FLAGS_NEEDED != FLAGS_NEEDED {
            return Err(Errno::NotSupported);
        }
        let caching = if self.caching == Caching::WriteBack { init::WRITEBACK_CACHE } else { 0 };
        let flags = offered & (FLAGS_WANTED | caching | init::INIT_EXT);
        self.flags.store(flags, Ordering::Release);
        self.offers_rings.store(offered & init::OVER_IO_URING != 0, Ordering::Release);
        reply.init(&InitOut {
            minor: abi::MINOR.min(init.minor),
            max_readahead: init.max_readahead.max(WRITE_BYTES_MAX),
            flags,
            max_background: BACKGROUND_REQUESTS_MAX,
            congestion_threshold: CONGESTION_THRESHOLD,
            max_write: WRITE_BYTES_MAX,
            max_pages: REQUEST_PAGES_MAX,
        });
        Ok(())
    }
}

/// Makes the answer of a failure.
pub(crate) fn fail(header: &Header, error: Errno, reply: &mut Reply) -> Prepared {
    reply.start();
    reply.fail(header.unique, error);
    Prepared::Reply
}

fn wants_reply(opcode: u32) -> bool {
    use abi::Opcode::{BatchForget, Forget, Interrupt, NotifyReply};
    ![Forget, BatchForget, Interrupt, NotifyReply].iter().any(|silent| *silent as u32 == opcode)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
