//! Which program a thread belongs to, from `/proc`.
//!
//! Invariant: the process is the one at the moment of the call, the name at most [`FRESH`] older, and never that of another
//! process that got the number since. What is kept is an open `/proc/PID/comm`: reading it again costs about a
//! microsecond, and fails once the process is gone. No lock is held while one is opened or read.

use crate::locked;
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weald_engine::programs::{PROGRAM_NAME_BYTES_MAX, Program, ProgramName, Programs};

/// Threads remembered. Each costs a descriptor; more make changes at the same time only in rare bursts, which then
/// pay some twenty microseconds per change.
const THREADS_MAX: usize = 256;

/// Bytes of `/proc/PID/status` up to the line `Tgid`, with room for a name in which every byte is escaped.
const STATUS_BYTES: usize = 256;

/// How long an answer about a thread is given again, counted from before it was looked up: one write of 4 KiB follows another
/// in less. A thread cannot become another program in so little: between the moment before execve(2) and the first system call
/// of the quickest program there is (static, without a C library) 45 us pass at least, of 6,000 times. Nor can its number be
/// another's, since numbers are given out in turn: all others would have to be used meanwhile. A process that gives itself
/// another name may be told by the one before for so long.
const FRESH: Duration = Duration::from_micros(20);

/// The programs of this machine, as this process may see them.
pub(crate) struct RunningPrograms {
    by_thread: Mutex<HashMap<u32, Asked>>,
    now: Box<dyn Fn() -> Instant + Send + Sync>,
}

/// What is kept of a thread.
struct Asked {
    known: Arc<Known>,
    /// What was found, and a moment before that.
    last: Option<(Instant, Program)>,
}

struct Known {
    pid: u32,
    comm: OwnedFd,
}

impl Default for RunningPrograms {
    fn default() -> Self {
        Self::with_clock(Box::new(Instant::now))
    }
}

impl RunningPrograms {
    fn with_clock(now: Box<dyn Fn() -> Instant + Send + Sync>) -> Self {
        Self { by_thread: Mutex::default(), now }
    }

    /// Notes what was found. Who was slower does not put an older answer over a newer.
    fn note(&self, thread: u32, known: Arc<Known>, asked_at: Instant, found: Option<Program>) {
        let mut by_thread = locked(&self.by_thread);
        let asked = by_thread.entry(thread).or_insert(Asked { known: known.clone(), last: None });
        if asked.last.is_none_or(|(at, _)| at <= asked_at) {
            *asked = Asked { known, last: found.map(|program| (asked_at, program)) };
        }
    }

    fn make_room(&self) {
        let mut by_thread = locked(&self.by_thread);
        if by_thread.len() >= THREADS_MAX {
            by_thread.retain(|_, asked| asked.known.program().is_some());
            if by_thread.len() >= THREADS_MAX {
                by_thread.clear();
            }
        }
    }
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
        let now = (self.now)();
        let known = {
            let by_thread = locked(&self.by_thread);
            let asked = by_thread.get(&thread);
            if let Some((_, program)) = asked.and_then(|asked| asked.last).filter(|(at, _)| now - *at < FRESH)
            {
                return Some(program);
            }
            asked.map(|asked| asked.known.clone())
        };
        if let Some((known, program)) = known.and_then(|known| known.program().map(|found| (known, found))) {
            self.note(thread, known, now, Some(program));
            return Some(program);
        }
        let known = Arc::new(find(thread)?);
        let program = known.program();
        self.make_room();
        self.note(thread, known, now, program);
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
    use std::sync::atomic::{AtomicU64, Ordering};

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
    fn a_name_that_was_just_looked_up_is_told_again_for_a_moment_and_no_longer() {
        let (start, passed) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let clock = passed.clone();
        let now = move || start + Duration::from_nanos(clock.load(Ordering::SeqCst));
        let programs = RunningPrograms::with_clock(Box::new(now));
        let script = "read line; exec sleep 100";
        let mut child =
            Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let name_now =
            || RunningPrograms::default().of_thread(pid).map(|program| program.name.as_bytes().to_vec());
        let name = || programs.of_thread(pid).map(|program| program.name.as_bytes().to_vec());
        while name_now().is_none_or(|name| name != b"sh") {
            std::thread::yield_now();
        }
        assert_eq!(name().unwrap(), b"sh");
        drop(child.stdin.take());
        while name_now().is_none_or(|name| name != b"sleep") {
            std::thread::yield_now();
        }
        // The moment counts from the look, not from the last answer.
        let fresh = FRESH.as_nanos() as u64;
        for at in [fresh / 2, fresh - 1] {
            passed.store(at, Ordering::SeqCst);
            assert_eq!(name().unwrap(), b"sh");
        }
        passed.store(fresh, Ordering::SeqCst);
        assert_eq!(name().unwrap(), b"sleep");
        child.kill().unwrap();
        child.wait().unwrap();
        passed.store(2 * fresh, Ordering::SeqCst);
        assert_eq!(name(), None);
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
