//! Times sealing a snapshot, and computing its root again, in the engine alone. For `cargo xtask bench seal`.
//!
//! Arguments: a directory for the store, MiB of content. Prints one JSON object of arrays: milliseconds of processor time
//! for each 10^9 bytes, of sealing (reading, cutting, hashing, writing) and of verifying (every chunk read and hashed, and
//! the state behind the record sealed again in memory, which reads the log; both count), for content that cannot be compressed and for content that can.
//! Invariant: the content was just written, so it is in the host's page cache.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use weald_engine::seal::SealCheck;
use weald_engine::{Base, Occasion, Shared, Workspace};
use weald_model::{Caller, Env, FileKind, HostEnv, Ino, SnapshotId, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk};
use weald_store::log::Logs;

/// Bytes of one write.
const WRITE_BYTES: u64 = 1 << 20;
/// Writes in a file.
const WRITES: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(mebibytes)) = (arguments.next(), arguments.next()) else {
        return Err("needs a directory and a number of MiB".into());
    };
    let mebibytes = mebibytes.parse()?;
    let noise = measure(&Path::new(&dir).join("noise"), mebibytes, u64::MAX)?;
    let text = measure(&Path::new(&dir).join("text"), mebibytes, 0x0f0f_0f0f_0f0f_0f0f)?;
    println!(
        r#"{{"seal":[{}],"verify":[{}],"seal_compressible":[{}],"verify_compressible":[{}]}}"#,
        noise.0, noise.1, text.0, text.1
    );
    Ok(())
}

/// Seals and verifies content of which only the bits in `mask` differ.
fn measure(dir: &Path, mebibytes: u64, mask: u64) -> Result<(f64, f64), Box<dyn Error>> {
    let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(dir));
    let [logs, cas, chunks] = ["logs", "cas", "chunks"].map(|name| dir.join(name));
    for dir in [dir, &logs, &cas, &chunks] {
        disk.make_dir(dir)?;
    }
    let env = Arc::new(HostEnv::default());
    let (logs, cas) = (Logs::new(disk.clone(), logs), Cas::new(disk.clone(), cas));
    let chunks = Arc::new(Chunks::new(disk.clone(), chunks));
    let shared = Shared::new(disk, logs, cas, chunks.clone(), env.clone(), 1 << 20);
    let who = Caller {
        uid: 1000,
        gid: 1000,
        pid: std::process::id(),
        umask: 0o022,
        kill_privileges: false,
        request: 0,
    };
    let workspace = Workspace::create(shared, WorkspaceId(1), Base::empty(1000, 1000, env.now()), b"")?;
    let bytes = fill(&workspace, &who, mebibytes, mask)?;
    let id = SnapshotId(1);
    workspace.snapshot(&who, id, "", &[], Occasion::Asked)?;
    let per_gigabyte = |start: u64| -> Result<f64, Box<dyn Error>> {
        Ok((processor_nanos()? - start) as f64 / 1e6 / (bytes as f64 / 1e9))
    };
    let start = processor_nanos()?;
    workspace.seal(id, &|_| true)?.ok_or("the snapshot is gone")?;
    let sealed = per_gigabyte(start)?;
    let snapshot = workspace.snapshots().pop().ok_or("the snapshot is gone")?;
    let past = workspace.past(snapshot.point)?;
    let start = processor_nanos()?;
    let checked = chunks.verify()?;
    SealCheck::with_packs_verified().check(&past, &snapshot)?;
    // The content is read and hashed twice: in the chunks, and in the log by way of the state behind the record.
    let verified = per_gigabyte(start)? / 2.0;
    if !checked.problems.is_empty() {
        return Err(format!("{:?}", checked.problems).into());
    }
    Ok((sealed, verified))
}

fn fill(workspace: &Workspace, who: &Caller, mebibytes: u64, mask: u64) -> Result<u64, Box<dyn Error>> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & mask
    };
    let mut ino = Ino::ROOT;
    for number in 0..mebibytes {
        if number % WRITES == 0 {
            let name = format!("file-{number}");
            ino = workspace.make_node(who, Ino::ROOT, name.as_bytes(), FileKind::File, 0o644, 0)?.ino;
        }
        let data: Vec<u8> = (0..WRITE_BYTES / 8).flat_map(|_| next().to_le_bytes()).collect();
        workspace.write(who, ino, number % WRITES * WRITE_BYTES, &data)?;
    }
    Ok(mebibytes * WRITE_BYTES)
}

/// Time this thread had a processor (/proc/thread-self/schedstat, its first number).
fn processor_nanos() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("it is empty")?.parse()?)
}
