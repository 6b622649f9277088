//! Which program a thread belongs to, from `/proc`.
//!
//! Invariant: the name is the one at the moment of the call, also right after an execve(2), and never that of another
//! process that got the number since. What is kept is an open `/proc/PID/comm`: reading it again costs about a
//! microsecond, and fails once the process is gone. No lock is held while one is opened or read.

use crate::locked;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use weald_engine::programs::{PROGRAM_NAME_BYTES_MAX, Program, ProgramName, Programs};

/// Threads remembered. Each costs a descriptor; more make changes at the same time only in rare bursts, which then
/// pay some twenty microseconds per change.
const THREADS_MAX: usize = 256;

/// Bytes of `/proc/PID/status` up to the line `Tgid`, with room for a name in which every byte is escaped.
const STATUS_BYTES: usize = 256;

/// The programs of this machine, as this process may see them.
#[derive(Default)]
pub(crate) struct RunningPrograms {
    by_thread: Mutex<HashMap<u32, Arc<Known>>>,
}

struct Known {
    pid: u32,
    comm: OwnedFd,
}

impl Known {
    fn program(&self) -> Option<Program> {
        let mut name = [0; PROGRAM_NAME_BYTES_MAX + 1];
        let count = rustix::io::pread(&self.comm, &mut name, 0).ok()?;
        let name = name[..count].strip_suffix(b"\n").unwrap_or(&name[..count]);
        Some(Program { pid: self.pid, name: ProgramName::new(name)? })
    }
}

impl Programs for RunningPrograms {
    fn of_thread(&self, thread: u32) -> Option<Program> {
        let known = locked(&self.by_thread).get(&thread).cloned();
        if let Some(program) = known.and_then(|known| known.program()) {
            return Some(program);
        }
        let found = Arc::new(find(thread)?);
        let program = found.program();
        let mut by_thread = locked(&self.by_thread);
        if by_thread.len() >= THREADS_MAX {
            by_thread.retain(|_, known| known.program().is_some());
            if by_thread.len() >= THREADS_MAX {
                by_thread.clear();
            }
        }
        by_thread.insert(thread, found);
        program
    }
}

fn find(thread: u32) -> Option<Known> {
    let open = |path: String| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok()
    };
    let mut status = [0; STATUS_BYTES];
    let count = rustix::io::pread(open(format!("/proc/{thread}/status"))?, &mut status, 0).ok()?;
    let pid = process_of(&status[..count])?;
    Some(Known { pid, comm: open(format!("/proc/{pid}/comm"))? })
}

/// The process in the text of `/proc/THREAD/status` (proc_pid_status(5)).
fn process_of(status: &[u8]) -> Option<u32> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_thread_is_told_as_its_process() {
        let programs = RunningPrograms::default();
        let pid = std::process::id();
        let own = programs.of_thread(pid).unwrap();
        let named = std::thread::Builder::new().name("elsewhere".into());
        let thread = named.spawn(move || {
            let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            (thread, RunningPrograms::default().of_thread(thread).unwrap())
        });
        let (thread, found) = thread.unwrap().join().unwrap();
        assert_ne!(thread, pid);
        assert_eq!((found.pid, found.name), (pid, own.name));
    }

    #[test]
    fn a_program_that_is_replaced_by_another_is_told_by_its_new_name_at_once() {
        let programs = RunningPrograms::default();
        let script = "read line; exec sleep 100";
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let name = || programs.of_thread(pid).map(|program| program.name.as_bytes().to_vec());
        // Until execve(2) in the child, it is this test.
        while name().is_none_or(|name| name != b"sh") {
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        while name().is_none_or(|name| name == b"sh") {
            std::thread::yield_now();
        }
        assert_eq!(name().unwrap(), b"sleep");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(programs.of_thread(pid), None);
    }

    #[test]
    fn a_name_that_looks_like_a_line_of_its_own_changes_nothing() {
        assert_eq!(
            process_of(b"Name:\tx\\nTgid:\t1\nUmask:\t0022\nState:\tR\nTgid:\t77\nNgid:\t0\n"),
            Some(77)
        );
        assert_eq!(process_of(b"Name:\tx\n"), None);
        assert_eq!(process_of(b"Tgid:\t\xff\n"), None);
    }
}
