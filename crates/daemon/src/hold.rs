//! Descriptors of mounts in the hands of the supervisor, so that a mount outlives the daemon that serves it.
//!
//! A socket between the two carries one JSON message each, with descriptors beside it (SCM_RIGHTS, unix(7)). The kernel
//! keeps a FUSE connection while any process has its descriptor; what programs ask meanwhile waits.
//! Invariant: the supervisor forgets a mount only when it is told, or when it ends. Read next: `supervisor`.

use crate::note;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use weald_engine::Point;
use weald_fuse::Mount;
use weald_fuse::mount::Identity;
use weald_model::WorkspaceId;

/// Descriptors in one message at most; the kernel's limit is 253 (SCM_MAX_FD).
const DESCRIPTORS_MAX: usize = 100;
/// A message is a path and some numbers for each descriptor.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A mount, as it is told to the process that goes on serving it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldMount {
    workspace: String,
    path: PathBuf,
    mount_id: u64,
    device: (u32, u32),
    /// Since this record (log and number) it is being restored, and the kernel may have cached what was before.
    #[serde(default)]
    restoring: Option<(String, u64)>,
}

impl HeldMount {
    fn new(workspace: WorkspaceId, mount: &Mount) -> Self {
        let Identity { mount_id, device } = mount.identity;
        Self { workspace: workspace.to_string(), path: mount.path.clone(), mount_id, device, restoring: None }
    }

    /// Whose it is.
    pub(crate) fn workspace(&self) -> Option<WorkspaceId> {
        WorkspaceId::from_hex(&self.workspace)
    }

    /// The mount.
    pub(crate) fn mount(&self) -> Mount {
        let identity = Identity { mount_id: self.mount_id, device: self.device };
        Mount { path: self.path.clone(), identity }
    }

    /// The kernel's id of it.
    pub(crate) fn id(&self) -> u64 {
        self.mount_id
    }

    /// Where a restore began of which nobody knows whether the kernel was told.
    pub(crate) fn restoring(&self) -> Option<Point> {
        let (log, seq) = self.restoring.as_ref()?;
        Some(Point { log: WorkspaceId::from_hex(log)?, seq: *seq })
    }

    /// A restore begins there, or is over.
    pub(crate) fn set_restoring(&mut self, from: Option<(String, u64)>) {
        self.restoring = from;
    }
}

/// What the two tell each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// To whom goes on: these are there, with a descriptor each. To the supervisor: keep these.
    Mounts(Vec<HeldMount>),
    /// Keep this, or it was kept: the memory of the rings, as a descriptor.
    Rings,
    /// To whom goes on: that was all.
    All(Crashes),
    /// To the supervisor: a mount is gone.
    Gone {
        /// The kernel's id of it.
        mount_id: u64,
    },
    /// To the supervisor: a workspace is being restored, or no longer.
    Restoring {
        /// The kernel's id of its mount.
        mount_id: u64,
        /// The record before.
        from: Option<(String, u64)>,
    },
    /// To the supervisor: the daemon serves.
    Serving,
}

/// How the daemons before ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crashes {
    /// How many ended without being told to, since the supervisor began.
    pub(crate) count: u64,
    /// When the last did, in seconds since 1970.
    pub(crate) last_at: Option<i64>,
    /// They came so close together that a request in flight may be why.
    pub(crate) gives_up: bool,
}

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

impl Line {
    /// Two ends.
    pub(crate) fn pair() -> io::Result<(Line, Line)> {
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let lines = (Line(one), Line(other));
        // Room for all mounts of a daemon that has not read them yet.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&lines.0.0, MESSAGE_BYTES_MAX);
        Ok(lines)
    }

    /// Takes the end that standard input is, and leaves nothing in its place.
    pub(crate) fn take_stdin() -> io::Result<Line> {
        let line = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(Line(line))
    }

    /// The descriptor, to wait on or to hand to a process.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends that cannot be done at once fail.
    pub(crate) fn never_wait(&self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.0)?;
        Ok(rustix::fs::fcntl_setfl(&self.0, flags | rustix::fs::OFlags::NONBLOCK)?)
    }

    /// Sends a word with descriptors.
    pub(crate) fn send(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(word).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL)
        });
        sent.map(drop).map_err(io::Error::from)
    }

    /// Sends many mounts.
    pub(crate) fn send_mounts(&self, mounts: &[(HeldMount, OwnedFd)]) -> io::Result<()> {
        for some in mounts.chunks(DESCRIPTORS_MAX) {
            let word = Word::Mounts(some.iter().map(|(mount, _)| mount.clone()).collect());
            let descriptors: Vec<BorrowedFd<'_>> = some.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.send(&word, &descriptors)?;
        }
        Ok(())
    }

    /// Waits for a word; None when the other end is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut beside, flags)
        });
        let bytes = match received {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if bytes == 0 {
            return Ok(None);
        }
        let word = serde_json::from_slice(&text[..bytes]).map_err(io::Error::other)?;
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        Ok(Some((word, descriptors)))
    }
}

/// The daemon's end: who it tells which mounts there are. Without a supervisor nobody is told.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    line: Option<Line>,
    /// The supervisor is gone; said once.
    alone: AtomicBool,
    crashes: Crashes,
    /// The memory of the rings of the daemon before.
    rings: Mutex<Option<OwnedFd>>,
}

impl Hold {
    /// Takes over from a supervisor: what it holds, and how it went so far.
    pub(crate) fn take_over(line: Line) -> io::Result<(Self, Vec<(HeldMount, OwnedFd)>)> {
        let (mut mounts, mut rings) = (Vec::new(), None);
        loop {
            match line.receive()? {
                Some((Word::Mounts(some), descriptors)) => mounts.extend(some.into_iter().zip(descriptors)),
                Some((Word::Rings, mut descriptors)) => rings = descriptors.pop(),
                Some((Word::All(crashes), _)) => {
                    let (alone, rings) = (AtomicBool::new(false), Mutex::new(rings));
                    return Ok((Self { line: Some(line), alone, crashes, rings }, mounts));
                }
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// How the daemons before ended.
    pub(crate) fn crashes(&self) -> Crashes {
        self.crashes
    }

    /// True while somebody would go on with the mounts.
    pub(crate) fn is_supervised(&self) -> bool {
        self.line.is_some() && !self.alone.load(Ordering::Relaxed)
    }

    /// The memory of the rings of the daemon before; once.
    pub(crate) fn take_rings(&self) -> Option<OwnedFd> {
        crate::locked(&self.rings).take()
    }

    /// The memory of the rings, without which no other daemon could go on with mounts that have joined.
    pub(crate) fn keep_rings(&self, memory: BorrowedFd<'_>) {
        self.tell(&Word::Rings, &[memory]);
    }

    /// A mount was made.
    pub(crate) fn keep(&self, workspace: WorkspaceId, mount: &Mount, device: BorrowedFd<'_>) {
        self.tell(&Word::Mounts(vec![HeldMount::new(workspace, mount)]), &[device]);
    }

    /// A mount is gone.
    pub(crate) fn forget(&self, mount_id: u64) {
        self.tell(&Word::Gone { mount_id }, &[]);
    }

    /// A workspace begins to be restored, or has been.
    pub(crate) fn restoring(&self, mount_id: u64, from: Option<Point>) {
        let from = from.map(|point| (point.log.to_string(), point.seq));
        self.tell(&Word::Restoring { mount_id, from }, &[]);
    }

    /// The daemon serves.
    pub(crate) fn serving(&self) {
        self.tell(&Word::Serving, &[]);
    }

    fn tell(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) {
        let Some(line) = self.line.as_ref().filter(|_| self.is_supervised()) else { return };
        if let Err(error) = line.send(word, descriptors) {
            self.alone.store(true, Ordering::Relaxed);
            note(format_args!("the supervisor is gone ({error}): a crash would end the mounts"));
        }
    }
}

/// Reads a word as [`Line::receive`] does.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(Word::Mounts(mounts)) = serde_json::from_slice(bytes) {
        for mount in &mounts {
            let _ = (mount.workspace(), mount.mount(), mount.restoring());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u64) -> HeldMount {
        HeldMount {
            workspace: WorkspaceId(number).to_string(),
            path: format!("/mnt/{number}").into(),
            mount_id: number,
            device: (0, 7),
            restoring: (number == 3).then(|| ("7".to_owned(), 9)),
        }
    }

    #[test]
    fn a_thousand_mounts_are_handed_on_with_their_descriptors() {
        let (one, other) = Line::pair().unwrap();
        let mounts: Vec<_> = (1..=1000)
            .map(|number| (held(number), OwnedFd::from(std::fs::File::open("/dev/null").unwrap())))
            .collect();
        let crashes = Crashes { count: 2, last_at: Some(5), gives_up: true };
        let (hold, taken) = std::thread::scope(|scope| {
            scope.spawn(|| {
                one.send_mounts(&mounts).unwrap();
                one.send(&Word::All(crashes), &[]).unwrap();
            });
            Hold::take_over(other).unwrap()
        });
        assert_eq!(hold.crashes(), crashes);
        assert_eq!(taken.len(), mounts.len());
        assert!(taken.iter().zip(&mounts).all(|(taken, sent)| taken.0 == sent.0));
        hold.forget(7);
        assert!(matches!(one.receive().unwrap(), Some((Word::Gone { mount_id: 7 }, _))));
        drop(one);
        hold.forget(8);
        assert!(!hold.is_supervised());
    }

    #[test]
    fn an_end_that_closes_is_seen() {
        let (one, other) = Line::pair().unwrap();
        drop(other);
        assert!(one.receive().unwrap().is_none());
    }
}
