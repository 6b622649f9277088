//! Who stands in a mount: working directory, root, program or open files on its device.
//!
//! Invariant: only cached attributes are asked for (AT_STATX_DONT_SYNC), so a mount that does not answer cannot
//! hold the search up.

use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::fmt;
use std::path::Path;

/// More occupants than this are counted, not named.
const NAMED_MAX: usize = 5;

/// A process in a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occupant {
    /// Process id.
    pub(crate) pid: u32,
    /// Its command name.
    pub(crate) program: String,
    /// What it has there.
    pub(crate) holds: Hold,
}

/// What a process has in a mount; the first that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Stands there.
    WorkingDirectory,
    /// Is confined there (chroot).
    Root,
    /// Runs a program from there.
    Program,
    /// Has a file open.
    OpenFile,
    /// Has a file mapped.
    MappedFile,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.holds {
            Hold::WorkingDirectory => "stands there",
            Hold::Root => "has its root there",
            Hold::Program => "runs a program from there",
            Hold::OpenFile => "has a file open",
            Hold::MappedFile => "has a file mapped",
        };
        write!(f, "{} (process {}) {how}", self.program, self.pid)
    }
}

/// Names occupants in one line, for a message.
pub(crate) fn sentence(occupants: &[Occupant]) -> String {
    let mut parts: Vec<String> = occupants.iter().take(NAMED_MAX).map(Occupant::to_string).collect();
    if occupants.len() > NAMED_MAX {
        parts.push(format!("and {} more", occupants.len() - NAMED_MAX));
    }
    parts.join(", ")
}

/// Finds the processes in the mount with device number `device`. Processes of other users are seen by root only.
pub(crate) fn find(device: u64) -> Vec<Occupant> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| occupant(pid, device))
        .collect()
}

fn occupant(pid: u32, device: u64) -> Option<Occupant> {
    let process = Path::new("/proc").join(pid.to_string());
    let holds = hold(&process, device)?;
    let program = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(Occupant { pid, program: program.trim_end().to_owned(), holds })
}

fn hold(process: &Path, device: u64) -> Option<Hold> {
    let links = [("cwd", Hold::WorkingDirectory), ("root", Hold::Root), ("exe", Hold::Program)];
    for (link, hold) in links {
        if is_on(&process.join(link), device) {
            return Some(hold);
        }
    }
    let mut files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    if files.any(|file| is_on(&file.path(), device)) {
        return Some(Hold::OpenFile);
    }
    maps(process, device).then_some(Hold::MappedFile)
}

fn is_on(link: &Path, device: u64) -> bool {
    let found = rustix::fs::statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty());
    found.is_ok_and(|stat| rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor) == device)
}

/// Looks for the device in the fourth column of `/proc/PID/maps`: hexadecimal `major:minor`.
fn maps(process: &Path, device: u64) -> bool {
    let wanted = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(maps) = std::fs::read(process.join("maps")) else { return false };
    let mut lines = maps.split(|byte| *byte == b'\n');
    lines.any(|line| line.split(|byte| *byte == b' ').nth(3) == Some(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_stands_on_a_device_is_named() {
        let mut child =
            Command::new("sleep").arg("60").current_dir("/dev/shm").stdin(Stdio::null()).spawn().unwrap();
        let device = std::fs::metadata("/dev/shm").unwrap().dev();
        let pid = child.id();
        let found = find(device);
        child.kill().unwrap();
        child.wait().unwrap();
        let me = found.iter().find(|occupant| occupant.pid == pid).unwrap();
        assert_eq!(me.to_string(), format!("sleep (process {pid}) stands there"));
    }

    #[test]
    fn many_are_counted_after_the_first_few() {
        let one = |pid| Occupant { pid, program: "sh".into(), holds: Hold::OpenFile };
        let many: Vec<_> = (1..=8).map(one).collect();
        assert!(sentence(&many).ends_with("sh (process 5) has a file open, and 3 more"));
    }
}
