//! Telling the kernel what changed behind its caches.
//!
//! Danger: an invalidation waits for locks of the node or directory, which a request in flight may hold. So it must
//! not be sent by a thread that is answering a request of the same mount, nor with an engine lock held.

use crate::abi::notify;
use crate::reply::Reply;
use crate::transport::{Sent, Transport};
use std::sync::Arc;
use weald_model::{Errno, Ino, Result};

/// What the kernel did with a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What it is about is cached no more.
    Done,
    /// It knows no such node or name; an answer on its way may still tell it of one.
    Unknown,
}

/// Something the kernel is to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten<'a> {
    /// A cached name, positive or negative.
    Name(Ino, &'a [u8]),
    /// Attributes and all data of a node.
    Node(Ino),
}

/// Sends notifications over one connection. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    transport: Arc<dyn Transport>,
}

impl Notifier {
    /// Makes one for a connection's transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// The connection's transport.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Has the kernel forget all of these, in this order; what it said to each.
    pub fn forget(&self, forgotten: &[Forgotten<'_>]) -> Result<Vec<Heard>> {
        let notifications: Vec<Reply> = forgotten.iter().map(notification).collect();
        let messages: Vec<&[u8]> = notifications.iter().map(Reply::message).collect();
        self.transport.send_all(&messages).into_iter().map(heard).collect()
    }

    /// Drops a cached name that led to `child`, and tells inotify(7) watchers of a deletion.
    pub fn deleted(&self, parent: Ino, child: Ino, name: &[u8]) -> Result<Heard> {
        self.notify(notify::DELETE, |message| {
            message.u64(parent.0);
            message.u64(child.0);
            message.u32(name.len() as u32);
            message.u32(0);
            push_name(message, name);
        })
    }

    /// Has the kernel send again every request that was read and not answered, marked with
    /// [`crate::abi::UNIQUE_RESEND`]: the first step of a process that takes a connection over.
    pub fn resend(&self) -> Result<()> {
        self.notify(notify::RESEND, |_| ()).map(|_| ())
    }

    fn notify(&self, code: i32, body: impl FnOnce(&mut Reply)) -> Result<Heard> {
        let mut message = Reply::default();
        message.start();
        body(&mut message);
        heard(self.transport.send(message.notification(code)))
    }
}

fn notification(forgotten: &Forgotten<'_>) -> Reply {
    let mut message = Reply::default();
    message.start();
    match *forgotten {
        Forgotten::Name(parent, name) => {
            message.u64(parent.0);
            message.u32(name.len() as u32);
            message.u32(0);
            push_name(&mut message, name);
            message.notification(notify::INVAL_ENTRY);
        }
        Forgotten::Node(ino) => {
            message.u64(ino.0);
            // From the first byte to the end.
            message.u64(0);
            message.u64(0);
            message.notification(notify::INVAL_INODE);
        }
    }
    message
}

fn heard(sent: Sent) -> Result<Heard> {
    match sent {
        Sent::Taken => Ok(Heard::Done),
        // A node or name the kernel does not know needs no invalidation.
        Sent::Unwanted => Ok(Heard::Unknown),
        Sent::Refused => Err(Errno::Invalid),
        Sent::Gone => Err(Errno::Stale),
    }
}

fn push_name(message: &mut Reply, name: &[u8]) {
    message.data().extend_from_slice(name);
    message.data().push(0);
}
