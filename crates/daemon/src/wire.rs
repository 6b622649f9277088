//! Lines over a Unix socket, for both sides.
//!
//! Invariant: a peer can make us hold at most [`LINE_BYTES_MAX`] bytes. Read next: [`crate::protocol`].

use crate::protocol::LINE_BYTES_MAX;
use rustix::fs::{Mode, OFlags};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest path a socket address holds, without its final NUL (unix(7): `sun_path` has 108 bytes).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Writes one line.
pub(crate) fn send<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Reads one line; None at the end of the stream.
pub(crate) fn receive<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line is cut off or too long")),
    }
}

/// Connects to the socket at `path`, however long that path is.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_parent, short) = shorten(path)?;
    UnixStream::connect(short)
}

/// Binds a socket at `path`, however long that path is.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_parent, short) = shorten(path)?;
    UnixListener::bind(short)
}

/// Binds a socket that is there to `path`, however long that path is.
pub(crate) fn bind_to(socket: impl AsFd, path: &Path) -> io::Result<()> {
    let (_parent, short) = shorten(path)?;
    Ok(rustix::net::bind(socket, &rustix::net::SocketAddrUnix::new(&short)?)?)
}

/// A path that fits a socket address: through the open parent directory when the real one is too long. The
/// descriptor must live until the path has been used.
fn shorten(path: &Path) -> io::Result<(Option<std::os::fd::OwnedFd>, PathBuf)> {
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((None, path.to_owned()));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let fd = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())).join(name);
    Ok((Some(fd), short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_line_comes_back_and_the_end_is_none() {
        let mut bytes = Vec::new();
        send(&mut bytes, &vec![1, 2, 3]).unwrap();
        let mut input = Cursor::new(bytes);
        assert_eq!(receive::<Vec<i32>>(&mut input).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(receive::<Vec<i32>>(&mut input).unwrap(), None);
    }

    #[test]
    fn a_cut_line_and_garbage_are_errors() {
        for bytes in [&b"[1,2"[..], b"\xff\xfe\n", b"{\n", b"\n"] {
            assert!(receive::<Vec<i32>>(&mut Cursor::new(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn an_endless_line_stops_at_the_limit() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(receive::<String>(&mut endless).is_err());
    }

    #[test]
    fn sockets_work_below_paths_longer_than_an_address() {
        let base = std::env::temp_dir().join(format!("weald-wire-{}", std::process::id()));
        let deep = base.join("d".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("weald.sock");
        let listener = bind(&path).unwrap();
        let mut stream = connect(&path).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        send(&mut stream, &7).unwrap();
        let mut input = io::BufReader::new(&mut other);
        assert_eq!(receive::<i32>(&mut input).unwrap(), Some(7));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
