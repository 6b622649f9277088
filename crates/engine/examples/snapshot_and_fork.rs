//! Times a snapshot and a fork in the engine alone: no command, no kernel, no fsync. For `cargo xtask bench engine`.
//!
//! Arguments: a directory for the logs, files to make first, rounds. Prints one JSON array: microseconds of each round.
//! Invariant: the disk is the host's in everything but sync, which does nothing, so what is left is Weald's own work
//! and that of the host's file system.

use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use weald_engine::{Base, Occasion, Shared, Workspace};
use weald_model::{Caller, Env, FileKind, HostEnv, Ino, SnapshotId, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, DiskFile, HostDisk, Map, OpenMode, Space};
use weald_store::log::Logs;

/// Bytes of each file made first.
const FILE_BYTES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(files), Some(rounds)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("needs a directory, a number of files and a number of rounds".into());
    };
    let times = measure(Path::new(&dir), files.parse()?, rounds.parse()?)?;
    println!("{times:?}");
    Ok(())
}

fn measure(dir: &Path, files: usize, rounds: u64) -> Result<Vec<f64>, Box<dyn Error>> {
    let disk: Arc<dyn Disk> = Arc::new(Unsynced(HostDisk::new(dir)));
    let env = Arc::new(HostEnv::default());
    let shared = shared(&disk, dir, env.clone())?;
    let who = Caller {
        uid: 1000,
        gid: 1000,
        pid: std::process::id(),
        umask: 0o022,
        kill_privileges: false,
        request: 0,
    };
    let workspace = Workspace::create(shared, WorkspaceId(1), Base::empty(1000, 1000, env.now()), b"")?;
    for number in 0..files {
        let name = format!("file-{number}");
        let made = workspace.make_node(&who, Ino::ROOT, name.as_bytes(), FileKind::File, 0o644, 0)?;
        workspace.write(&who, made.ino, 0, &[7; FILE_BYTES])?;
    }
    let touched = workspace.make_node(&who, Ino::ROOT, b"touched", FileKind::File, 0o644, 0)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        workspace.write(&who, touched.ino, round * 8, &round.to_le_bytes())?;
        let start = Instant::now();
        workspace.snapshot(&who, SnapshotId(round + 1), "", &[], Occasion::Asked)?;
        let fork = workspace.fork(WorkspaceId(round + 2), b"")?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        drop(fork);
    }
    Ok(times)
}

fn shared(disk: &Arc<dyn Disk>, dir: &Path, env: Arc<dyn Env>) -> io::Result<Arc<Shared>> {
    let [logs, cas, chunks] = ["logs", "cas", "chunks"].map(|name| dir.join(name));
    for dir in [&logs, &cas, &chunks] {
        disk.make_dir(dir)?;
    }
    let (logs, cas) = (Logs::new(disk.clone(), logs), Cas::new(disk.clone(), cas));
    let chunks = Arc::new(Chunks::new(disk.clone(), chunks));
    Ok(Shared::new(disk.clone(), logs, cas, chunks, env, 1 << 20))
}

/// The host's files, never synced.
struct Unsynced(HostDisk);

struct UnsyncedFile(Arc<dyn DiskFile>);

impl Disk for Unsynced {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.0.make_dir(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(path, mode)?)))
    }
    fn map(&self, path: &Path) -> io::Result<Map> {
        self.0.map(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(path)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn space(&self) -> io::Result<Space> {
        self.0.space()
    }
}

impl DiskFile for UnsyncedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.0.write_at(parts, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch(offset, len)
    }
    fn allocated_bytes(&self) -> io::Result<u64> {
        self.0.allocated_bytes()
    }
}
