//! A file system in memory behind Weald's own protocol layer, whose answers cost next to nothing: what is left of a
//! program's time is the kernel's and that of the way there and back. For `cargo xtask bench`, beside Weald and ext4.
//!
//! Arguments: a mount point; `--tree DIR` takes what lies there into memory first; `--durable FILE` has fsync(2) wait until
//! as many bytes as were written are on the disk, in that file; `--io-uring` serves it over io_uring, too. Prints `ready`
//! when it is mounted. A line on the standard input mounts it anew, so that the kernel knows nothing of it, and says `ready`
//! again; the end of the input ends it.
//!
//! Invariant: INIT, lifetimes, and what is answered ENOSYS are those of a workspace, so that the kernel asks the same;
//! `tests/hollow.rs` counts. Read next: [`tree`], [`durable`].

mod durable;
mod hollow;
mod tree;

use hollow::Hollow;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use weald_fuse::mount::{Access, MountOptions, Unmount};
use weald_fuse::{Caching, Connection, Device, Limits, Pool, Rings};
use weald_model::Fault;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let mount_point = arguments.next().ok_or("needs a mount point")?;
    let (mut tree, mut durable, mut rings) = (None, None, None);
    while let Some(word) = arguments.next() {
        match word.to_str() {
            Some("--tree") => tree = Some(arguments.next().ok_or("--tree needs a directory")?),
            Some("--durable") => durable = Some(arguments.next().ok_or("--durable needs a file")?),
            Some("--io-uring") => rings = Some(Arc::new(Rings::new()?)),
            _ => return Err(format!("unknown argument {word:?}").into()),
        }
    }
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let hollow = Arc::new(Hollow::new(owner, durable.as_deref().map(Path::new))?);
    if let Some(tree) = tree {
        hollow.load(Path::new(&tree))?;
    }
    let pool = Pool::with_rings(Limits::default(), rings)?;
    let mut lines = std::io::stdin().lock().lines();
    let mut told = || -> std::io::Result<bool> {
        println!("ready");
        std::io::stdout().flush()?;
        Ok(lines.next().transpose()?.is_some())
    };
    while mounted(&pool, &hollow, Path::new(&mount_point), owner, &mut told)? {}
    Ok(())
}

/// Serves the file system at a path while something is waited for.
fn mounted(
    pool: &Pool,
    hollow: &Arc<Hollow>,
    path: &Path,
    (uid, gid): (u32, u32),
    wait: &mut dyn FnMut() -> std::io::Result<bool>,
) -> Outcome<bool> {
    let options = MountOptions {
        name: "hollow".to_owned(),
        path: path.to_owned(),
        uid,
        gid,
        access: Access::OwnerOnly,
    };
    let mounted = weald_fuse::mount::mount(&options).map_err(words)?;
    let device = Arc::new(Device::new(mounted.device)?);
    let connection = Connection::new(device, hollow.clone(), Caching::default());
    let (sender, ended) = channel();
    // Whoever waits for the end is there until it comes.
    let tell = Box::new(move |_| sender.send(()).unwrap_or_default());
    pool.add(connection.of_mount(mounted.mount.identity.mount_id), tell)?;
    let waited = wait();
    mounted.mount.unmount(Unmount::Lazy).map_err(words)?;
    ended.recv()?;
    Ok(waited?)
}

fn words(fault: Fault) -> String {
    fault.to_string()
}
