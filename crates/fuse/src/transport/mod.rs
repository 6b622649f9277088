//! How requests arrive and replies leave: [`dev`], and beside it [`uring`] for busy mounts.
//!
//! Invariant: a transport knows bytes, never what is in them. [`crate::pool`] drives it.

pub mod dev;
pub mod uring;

use std::os::fd::BorrowedFd;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// One request of so many bytes at the front of the buffer.
    Request(usize),
    /// No request waits.
    Empty,
    /// The file system was unmounted or the connection aborted: no request will ever come.
    Gone,
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took it.
    Taken,
    /// Nobody waits for it any more; for a notification: the kernel does not know the node or name.
    Unwanted,
    /// The kernel calls it malformed.
    Refused,
    /// The connection is gone.
    Gone,
}

/// One connection to the kernel.
pub trait Transport: Send + Sync {
    /// Reads one request without waiting. The buffer must hold [`crate::connection::BUFFER_BYTES`].
    fn receive(&self, buffer: &mut [u8]) -> Received;
    /// Sends one whole message.
    fn send(&self, message: &[u8]) -> Sent;
    /// Sends several whole messages, in this order; what became of each.
    fn send_all(&self, messages: &[&[u8]]) -> Vec<Sent> {
        messages.iter().map(|message| self.send(message)).collect()
    }
    /// The descriptor that becomes readable when a request waits.
    fn descriptor(&self) -> BorrowedFd<'_>;
}
