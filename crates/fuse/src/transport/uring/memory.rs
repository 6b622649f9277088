//! The memory that the kernel writes requests into and reads answers from.
//!
//! One region of slots at a fixed address. A slot has, at its front, what the kernel calls the headers of a ring entry
//! (`fuse_uring_req_header`), then room in which a message is put together, then the payload: 1 MiB of addresses, of which
//! pages exist once something was written to them. In front of all slots stands a record for each, which says whose it is
//! and what was answered last. The region is a file in memory that the supervisor holds, too: the process that goes on maps it
//! at the same address, since the kernel remembers addresses, and finds there what was asked and not answered.
//! Invariants: a [`Slot`] is the only way to its bytes in this process; nothing read there is trusted; what is answered is
//! marked so before the kernel is told, and the answer is whole before it is marked. All unsafe code of the crate is here and in
//! [`super::ring`].
#![allow(unsafe_code, reason = "the kernel writes to this memory behind the compiler's back")]

use crate::abi;
use crate::connection::WRITE_BYTES_MAX;
use rustix::fs::MemfdFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of `fuse_uring_req_header`: two headers of 128 bytes and `fuse_uring_ent_in_out`.
pub(super) const HEADERS_BYTES: usize = 128 + 128 + 32;
/// Where `fuse_uring_ent_in_out` has the number of the request, and the bytes of the payload.
const COMMIT_ID_AT: usize = 256 + 8;
const PAYLOAD_BYTES_AT: usize = 256 + 16;
/// Where the header of a request or an answer has its number.
const UNIQUE_AT: usize = 8;
/// Where the header of the operation is, and its longest.
const OPERATION_AT: usize = 128;
const OPERATION_BYTES_MAX: usize = 128;
/// Where the payload begins; the message is put together before it.
const PAYLOAD_AT: usize = 1024;
/// Bytes of a payload: the kernel wants room for the largest WRITE and the largest READ.
pub(super) const PAYLOAD_BYTES: usize = WRITE_BYTES_MAX as usize;
/// A page at the front, so that small requests touch one page.
const SLOT_BYTES: usize = PAYLOAD_BYTES + PAGE_BYTES;
const PAGE_BYTES: usize = 4096;
/// Slots there are at most. Addresses cost nothing.
const SLOTS_MAX: usize = 16_384;
/// A record for each slot, in front of all slots: the mount, the queue, the number answered last. That of slot 0, which is
/// never given out, has the number of slots given out so far.
const RECORD_BYTES: usize = 64;
const MOUNT_AT: usize = 0;
const QUEUE_AT: usize = 8;
const ANSWERED_AT: usize = 16;
const RECORDS_BYTES: usize = SLOTS_MAX * RECORD_BYTES;
const REGION_BYTES: usize = RECORDS_BYTES + SLOTS_MAX * SLOT_BYTES;
/// Where the region is in every process that uses it: far below what the kernel gives out by itself.
const ADDRESS: usize = 0x10_0000_0000;

/// The region.
pub(super) struct Memory {
    base: NonNull<u8>,
    file: OwnedFd,
    /// Slots that came back.
    free: Mutex<Vec<usize>>,
}

// SAFETY: the base is an address; what is there is reached through slots alone, each of which has one owner.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Reserves the addresses; no page exists yet.
    pub(super) fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create(c"weald-rings", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, REGION_BYTES as u64)?;
        Self::map(file)
    }

    /// Maps the region of a process before, at the address it has there.
    pub(super) fn map(file: OwnedFd) -> io::Result<Self> {
        if rustix::fs::fstat(&file)?.st_size != REGION_BYTES as i64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
        let wanted = std::ptr::without_provenance_mut(ADDRESS);
        // SAFETY: NOREPLACE never takes addresses away from anything that is mapped.
        let base = unsafe {
            rustix::mm::mmap(wanted, REGION_BYTES, ProtFlags::READ | ProtFlags::WRITE, flags, &file, 0)
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, file, free: Mutex::default() })
    }

    /// The file behind it, for the process that goes on.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A slot that nobody has, for a queue of a mount; None when all are taken.
    pub(super) fn take(self: &Arc<Self>, mount: u64, queue: u16) -> Option<Slot> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match free.pop() {
            Some(number) => number,
            None => {
                let number = self.given_out() + 1;
                if number >= SLOTS_MAX {
                    return None;
                }
                self.record(0, MOUNT_AT, Some(number as u64));
                number
            }
        };
        drop(free);
        self.record(number, ANSWERED_AT, Some(0));
        self.record(number, QUEUE_AT, Some(queue.into()));
        self.record(number, MOUNT_AT, Some(mount));
        Some(Slot { memory: Arc::clone(self), number })
    }

    /// The slots of a process before that served these mounts, by mount and queue. Those of others are free.
    pub(super) fn left_behind(self: &Arc<Self>, mounts: &HashSet<u64>) -> HashMap<u64, Vec<(u16, Slot)>> {
        let mut left: HashMap<u64, Vec<(u16, Slot)>> = HashMap::new();
        for number in 1..=self.given_out() {
            let slot = Slot { memory: Arc::clone(self), number };
            let mount = self.record(number, MOUNT_AT, None);
            match mounts.contains(&mount) {
                true => {
                    let queue = self.record(number, QUEUE_AT, None) as u16;
                    left.entry(mount).or_default().push((queue, slot));
                }
                false => slot.give_back(),
            }
        }
        left
    }

    fn given_out(&self) -> usize {
        (self.record(0, MOUNT_AT, None) as usize).min(SLOTS_MAX - 1)
    }

    /// A field of a record; sets it first, if told to.
    fn record(&self, number: usize, field: usize, value: Option<u64>) -> u64 {
        // SAFETY: within the records: the number is below SLOTS_MAX; aligned to 8.
        unsafe {
            let at = self.base.as_ptr().add(number * RECORD_BYTES + field).cast::<u64>();
            if let Some(value) = value {
                at.write_volatile(value);
            }
            at.read_volatile()
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: slots hold on to the region, so none is left.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), REGION_BYTES) };
    }
}

/// The memory of one ring entry.
pub(super) struct Slot {
    memory: Arc<Memory>,
    number: usize,
}

impl Slot {
    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= SLOT_BYTES);
        // SAFETY: within the region: the number is below SLOTS_MAX.
        unsafe { self.memory.base.as_ptr().add(RECORDS_BYTES + self.number * SLOT_BYTES + offset) }
    }

    /// Where the kernel is to write headers and payload.
    pub(super) fn addresses(&self) -> (*mut u8, *mut u8) {
        (self.at(0), self.at(PAYLOAD_AT))
    }

    fn u64_at(&self, offset: usize) -> u64 {
        // SAFETY: within the slot, and aligned: offsets are multiples of 8.
        unsafe { self.at(offset).cast::<u64>().read_volatile() }
    }

    fn u32_at(&self, offset: usize) -> u32 {
        // SAFETY: as above, of 4.
        unsafe { self.at(offset).cast::<u32>().read_volatile() }
    }

    /// The number by which the kernel finds the request that is here.
    pub(super) fn commit_id(&self) -> u64 {
        self.u64_at(COMMIT_ID_AT)
    }

    /// The number of the request that was answered last.
    pub(super) fn answered(&self) -> u64 {
        self.memory.record(self.number, ANSWERED_AT, None)
    }

    /// Forgets which request is here.
    pub(super) fn clear(&mut self) {
        // SAFETY: within the slot, aligned to 8.
        unsafe { self.at(COMMIT_ID_AT).cast::<u64>().write_volatile(0) };
    }

    /// The request that the kernel wrote here, as one message.
    pub(super) fn message(&mut self) -> &[u8] {
        let len = self.u32_at(0) as usize;
        let payload = (self.u32_at(PAYLOAD_BYTES_AT) as usize).min(PAYLOAD_BYTES);
        let operation =
            len.saturating_sub(abi::IN_HEADER_BYTES).saturating_sub(payload).min(OPERATION_BYTES_MAX);
        let head = abi::IN_HEADER_BYTES + operation;
        let begin = PAYLOAD_AT - head;
        // SAFETY: the two parts of the head and the room for it do not overlap, and are within the slot; the kernel writes
        // only while it has the entry, and then nobody calls this.
        unsafe {
            std::ptr::copy_nonoverlapping(self.at(0), self.at(begin), abi::IN_HEADER_BYTES);
            std::ptr::copy_nonoverlapping(
                self.at(OPERATION_AT),
                self.at(begin + abi::IN_HEADER_BYTES),
                operation,
            );
            std::slice::from_raw_parts(self.at(begin), head + payload)
        }
    }

    /// Puts an answer to the request that is here, for the kernel to read with the next commit.
    pub(super) fn put(&mut self, reply: &[u8]) {
        let id = self.commit_id();
        self.put_as(id, reply);
        fence(Ordering::SeqCst);
        self.memory.record(self.number, ANSWERED_AT, Some(id));
    }

    fn put_as(&mut self, id: u64, reply: &[u8]) {
        let Some((header, body)) = reply.split_at_checked(abi::OUT_HEADER_BYTES) else { return };
        let body = &body[..body.len().min(PAYLOAD_BYTES)];
        // SAFETY: within the slot, whose fields are aligned; `reply` is no part of it, since the only reference into it would
        // be `self`'s.
        unsafe {
            std::ptr::copy_nonoverlapping(body.as_ptr(), self.at(PAYLOAD_AT), body.len());
            std::ptr::copy_nonoverlapping(header.as_ptr(), self.at(0), header.len());
            // Without the mark of a request that came again, which the kernel did not make here.
            self.at(UNIQUE_AT).cast::<u64>().write_volatile(id);
            self.at(PAYLOAD_BYTES_AT).cast::<u32>().write_volatile(body.len() as u32);
        }
    }

    /// Marks the request that is here as one that another process was asked before.
    pub(super) fn mark_resent(&mut self) {
        let id = self.commit_id() | abi::UNIQUE_RESEND;
        // SAFETY: within the slot, aligned to 8.
        unsafe { self.at(UNIQUE_AT).cast::<u64>().write_volatile(id) };
    }

    /// Gives its pages back. What it had is gone.
    pub(super) fn release(&mut self) {
        // SAFETY: the slot is within the mapping, and page-aligned; its owner says that nothing here is needed.
        // Fails on no kernel that maps it; then the pages stay.
        let _ = unsafe { rustix::mm::madvise(self.at(0).cast(), SLOT_BYTES, Advice::LinuxRemove) };
    }

    /// Gives it back.
    pub(super) fn give_back(mut self) {
        self.release();
        self.memory.record(self.number, MOUNT_AT, Some(0));
        let mut free = self.memory.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self.number);
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
