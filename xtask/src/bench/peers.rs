//! Other ways to have many copies of a tree: each makes a copy, tells where it is, and takes it away again.
//!
//! Invariant: what cannot be had here is left out with a message. What is mounted lies below the disk of the benchmarks,
//! whose end unmounts it, also after a failure.

use super::Bench;
use super::disk::{Disk, Kind};
use super::juicefs::Juicefs;
use super::weald::Weald;
use crate::run::{command, output};
use crate::tools::{self, Packaged};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A way to make copies.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// Where the copies are.
    copies: PathBuf,
    how: How,
    /// Its own file system, when it needs one: gone when this is dropped.
    _disk: Option<Disk>,
}

/// How a copy is made of a tree that lies there already.
enum How {
    Weald(Weald),
    /// `git worktree add` from the repository.
    Worktree(PathBuf),
    /// `cp`, with or without shared blocks.
    Copy {
        base: PathBuf,
        reflink: bool,
    },
    /// A subvolume's snapshot.
    Snapshot(PathBuf),
    /// A mount over the tree: the kernel's, or that in user space.
    Overlay {
        base: PathBuf,
        in_kernel: bool,
    },
    Juicefs(Juicefs),
}

impl Peer {
    /// Makes a copy under a name and returns its root.
    pub(super) fn copy(&self, name: &str) -> Result<PathBuf> {
        let to = self.copies.join(name);
        match &self.how {
            How::Weald(weald) => {
                weald.run(&["fork", "base", name])?;
                return Ok(weald.path(name));
            }
            How::Worktree(repository) => {
                let add = ["worktree", "add", "--quiet", "--detach"];
                output(command("git", &["-C"]).arg(repository).args(add).arg(&to))?;
            }
            How::Copy { base, reflink } => {
                let reflink = if *reflink { "--reflink=always" } else { "--reflink=never" };
                output(command("cp", &["--archive", reflink]).arg(base).arg(&to))?;
            }
            How::Snapshot(base) => {
                output(command("btrfs", &["subvolume", "snapshot"]).arg(base).arg(&to))?;
            }
            How::Overlay { base, in_kernel } => self.mount_over(base, name, *in_kernel)?,
            How::Juicefs(juicefs) => juicefs.copy(name)?,
        }
        match &self.how {
            How::Juicefs(juicefs) => Ok(juicefs.path(name)),
            _ => Ok(to),
        }
    }

    fn mount_over(&self, base: &Path, name: &str, in_kernel: bool) -> Result<()> {
        let to = self.copies.join(name);
        let (upper, work) = (self.beside("upper", name), self.beside("work", name));
        for dir in [&to, &upper, &work] {
            std::fs::create_dir_all(dir)?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
        let mut mount = if in_kernel {
            command("mount", &["-t", "overlay", "overlay", "-o", &options])
        } else {
            command("fuse-overlayfs", &["-o", &options])
        };
        output(mount.arg(to)).map(drop)
    }

    fn beside(&self, what: &str, name: &str) -> PathBuf {
        self.copies.join(format!(".{what}-{name}"))
    }

    /// Takes a copy away.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let at = self.copies.join(name);
        match &self.how {
            How::Weald(weald) => return weald.run(&["remove", "--force", name]).map(drop),
            How::Worktree(repository) => {
                let remove = ["worktree", "remove", "--force"];
                return output(command("git", &["-C"]).arg(repository).args(remove).arg(at)).map(drop);
            }
            How::Snapshot(_) => {
                return output(command("btrfs", &["subvolume", "delete"]).arg(at)).map(drop);
            }
            How::Overlay { .. } => {
                output(command::<&str>("umount", &[]).arg(&at))?;
                for what in ["upper", "work"] {
                    std::fs::remove_dir_all(self.beside(what, name))?;
                }
            }
            How::Juicefs(juicefs) => return juicefs.remove(name),
            How::Copy { .. } => {}
        }
        Ok(std::fs::remove_dir_all(at)?)
    }
}

/// All that can be had, plain ext4 first and Weald second; the others' absence is told.
pub(super) fn all(bench: &Bench) -> Result<Vec<Peer>> {
    let source = &bench.repositories.medium.path;
    let base = bench.dir("peers")?.join("base");
    clone(source, &base)?;
    let weald = bench.weald("peers-weald")?;
    weald.run(&["create", super::rows::text(source)?, "base"])?;
    let mut peers = vec![
        here(bench, "ext4", How::Copy { base: base.clone(), reflink: false })?,
        here(bench, "Weald", How::Weald(weald))?,
        here(bench, "git worktree", How::Worktree(source.clone()))?,
    ];
    let overlay = |name, in_kernel| {
        let peer = here(bench, name, How::Overlay { base: base.clone(), in_kernel })?;
        // Whether it can be mounted is seen from a first copy.
        peer.copy("trial")?;
        peer.remove("trial")?;
        Ok(peer)
    };
    let in_user_space = || {
        packaged(&[("fuse-overlayfs", "fuse-overlayfs")])?;
        overlay("fuse-overlayfs", false)
    };
    let others = [
        ("overlayfs", overlay("overlayfs", true)),
        ("fuse-overlayfs", in_user_space()),
        ("btrfs snapshot", btrfs(bench, source)),
        ("XFS reflink", xfs(bench, source)),
        ("JuiceFS", juicefs(bench, source)),
    ];
    for (name, made) in others {
        match made {
            Ok(peer) => peers.push(peer),
            Err(error) => eprintln!("not compared with {name}, which cannot be had here: {error:#}"),
        }
    }
    Ok(peers)
}

fn juicefs(bench: &Bench, source: &Path) -> Result<Peer> {
    let juicefs = Juicefs::start(&bench.dir("juicefs")?)?;
    clone(source, &juicefs.base())?;
    here(bench, "JuiceFS", How::Juicefs(juicefs))
}

fn here(bench: &Bench, name: &'static str, how: How) -> Result<Peer> {
    let copies = bench.dir(&format!("peers/{}", name.replace(' ', "-")))?;
    Ok(Peer { name, copies, how, _disk: None })
}

fn btrfs(bench: &Bench, source: &Path) -> Result<Peer> {
    packaged(&[("mkfs.btrfs", "btrfs-progs")])?;
    let disk = Disk::make("btrfs", Kind::Btrfs, bench.scale.peer_disk_bytes)?;
    let (base, copies) = (disk.path().join("base"), disk.path().to_owned());
    output(command("btrfs", &["subvolume", "create"]).arg(&base))?;
    clone(source, &base)?;
    Ok(Peer { name: "btrfs snapshot", copies, how: How::Snapshot(base), _disk: Some(disk) })
}

fn xfs(bench: &Bench, source: &Path) -> Result<Peer> {
    packaged(&[("mkfs.xfs", "xfsprogs")])?;
    let disk = Disk::make("xfs", Kind::Xfs, bench.scale.peer_disk_bytes)?;
    let (base, copies) = (disk.path().join("base"), disk.path().to_owned());
    clone(source, &base)?;
    Ok(Peer { name: "XFS reflink", copies, how: How::Copy { base, reflink: true }, _disk: Some(disk) })
}

fn packaged(programs: &[Packaged]) -> Result<()> {
    tools::system_packages(programs).context("its programs are missing")
}

/// A tree with everything in it, its git directory included.
fn clone(source: &Path, to: &Path) -> Result<()> {
    output(command("git", &["clone", "--quiet", "--shared"]).arg(source).arg(to)).map(drop)
}
