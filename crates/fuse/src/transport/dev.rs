//! The `/dev/fuse` transport: one read per request, one write per reply, never waiting.
//!
//! Invariant: the descriptor is non-blocking. Errors are those of fuse_dev_do_read and fuse_dev_do_write in the
//! kernel's fs/fuse/dev.c.

use super::{Received, Sent, Transport};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An open `/dev/fuse` that belongs to a mount.
#[derive(Debug)]
pub struct Device {
    descriptor: OwnedFd,
}

impl Device {
    /// Takes an open descriptor and makes it non-blocking.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&descriptor)?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(Self { descriptor })
    }
}

impl Transport for Device {
    fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            return match rustix::io::read(&self.descriptor, &mut *buffer) {
                Ok(0) => Received::Gone,
                Ok(count) => Received::Request(count),
                // ENOENT: the request was given up while it was copied. Try the next.
                Err(Errno::INTR | Errno::NOENT) => continue,
                Err(Errno::AGAIN) => Received::Empty,
                Err(_) => Received::Gone,
            };
        }
    }

    fn send(&self, message: &[u8]) -> Sent {
        loop {
            return match rustix::io::write(&self.descriptor, message) {
                Ok(_) => Sent::Taken,
                Err(Errno::INTR) => continue,
                Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) => Sent::Unwanted,
                Err(Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN | Errno::PERM) => Sent::Gone,
                Err(_) => Sent::Refused,
            };
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
