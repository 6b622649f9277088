//! Exact comparison of real directory trees: everything that programs can see of files.
//!
//! Invariant: no symbolic link is followed. Two trees are the same when their listings are equal; which parts must
//! be equal is chosen by [`Exactness`]. Access times are never compared, since looking changes them.

use rustix::fs::{AtFlags, CWD, Stat, lgetxattr, llistxattr, statat};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What is listed beyond names, kinds, permissions, links, sizes, content, targets and extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Nothing more.
    Content,
    /// Owners and modification times to the nanosecond.
    Times,
    /// Inode numbers as well: a fork, a restart.
    Numbers,
}

/// One file as programs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Size in bytes; 0 for directories.
    pub size: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Content of a file, target of a symbolic link.
    pub content: Vec<u8>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Owner and group, if asked for.
    pub owner: Option<(u32, u32)>,
    /// Modification time, if asked for.
    pub mtime: Option<(i64, u64)>,
    /// Inode number, if asked for.
    pub ino: Option<u64>,
}

/// Lists everything at and below `root`, by path relative to it.
pub fn list(root: &Path, exactness: Exactness) -> io::Result<BTreeMap<PathBuf, Listed>> {
    let mut all = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let stat = statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_mode & 0o170_000 == 0o040_000 {
            for entry in fs::read_dir(&full)? {
                open.push(path.join(entry?.file_name()));
            }
        }
        all.insert(path, listed(&full, &stat, exactness)?);
    }
    Ok(all)
}

fn listed(path: &Path, stat: &Stat, exactness: Exactness) -> io::Result<Listed> {
    let kind = stat.st_mode & 0o170_000;
    let times = exactness != Exactness::Content;
    Ok(Listed {
        mode: stat.st_mode,
        nlink: stat.st_nlink,
        size: if kind == 0o040_000 { 0 } else { stat.st_size as u64 },
        rdev: stat.st_rdev,
        content: match kind {
            0o100_000 => fs::read(path)?,
            0o120_000 => fs::read_link(path)?.into_os_string().into_vec(),
            _ => Vec::new(),
        },
        xattrs: xattrs(path)?,
        owner: times.then_some((stat.st_uid, stat.st_gid)),
        mtime: times.then_some((stat.st_mtime, stat.st_mtime_nsec)),
        ino: (exactness == Exactness::Numbers).then_some(stat.st_ino),
    })
}

/// Extended attributes of a file, of every name space the caller may read.
pub fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 1 << 16];
    let len = match llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut all = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let len = lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(len);
        all.insert(name.to_vec(), value);
    }
    Ok(all)
}

/// Compares two listings; the error names every difference.
pub fn same(found: &BTreeMap<PathBuf, Listed>, wanted: &BTreeMap<PathBuf, Listed>) -> Result<(), String> {
    let mut differences = String::new();
    for path in wanted.keys().filter(|path| !found.contains_key(*path)) {
        let _ = writeln!(differences, "{} is missing", path.display());
    }
    for (path, listed) in found {
        match wanted.get(path) {
            None => {
                let _ = writeln!(differences, "{} is there but should not be", path.display());
            }
            Some(wanted) if wanted != listed => describe(path, listed, wanted, &mut differences),
            Some(_) => {}
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn describe(path: &Path, found: &Listed, wanted: &Listed, out: &mut String) {
    let content = if found.content == wanted.content { "same" } else { "different" };
    let short = |listed: &Listed| format!("{:?}", Listed { content: Vec::new(), ..listed.clone() });
    let _ = writeln!(
        out,
        "{}: content is {content}\n  found  {}\n  wanted {}",
        path.display(),
        short(found),
        short(wanted)
    );
}

/// Checks that two directory trees are the same.
pub fn compare(found: &Path, wanted: &Path, exactness: Exactness) -> Result<(), String> {
    let list = |path: &Path| list(path, exactness).map_err(|error| format!("{}: {error}", path.display()));
    same(&list(found)?, &list(wanted)?)
}
