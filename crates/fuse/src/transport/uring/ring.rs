//! One io_uring instance and the three things that are submitted to it.
//!
//! Invariant: what a submission points to outlives it: slots, the event's buffer, and the vectors of a registration, which
//! the kernel reads within the call.
#![allow(unsafe_code, reason = "io_uring takes addresses")]

use super::memory::{HEADERS_BYTES, PAYLOAD_BYTES, Slot};
use io_uring::squeue::Entry128;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, types};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// `FUSE_IO_URING_CMD_REGISTER` and `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
/// Submissions gathered for one call.
const SUBMISSIONS: u32 = 64;
/// Completions there is room for; more wait inside the kernel.
const COMPLETIONS: u32 = 1024;

/// What a completion is about that is no entry.
pub(super) const EVENT: u64 = u64::MAX;

/// The ring. Only the thread that made it uses it.
pub(super) struct Ring {
    ring: IoUring<Entry128, cqueue::Entry>,
    event: Box<u64>,
}

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // So that a look needs no call.
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        Ok(Self { ring, event: Box::new(0) })
    }

    /// Hands over what was gathered and waits for a completion, or so long.
    pub(super) fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let waited = match patience {
            None => self.ring.submit_and_wait(1),
            Some(patience) => {
                let time = Timespec::from(patience);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match waited.map_err(|error| error.raw_os_error()) {
            Ok(_) => Ok(()),
            Err(Some(number))
                if [Errno::INTR, Errno::TIME, Errno::BUSY, Errno::AGAIN]
                    .iter()
                    .any(|errno| errno.raw_os_error() == number) =>
            {
                Ok(())
            }
            Err(number) => Err(io::Error::from_raw_os_error(number.unwrap_or_default())),
        }
    }

    /// Whether there is a completion that was not taken. The kernel says in shared memory when it would find one in a call.
    pub(super) fn has_more(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Hands over what was gathered, and looks for a completion for so long, giving the CPU away meanwhile; whether there is one.
    pub(super) fn look(&mut self, time: Duration) -> bool {
        self.submit();
        let since = Instant::now();
        loop {
            if self.ring.submission().taskrun() {
                self.submit();
            }
            if !self.ring.completion().is_empty() {
                return true;
            }
            if since.elapsed() >= time {
                return false;
            }
            // Whoever waits for this CPU may be the one that asks.
            rustix::thread::sched_yield();
        }
    }

    /// Hands over what was gathered.
    pub(super) fn submit(&mut self) {
        // What cannot be handed over now is with the next call.
        let _ = self.ring.submit();
    }

    /// What has completed: about what, and how.
    pub(super) fn completed(&mut self, into: &mut Vec<(u64, i32)>) {
        into.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
    }

    fn push(&mut self, entry: &Entry128) {
        // SAFETY: see the invariant.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit();
        }
    }

    /// Completes when the event is signalled.
    pub(super) fn watch(&mut self, event: BorrowedFd<'_>) {
        let buffer = std::ptr::from_mut(&mut *self.event).cast();
        let read = opcode::Read::new(types::Fd(event.as_raw_fd()), buffer, 8);
        self.push(&read.build().user_data(EVENT).into());
    }

    /// Gives the kernel an entry, which completes when a request is in its slot.
    pub(super) fn register(&mut self, device: BorrowedFd<'_>, queue: u16, slot: &Slot, about: u64) {
        /// Offset of `len` in `struct io_uring_sqe`, which the crate leaves 0 for this kind.
        const LEN_AT: usize = 24;
        let (headers, payload) = slot.addresses();
        let vectors =
            [Vector { base: headers, len: HEADERS_BYTES }, Vector { base: payload, len: PAYLOAD_BYTES }];
        let address = Some(vectors.as_ptr().addr() as u64);
        let mut entry = command(device, REGISTER, queue, 0, address).user_data(about);
        // SAFETY: the type is the kernel's structure of 128 bytes (`repr(C)`), aligned to 8.
        unsafe {
            std::ptr::from_mut(&mut entry).cast::<u8>().add(LEN_AT).cast::<u32>().write(vectors.len() as u32)
        };
        self.push(&entry);
        self.submit();
    }

    /// Gives the kernel the answer in the slot of a request, and the entry for the next one.
    pub(super) fn commit(&mut self, device: BorrowedFd<'_>, queue: u16, id: u64, about: u64) {
        self.push(&command(device, COMMIT_AND_FETCH, queue, id, None).user_data(about));
    }
}

/// A command with a `struct fuse_uring_cmd_req`.
fn command(device: BorrowedFd<'_>, command: u32, queue: u16, id: u64, address: Option<u64>) -> Entry128 {
    let mut bytes = [0; 80];
    bytes[8..16].copy_from_slice(&id.to_ne_bytes());
    bytes[16..18].copy_from_slice(&queue.to_ne_bytes());
    opcode::UringCmd80::new(types::Fd(device.as_raw_fd()), command).cmd(bytes).addr(address).build()
}

/// `struct iovec`.
#[repr(C)]
struct Vector {
    base: *mut u8,
    len: usize,
}
