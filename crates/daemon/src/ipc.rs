//! Git's own way to ask what changed: a socket in the git directory, where the git at hand knows it.
//!
//! With `core.fsmonitor = true` git connects to `.git/fsmonitor--daemon.ipc` and sends its token; it gets the next token and
//! paths, as the hook says them (Documentation/technical/api-simple-ipc, gitprotocol-common(5) for the lines). The socket is made
//! where git looks for it, in the mount and by a process of its own, as a node of the mount alone ([`crate::ipc_node`]): it is no file of the workspace, so no
//! snapshot, fork or restore has to do with it. Invariants: when in doubt, everything; a bound socket holds its mount, so it is
//! closed before an unmount; one thread waits for all of them, and each that connects has a thread for as long as it takes to answer.

use crate::entry::{Entry, Life, Live};
use crate::forest::Forest;
use crate::{ipc_node, launch, locked, note, wire};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use weald_git::can_ask_over_ipc;
use weald_model::{Fault, WorkspaceId};

/// Who connects sends at once and reads at once; one that does not, loses its thread.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest request: a token.
const REQUEST_BYTES_MAX: usize = 4096;
/// Most bytes of one line of an answer (gitprotocol-common(5)).
const LINE_BYTES_MAX: usize = 65_516;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Sockets that are looked at in one turn.
const EVENTS: usize = 16;

/// The sockets of a forest.
pub(crate) struct Sockets {
    epoll: OwnedFd,
    listening: Mutex<HashMap<WorkspaceId, Listening>>,
    /// Whether the git at hand can ask this way, once somebody wanted to know.
    can_git_ask: OnceLock<bool>,
}

struct Listening {
    socket: UnixListener,
    entry: Weak<Entry>,
}

impl Sockets {
    /// None yet.
    pub(crate) fn new() -> Result<Self, Fault> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| fault(errno.into()))?;
        Ok(Self { epoll, listening: Mutex::default(), can_git_ask: OnceLock::new() })
    }

    /// Starts the thread that waits. It ends with the process.
    fn start(forest: &Arc<Forest>) -> Result<(), Fault> {
        let forest = Arc::clone(forest);
        let wait = move || forest.sockets.wait(&forest);
        std::thread::Builder::new().name("ipc".into()).spawn(wait).map(drop).map_err(fault)
    }

    /// Makes the socket of a mounted workspace, in place of one that a daemon before left.
    fn listen(&self, entry: &Arc<Entry>, live: &Live) -> io::Result<()> {
        let mut listening = locked(&self.listening);
        if listening.contains_key(&entry.id) {
            return Ok(());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let path = live.mount.path.join(".git").join(ipc_node::NAME);
        let binder = || {
            Command::new(launch::own_program())
                .args(["daemon", "bind"])
                .arg(path)
                .stdin(socket.try_clone()?)
                .spawn()
        };
        if !live.handler.ipc().let_make(binder)?.wait()?.success() {
            return Err(io::Error::other("the socket could not be bound"));
        }
        rustix::net::listen(&socket, BACKLOG)?;
        let socket = UnixListener::from(socket);
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(entry.id.0), epoll::EventFlags::IN)?;
        listening.insert(entry.id, Listening { socket, entry: Arc::downgrade(entry) });
        Ok(())
    }

    /// Closes the socket of a workspace, if it has one. True when it had.
    pub(crate) fn close(&self, id: WorkspaceId) -> bool {
        locked(&self.listening).remove(&id).is_some()
    }

    fn accept(&self, id: WorkspaceId) -> Option<(Arc<Entry>, UnixStream)> {
        let listening = locked(&self.listening);
        let at = listening.get(&id)?;
        Some((at.entry.upgrade()?, at.socket.accept().ok()?.0))
    }

    fn wait(&self, forest: &Arc<Forest>) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return note(format_args!("waiting for git: {errno}")),
            }
            for event in &events {
                // Whoever came may have gone, and the socket may be closed.
                let Some((entry, stream)) = self.accept(WorkspaceId(event.data.u64())) else { continue };
                let forest = Arc::clone(forest);
                let answer = move || drop(answer(&forest, &entry, &stream));
                if let Err(error) = std::thread::Builder::new().name("git".into()).spawn(answer) {
                    note(format_args!("a thread for git: {error}"));
                }
            }
        }
    }
}

impl Forest {
    /// Whether git is to ask this way: it can, and the settings allow it.
    pub(crate) fn git_asks_over_sockets(&self) -> bool {
        *self.sockets.can_git_ask.get_or_init(can_ask_over_ipc)
            && self.stores.config.read().is_ok_and(|config| config.ipc)
    }

    /// Listens in all workspaces that are mounted, not by this thread: each is read for it.
    pub(crate) fn start_listening(self: &Arc<Self>) -> Result<(), Fault> {
        Sockets::start(self)?;
        if self.active().is_empty() {
            return Ok(());
        }
        let forest = Arc::clone(self);
        let listen = move || {
            if !forest.git_asks_over_sockets() {
                return;
            }
            for entry in forest.active() {
                forest.listen(&entry, &entry.life());
            }
        };
        std::thread::Builder::new().name("listen".into()).spawn(listen).map(drop).map_err(fault)
    }

    /// Listens in a workspace if it is mounted, for a caller that holds its life. Without it git looks for itself.
    pub(crate) fn listen(&self, entry: &Arc<Entry>, life: &Life) {
        let Some(live) = &life.mount else { return };
        if !self.git_asks_over_sockets() || entry.row().commit.is_none() {
            return;
        }
        if let Err(error) = self.sockets.listen(entry, live) {
            note(format_args!("listening for git in {}: {error}", entry.name()));
        }
    }
}

/// Is the process that binds the socket on its standard input in the daemon's stead: who asks a mount waits for the daemon and cannot be
/// killed meanwhile (see [`crate::asker`]). One that a daemon before left is removed.
pub fn bind(path: &Path) -> Result<(), Fault> {
    let _ = std::fs::remove_file(path);
    wire::bind_to(io::stdin(), path)
        .map_err(|error| Fault::host(&format!("binding {}", path.display()), &error))
}

fn fault(error: io::Error) -> Fault {
    Fault::host("waiting for git", &error)
}

fn answer(forest: &Forest, entry: &Entry, stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let Some(token) = request(stream)? else { return Ok(()) };
    // Without an answer git looks for itself.
    let Some(said) = told(forest, entry, &token) else { return Ok(()) };
    let mut lines = Vec::with_capacity(said.len() + 16);
    for part in said.chunks(LINE_BYTES_MAX) {
        write!(lines, "{:04x}", part.len() + 4)?;
        lines.extend_from_slice(part);
    }
    lines.extend_from_slice(b"0000");
    let mut stream = stream;
    stream.write_all(&lines)
}

fn told(forest: &Forest, entry: &Entry, token: &str) -> Option<Vec<u8>> {
    match forest.changes_in(entry, token) {
        Ok(changed) => Some(changed.as_git_reads_it()),
        Err(fault) => {
            note(format_args!("telling git what changed: {fault}"));
            None
        }
    }
}

/// The token that is asked with. None for what is no question: git's own daemon knows `quit` and `flush`, too.
fn request(mut stream: impl Read) -> io::Result<Option<String>> {
    let mut said = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = std::str::from_utf8(&length).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match length {
            Some(0) => break,
            Some(length @ 4..) if said.len() + length - 4 <= REQUEST_BYTES_MAX => {
                let from = said.len();
                said.resize(from + length - 4, 0);
                stream.read_exact(&mut said[from..])?;
            }
            _ => return Ok(None),
        }
    }
    let token = String::from_utf8(said).ok();
    Ok(token.filter(|token| !matches!(token.as_str(), "quit" | "flush")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_over_any_number_of_lines_and_nothing_else_is_one() {
        let read = |bytes: &[u8]| request(bytes).ok().flatten();
        assert_eq!(read(b"000eweald:base0000").as_deref(), Some("weald:base"));
        assert_eq!(read(b"0008weal0009d:bas0005e0000").as_deref(), Some("weald:base"));
        assert_eq!(read(b"0000").as_deref(), Some(""));
        for other in [
            &b"0008quit0000"[..],
            b"0009flush0000",
            b"",
            b"000",
            b"zzzz",
            b"0001",
            b"0003",
            b"000eweald",
            b"ffff",
            b"0008weal",
        ] {
            assert_eq!(read(other), None, "{}", String::from_utf8_lossy(other));
        }
        let mut long = b"1004".to_vec();
        long.extend([b'x'; 0x1000]);
        assert_eq!(read(&[&long[..], b"0000"].concat()).map(|token| token.len()), Some(0x1000));
        assert_eq!(read(&[&long[..], b"0005x0000"].concat()), None);
    }
}
