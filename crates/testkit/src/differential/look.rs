//! What both trees look like: attributes, which name is which file, and which times a call changed.
//!
//! Invariant: looked at by root. Times that were taken from a clock differ, so of these it is compared whether they
//! changed since they were last looked at; times that were set are equal.

use super::call::Path;
use super::side::{Answer, Side, names};
use rustix::fs::{self, AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

/// A file on either side: its number and its birth, since numbers may be used again on a native file system.
type Number = (u64, i64, u32);

type Time = (i64, u32);

/// Access, modification and change.
type Times = [Time; 3];

/// What is known of files on both sides.
#[derive(Default)]
pub(super) struct Known {
    native_of: HashMap<u64, Number>,
    ours_of: HashMap<Number, u64>,
    times: HashMap<u64, [Times; 2]>,
    /// Seconds since 1970 at which all this began.
    began: i64,
    /// Whether times are compared.
    pub(super) with_times: bool,
    /// Whether times that changed on one side only are let pass.
    pub(super) lenient: bool,
}

impl Known {
    /// Knows nothing yet.
    pub(super) fn new(began: i64, with_times: bool) -> Self {
        Self { began, with_times, ..Self::default() }
    }

    /// Compares what a path names, and the directory it is in.
    pub(super) fn path(&mut self, ours: &Side, native: &Side, at: &Path) -> Result<(), String> {
        self.one(ours.start(at), native.start(at), &at.text)?;
        let parent = at.text.trim_end_matches('/').rsplit_once('/').map_or(".", |(parent, _)| parent);
        self.one(ours.start(at), native.start(at), parent)
    }

    /// Compares what a descriptor or a name below it is.
    fn one(&mut self, ours: BorrowedFd<'_>, native: BorrowedFd<'_>, name: &str) -> Result<(), String> {
        match (stat(ours, name), stat(native, name)) {
            (Ok(ours), Ok(native)) => self.same(&ours, &native).map_err(|why| format!("`{name}`: {why}")),
            (Err(ours), Err(native)) if ours == native => Ok(()),
            (ours, native) => {
                let told =
                    |found: Result<Statx, Errno>| found.map(|_| "there").map_err(|error| error.to_string());
                Err(format!("`{name}` is {:?} here and {:?} there", told(ours), told(native)))
            }
        }
    }

    /// Compares what a slot holds.
    pub(super) fn slot(&mut self, ours: &Side, native: &Side, slot: u8) -> Result<(), String> {
        match (ours.slot(slot), native.slot(slot)) {
            (Some(ours), Some(native)) => {
                self.one(ours, native, "").map_err(|why| format!("slot {slot} {why}"))
            }
            (None, None) => Ok(()),
            (ours, native) => {
                Err(format!("slot {slot} is open: {} and {}", ours.is_some(), native.is_some()))
            }
        }
    }

    fn same(&mut self, ours: &Statx, native: &Statx) -> Result<(), String> {
        let (attributes, wanted) = (attributes(ours), attributes(native));
        if attributes != wanted {
            return Err(format!("{attributes:?} here, {wanted:?} there"));
        }
        let number = (native.stx_ino, native.stx_btime.tv_sec, native.stx_btime.tv_nsec);
        // Our numbers are never used again; those of the native file system are, sometimes within one tick of its clock.
        if let std::collections::hash_map::Entry::Vacant(new) = self.native_of.entry(ours.stx_ino) {
            new.insert(number);
            self.ours_of.insert(number, ours.stx_ino);
        }
        let known = (self.native_of.get(&ours.stx_ino), self.ours_of.get(&number));
        if known != (Some(&number), Some(&ours.stx_ino)) {
            return Err(format!(
                "is another file: {} here, {number:?} there, known as {known:?}",
                ours.stx_ino
            ));
        }
        // What goes through a pipe or a device is the kernel's, which tells a FUSE file system nothing of it.
        let is_told = matches!(u32::from(ours.stx_mode) & 0o170_000, 0o100_000 | 0o040_000 | 0o120_000);
        if self.with_times && is_told {
            self.same_times(ours.stx_ino, times(ours), times(native))
        } else {
            Ok(())
        }
    }

    fn same_times(&mut self, ino: u64, ours: Times, native: Times) -> Result<(), String> {
        let before = self.times.insert(ino, [ours, native]);
        for (at, name) in ["atime", "mtime", "ctime"].into_iter().enumerate() {
            let (ours, native) = (ours[at], native[at]);
            // A minute of grace, since clocks of file systems lag.
            let was_taken = |time: Time| (self.began - 60..self.began + 1_000_000).contains(&time.0);
            if ours != native && !(was_taken(ours) && was_taken(native)) {
                return Err(format!("{name} is {ours:?} here, {native:?} there"));
            }
            let Some([ours_before, native_before]) = before else { continue };
            let changed = (ours != ours_before[at], native != native_before[at]);
            if changed.0 != changed.1 && !self.lenient {
                return Err(format!("{name} changed: {} here, {} there", changed.0, changed.1));
            }
        }
        Ok(())
    }

    /// Compares everything below the top: names, attributes, content, targets of links, extended attributes.
    pub(super) fn trees(&mut self, ours: &Side, native: &Side) -> Result<u64, String> {
        let mut files = 0;
        let open = |dir: BorrowedFd<'_>, name: &str| {
            fs::openat(
                dir,
                name,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::empty(),
            )
            .map_err(|error| format!("`{name}` cannot be opened: {error}"))
        };
        let mut left = vec![(String::from("."), open(ours.top(), ".")?, open(native.top(), ".")?)];
        while let Some((path, our_dir, native_dir)) = left.pop() {
            let list = |dir| names(dir).map_err(|error| format!("`{path}` cannot be listed: {error}"));
            let (entries, wanted) = (list(&our_dir)?, list(&native_dir)?);
            if entries != wanted {
                return Err(format!("`{path}` has {entries:?} here, {wanted:?} there"));
            }
            self.contents(our_dir.as_fd(), native_dir.as_fd(), ".")
                .map_err(|why| format!("in `{path}` {why}"))?;
            for (name, kind) in entries {
                let name = String::from_utf8_lossy(&name).into_owned();
                if name == "." || name == ".." {
                    continue;
                }
                files += 1;
                self.contents(our_dir.as_fd(), native_dir.as_fd(), &name)
                    .map_err(|why| format!("in `{path}` {why}"))?;
                if kind == 0o040_000 {
                    left.push((
                        format!("{path}/{name}"),
                        open(our_dir.as_fd(), &name)?,
                        open(native_dir.as_fd(), &name)?,
                    ));
                }
            }
        }
        Ok(files)
    }

    fn contents(&mut self, ours: BorrowedFd<'_>, native: BorrowedFd<'_>, name: &str) -> Result<(), String> {
        self.one(ours, native, name)?;
        let (ours, native) = (content(ours, name), content(native, name));
        if ours == native {
            Ok(())
        } else {
            Err(format!("`{name}` holds {} here, {} there", told(&ours), told(&native)))
        }
    }
}

/// Bytes of a file, target of a link, and all extended attributes.
type Content = Result<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>), Errno>;

fn content(dir: BorrowedFd<'_>, name: &str) -> Content {
    let kind = u32::from(stat(dir, name)?.stx_mode) & 0o170_000;
    if kind == 0o120_000 {
        return Ok((fs::readlinkat(dir, name, Vec::new())?.into_bytes(), Vec::new()));
    }
    if kind != 0o100_000 && kind != 0o040_000 {
        return Ok((Vec::new(), Vec::new()));
    }
    let file = fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    if kind == 0o100_000 {
        loop {
            match rustix::io::read(&file, &mut buffer[..])? {
                0 => break,
                got => bytes.extend(&buffer[..got]),
            }
        }
    }
    let got = fs::flistxattr(&file, &mut buffer[..])?;
    let (names, mut all) = (buffer[..got].to_vec(), Vec::new());
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let got = fs::fgetxattr(&file, name, &mut buffer[..])?;
        all.push((name.to_vec(), buffer[..got].to_vec()));
    }
    all.sort();
    Ok((bytes, all))
}

/// Short, whatever it holds.
fn told(content: &Content) -> String {
    match content {
        Ok((bytes, xattrs)) => {
            format!("{} bytes, the sum of which is {}, and {xattrs:?}", bytes.len(), sum(bytes))
        }
        Err(error) => error.to_string(),
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

fn stat(dir: BorrowedFd<'_>, name: &str) -> Result<Statx, Errno> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH, mask)
}

fn attributes(stat: &Statx) -> Answer {
    let size = if u32::from(stat.stx_mode) & 0o170_000 == 0o040_000 { 0 } else { stat.stx_size };
    let device = fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    let [links, uid, gid] = [stat.stx_nlink, stat.stx_uid, stat.stx_gid].map(u64::from);
    Answer::Attributes([stat.stx_mode.into(), links, uid, gid, size, device])
}

fn times(stat: &Statx) -> Times {
    [stat.stx_atime, stat.stx_mtime, stat.stx_ctime].map(|time| (time.tv_sec, time.tv_nsec))
}
