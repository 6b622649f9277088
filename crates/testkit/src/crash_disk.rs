//! A disk in memory that crashes: what was not synced may be lost, in part, in any order.
//!
//! A file has bytes that everybody sees and operations that are not durable yet; a directory likewise. What is
//! durable: content after [`DiskFile::sync`], names after [`Disk::sync_dir`] of their directory. Syncing a file does
//! not make its name durable. [`CrashDisk::crash`] gives the disk that is found after a power cut: durable things,
//! and a random part of the rest, with one write torn at a sector. Dropping the store and opening it again on the
//! same disk is kill -9: everything seen is still there.
//!
//! Faults: [`CrashDisk::fail_call`] lets one later call fail; [`CrashDisk::stop_at`] is the end of the process or the power
//! at one call; [`CrashDisk::set_capacity`] makes the disk full.
//! After a failed sync nothing it covered is ever promised again, and each descriptor that was open tells of it once,
//! as on Linux.
//! Read next: `crash_disk/content.rs` (bytes of one file).

mod content;
mod names;

use content::{DataOp, FileState};
use names::Names;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use weald_store::disk::{Disk, DiskFile, Map, OpenMode, Space};

/// Unit of allocation in bytes.
const BLOCK_BYTES: u64 = 4096;
/// What an unlimited disk says it has.
const CAPACITY_BYTES: u64 = 1 << 40;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// ENOSPC, nothing done.
    NoSpace,
    /// EIO, nothing done; after a failed sync what it covered may be lost whatever is synced later.
    Io,
    /// A write stores half, then ENOSPC; other calls fail with ENOSPC.
    Short,
    /// EROFS, nothing done.
    ReadOnly,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    names: Names,
    files: BTreeMap<u64, FileState>,
    /// Numbers every change, over all files and directories, in order.
    clock: u64,
    calls: u64,
    reads: u64,
    failure: Option<(u64, Failure)>,
    /// From this call on nothing happens any more.
    stop: Option<u64>,
    capacity_bytes: u64,
    /// The disk as it was before each changing call, once somebody wants to know.
    copies: Option<Vec<CrashDisk>>,
}

impl Default for CrashDisk {
    fn default() -> Self {
        let state = State {
            names: Names::default(),
            files: BTreeMap::new(),
            clock: 0,
            calls: 0,
            reads: 0,
            failure: None,
            stop: None,
            capacity_bytes: CAPACITY_BYTES,
            copies: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl CrashDisk {
    /// The disk as it is found after a power cut now. The same seed gives the same disk.
    pub fn crash(&self, seed: u64) -> CrashDisk {
        let state = self.lock();
        let fate = Fate::new(seed, state.clock);
        let names = state.names.crash(&fate);
        let files = state.files.iter().map(|(id, file)| (*id, file.crash(&fate))).collect();
        let state = State {
            names,
            files,
            clock: state.clock,
            calls: 0,
            reads: 0,
            failure: None,
            stop: None,
            capacity_bytes: state.capacity_bytes,
            copies: None,
        };
        CrashDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as the end of the process would leave it now. Nothing done to one of the two is seen in the other.
    pub fn copy(&self) -> CrashDisk {
        self.lock().copy()
    }

    /// From now on keeps a copy of the disk from before each changing call.
    pub fn keep_copies(&self) {
        self.lock().copies = Some(Vec::new());
    }

    /// What was kept since [`CrashDisk::keep_copies`], in order; nothing more is kept.
    pub fn take_copies(&self) -> Vec<CrashDisk> {
        self.lock().copies.take().unwrap_or_default()
    }

    /// Lets the `nth` changing call from now fail (0: the next one). Replaces an earlier plan.
    pub fn fail_call(&self, nth: u64, failure: Failure) {
        let mut state = self.lock();
        state.failure = Some((state.calls + nth, failure));
    }

    /// Forgets a planned failure; true if it was still to come.
    pub fn clear_failure(&self) -> bool {
        self.lock().failure.take().is_some()
    }

    /// Ends everything at the `nth` changing call from now (0: the next one): it and all after it change nothing and fail.
    /// What is on the disk then is what the end of the process leaves, and [`CrashDisk::crash`] what that of the power does.
    pub fn stop_at(&self, nth: u64) {
        let mut state = self.lock();
        state.stop = Some(state.calls + nth);
    }

    /// Takes calls again; true if one was refused since [`CrashDisk::stop_at`].
    pub fn go_on(&self) -> bool {
        let mut state = self.lock();
        let calls = state.calls;
        state.stop.take().is_some_and(|stop| calls > stop)
    }

    /// Number of calls so far that read a file.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Number of changing calls so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets only so many bytes be stored in all; what is there already stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Makes the disk full but for `free` bytes.
    pub fn fill(&self, free: u64) {
        let mut state = self.lock();
        state.capacity_bytes = state.used_bytes() + free;
    }

    /// Makes the disk as good as endless again.
    pub fn unfill(&self) {
        self.lock().capacity_bytes = CAPACITY_BYTES;
    }

    /// Flips bits of one stored byte, durably: damage at rest.
    pub fn damage(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.lock();
        let id = state.names.file(path)?;
        state.file(id).damage(offset, mask);
        Ok(())
    }

    /// All files, with their lengths.
    pub fn files(&self) -> Vec<(std::path::PathBuf, u64)> {
        let state = self.lock();
        let files = state.names.files();
        files.into_iter().map(|(path, id)| (path, state.files[&id].len())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn copy(&self) -> CrashDisk {
        let state = State {
            names: self.names.clone(),
            files: self.files.clone(),
            clock: self.clock,
            calls: 0,
            reads: 0,
            failure: None,
            stop: None,
            capacity_bytes: self.capacity_bytes,
            copies: None,
        };
        CrashDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn file(&mut self, id: u64) -> &mut FileState {
        self.files.entry(id).or_default()
    }

    fn used_bytes(&self) -> u64 {
        let linked = self.names.files();
        linked.iter().map(|(_, id)| self.files[id].allocated_bytes()).sum()
    }

    /// Counts a changing call and tells whether it fails.
    fn call(&mut self) -> Option<Failure> {
        let now = self.calls;
        self.calls += 1;
        if self.copies.is_some() {
            let copy = self.copy();
            self.copies.iter_mut().for_each(|copies| copies.push(copy.clone()));
        }
        if self.stop.is_some_and(|stop| now >= stop) {
            return Some(Failure::Io);
        }
        self.clock += 1;
        match self.failure {
            Some((at, failure)) if at == now => {
                self.failure = None;
                Some(failure)
            }
            _ => None,
        }
    }

    /// True when the last call was refused because everything has ended.
    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| self.calls > stop)
    }

    /// Counts a call that either happens or fails whole.
    fn whole_call(&mut self) -> io::Result<()> {
        match self.call() {
            Some(failure) => Err(failure.error()),
            None => Ok(()),
        }
    }

    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    /// Stores as much of `bytes` as there is room for; the rest is ENOSPC.
    fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut fits = bytes.len();
        if self.capacity_bytes < CAPACITY_BYTES {
            let free = self.free_bytes();
            fits = self.file(id).fitting(offset, bytes.len() as u64, free) as usize;
        }
        let op = DataOp::Write(offset, bytes[..fits].into());
        let clock = self.clock;
        self.file(id).push(clock, op);
        if fits < bytes.len() { Err(Failure::NoSpace.error()) } else { Ok(()) }
    }
}

impl Failure {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Failure::Io => 5,
            Failure::NoSpace | Failure::Short => 28,
            Failure::ReadOnly => 30,
        })
    }
}

/// What a crash does to each change that is not durable.
struct Fate {
    seed: u64,
    /// Changes up to this one happened, those after did not; or each by its own luck.
    cut: Option<u64>,
}

impl Fate {
    /// One crash in five keeps everything, one nothing; the rest keep a prefix or any part.
    fn new(seed: u64, clock: u64) -> Self {
        let cut = match crate::clock::mix(seed) % 5 {
            0 => Some(u64::MAX),
            1 => Some(0),
            2 => Some(crate::clock::mix(seed ^ 0xC0FFEE) % (clock + 1)),
            _ => None,
        };
        Self { seed, cut }
    }

    fn luck(&self, clock: u64, salt: u64) -> u64 {
        crate::clock::mix(self.seed.wrapping_mul(31).wrapping_add(clock).wrapping_mul(31).wrapping_add(salt))
    }

    /// Whether a change is kept whole (1), in part (0) or not at all (-1).
    fn of(&self, clock: u64) -> i8 {
        match self.cut {
            Some(cut) => (clock < cut) as i8 - (clock > cut) as i8,
            None => [1, 1, 0, -1][(self.luck(clock, 1) % 4) as usize],
        }
    }
}

impl Disk for CrashDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.names.dir(path).is_ok() {
            return Ok(());
        }
        state.whole_call()?;
        let clock = state.clock;
        state.names.make_dir(path, clock)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let id = if mode == OpenMode::CreateNew {
            state.whole_call()?;
            let clock = state.clock;
            let id = state.names.make_file(path, clock)?;
            state.files.insert(id, FileState::default());
            id
        } else {
            state.names.file(path)?
        };
        let failed_syncs = AtomicU64::new(state.file(id).failed_syncs());
        Ok(Arc::new(CrashFile { disk: self.clone(), id, writable: mode != OpenMode::Read, failed_syncs }))
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let mut state = self.lock();
        let id = state.names.file(path)?;
        let mut bytes = vec![0; state.files[&id].len() as usize];
        state.file(id).read(&mut bytes, 0);
        Ok(Map::from_bytes(bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.whole_call()?;
        let clock = state.clock;
        state.names.rename(from, to, clock)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.names.file(path)?;
        state.whole_call()?;
        let clock = state.clock;
        state.names.remove(path, clock)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if !state.names.list(path)?.is_empty() {
            return Err(io::Error::from_raw_os_error(39));
        }
        state.whole_call()?;
        let clock = state.clock;
        state.names.remove(path, clock)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.lock().names.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.names.dir(path)?;
        state.whole_call()?;
        state.names.sync(path)
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.lock();
        Ok(Space {
            block_bytes: BLOCK_BYTES,
            total: state.capacity_bytes,
            free: state.free_bytes(),
            available: state.free_bytes(),
            files: 1 << 20,
            files_free: 1 << 19,
        })
    }
}

/// An open file. It outlives its name.
struct CrashFile {
    disk: CrashDisk,
    id: u64,
    writable: bool,
    /// Failed syncs of the file that this descriptor has told of, or was opened after.
    failed_syncs: AtomicU64,
}

impl CrashFile {
    /// The state, for a change.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writable { Ok(self.disk.lock()) } else { Err(io::Error::from_raw_os_error(9)) }
    }
}

impl DiskFile for CrashFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.reads += 1;
        Ok(state.file(self.id).read(out, offset))
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = parts.concat();
        let mut state = self.change()?;
        match state.call() {
            None => state.write(self.id, offset, &bytes),
            Some(Failure::Short) => {
                state.write(self.id, offset, &bytes[..bytes.len() / 2])?;
                Err(Failure::Short.error())
            }
            Some(failure) => Err(failure.error()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().file(self.id).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        state.whole_call()?;
        let clock = state.clock;
        state.file(self.id).push(clock, DataOp::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let failure = state.call();
        if state.is_stopped() {
            return Err(Failure::Io.error());
        }
        let file = state.file(self.id);
        match failure {
            None => file.sync(),
            Some(_) => file.doom(),
        }
        let failed = file.failed_syncs();
        if self.failed_syncs.swap(failed, Ordering::Relaxed) < failed {
            return Err(failure.unwrap_or(Failure::Io).error());
        }
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        state.whole_call()?;
        if state.capacity_bytes < CAPACITY_BYTES {
            let free = state.free_bytes();
            if state.file(self.id).fitting(offset, len, free) < len {
                return Err(Failure::NoSpace.error());
            }
        }
        let clock = state.clock;
        state.file(self.id).push(clock, DataOp::Allocate(offset, len));
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        assert!(
            offset.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES),
            "holes are whole blocks"
        );
        let mut state = self.change()?;
        state.whole_call()?;
        let clock = state.clock;
        state.file(self.id).push(clock, DataOp::Punch(offset, len));
        Ok(())
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().file(self.id).allocated_bytes())
    }
}
