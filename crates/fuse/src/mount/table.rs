//! The mounts there are, from /proc/self/mountinfo (proc_pid_mountinfo(5)).

use super::{FS_TYPE, SOURCE_PREFIX, Unmount, Unmounted, unmount_path};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use weald_model::Fault;

/// A mount of ours, whoever serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's (reusable) id in the table.
    pub table_id: u64,
    /// Device number, major and minor.
    pub device: (u32, u32),
    /// Where.
    pub path: PathBuf,
    /// The workspace's name, after [`SOURCE_PREFIX`].
    pub name: Vec<u8>,
}

/// Lists the mounts of workspaces that this process sees, in the order they were made.
pub fn table() -> io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Lists those that nobody serves any more: their daemon is dead ("transport endpoint is not connected").
pub fn stale() -> io::Result<Vec<Entry>> {
    let mut entries = table()?;
    entries.retain(Entry::is_stale);
    Ok(entries)
}

impl Entry {
    /// True when the connection behind it was aborted. A live one answers, or denies access, without being asked to
    /// do anything: statfs(2) of a dead mount fails with ENOTCONN.
    pub fn is_stale(&self) -> bool {
        matches!(rustix::fs::statfs(&self.path), Err(Errno::NOTCONN | Errno::CONNABORTED))
    }

    /// Unmounts it, if what is mounted there now is still this mount. Meant for stale ones; lazy, since nothing in
    /// them works any more.
    pub fn unmount(&self) -> Result<Unmounted, Fault> {
        let top = table().map_err(|error| Fault::host("reading the mount table", &error))?;
        match top.iter().rev().find(|entry| entry.path == self.path) {
            Some(entry) if entry == self => unmount_path(&self.path, Unmount::Lazy),
            _ => Ok(Unmounted::NotThere),
        }
    }
}

/// Parses the table. Lines that are not ours or not as documented are passed over.
pub(super) fn parse(table: &[u8]) -> Vec<Entry> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    // 36 35 0:42 / /mnt rw,noatime shared:1 - fuse.weald weald:name rw,...
    let mut fields = line.split(|byte| *byte == b' ');
    let table_id = number(fields.next()?)?;
    fields.next()?;
    let mut device = fields.next()?.split(|byte| *byte == b':');
    let device = (number(device.next()?)?, number(device.next()?)?);
    fields.next()?;
    let path = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    fields.by_ref().find(|field| *field == b"-")?;
    if fields.next()? != FS_TYPE.as_bytes() {
        return None;
    }
    let source = unescape(fields.next()?);
    let name = source.strip_prefix(SOURCE_PREFIX.as_bytes())?.to_vec();
    Some(Entry { table_id, device, path, name })
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Undoes the kernel's `\ooo` for space, tab, newline, `#` and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = (first == b'\\').then(|| tail.get(..3)).flatten();
        let octal = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    bytes
}
