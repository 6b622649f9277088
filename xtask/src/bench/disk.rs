//! Where is measured: a fresh file system on a loop device, which is the same everywhere, or a directory of the host.
//!
//! Invariant: image and mount have fixed places, so that what a killed run left is found and removed by the next one;
//! else dropping removes everything. The image's space is allocated beforehand, or the host's allocation would be
//! measured, too.

use crate::run::{command, output, show};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the benchmarks keep what outlives a run (repositories) and what does not (the disks).
pub(super) const PLACE: &str = "/var/tmp/weald-bench";

/// What could not be unmounted must not be emptied.
const REMOVE: &[&str] = &["--recursive", "--force", "--one-file-system"];

/// A file system, and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With room for many files, and with nothing left to be initialized later.
    Ext4,
    /// With its defaults: it copies by sharing blocks.
    Xfs,
    /// With its defaults: it has snapshots.
    Btrfs,
}

impl Kind {
    /// What it is called, also by `mkfs`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    fn make_options(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => {
                &["-q", "-m", "0", "-i", "8192", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]
            }
            Kind::Xfs => &["-q", "-K"],
            Kind::Btrfs => &["-q", "-K"],
        }
    }
}

/// The place, mounted.
pub(super) struct Disk {
    mount: PathBuf,
    /// None: a directory of the host.
    image: Option<PathBuf>,
}

impl Disk {
    /// Makes a file system on a loop device and mounts it; the name tells it from others that are there at the same time.
    pub(super) fn make(name: &str, kind: Kind, bytes: u64) -> Result<Self> {
        let image = Path::new(PLACE).join(format!("{name}.img"));
        let disk = Self::cleared(name, Some(image.clone()))?;
        output(command("fallocate", &["--length", &bytes.to_string()]).arg(&image))?;
        let device = output(command("losetup", &["--find", "--show"]).arg(&image))?;
        let device = device.trim();
        let make = format!("mkfs.{}", kind.name());
        show(command(&make, kind.make_options()).arg(device))?;
        show(command("mount", &["-t", kind.name(), "-o", "noatime", device]).arg(&disk.mount))?;
        Ok(disk)
    }

    /// Makes a directory on the host's own file system.
    pub(super) fn of_host() -> Result<Self> {
        Self::cleared("host", None)
    }

    /// An empty directory where nothing is mounted, removed when dropped, also when what follows fails.
    fn cleared(name: &str, image: Option<PathBuf>) -> Result<Self> {
        let disk = Disk { mount: Path::new(PLACE).join(name), image };
        disk.sweep()?;
        std::fs::create_dir_all(&disk.mount)?;
        Ok(disk)
    }

    /// Its root.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Names of what lies in it.
    pub(super) fn names(&self) -> Result<Vec<OsString>> {
        std::fs::read_dir(&self.mount)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Unmounts what is mounted below it and removes all but these names.
    pub(super) fn clear_but(&self, kept: &[OsString]) -> Result<()> {
        for place in mounts_below(&self.mount)?.iter().rev().filter(|place| **place != self.mount) {
            output(command("umount", &["--lazy"]).arg(place))?;
        }
        for name in self.names()?.iter().filter(|name| !kept.contains(name)) {
            output(command("rm", REMOVE).arg(self.mount.join(name)))?;
        }
        Ok(())
    }

    /// Removes mounts at and below it, loop devices of the image, the image, and what is left.
    fn sweep(&self) -> Result<()> {
        for place in mounts_below(&self.mount)?.iter().rev() {
            output(command("umount", &["--lazy"]).arg(place))?;
        }
        if let Some(image) = self.image.as_ref().filter(|image| image.exists()) {
            let list = ["--noheadings", "--output", "NAME", "--associated"];
            for device in output(command("losetup", &list).arg(image))?.split_whitespace() {
                output(&mut command("losetup", &["--detach", device]))?;
            }
            std::fs::remove_file(image).context("cannot remove the image")?;
        }
        if self.mount.exists() {
            output(command("rm", REMOVE).arg(&self.mount))?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.sweep() {
            eprintln!("warning: the disk of the benchmarks is left behind: {error:#}");
        }
    }
}

/// Writes everything out, then drops what the kernel keeps of all file systems: pages, names and attributes.
pub(super) fn drop_caches() -> Result<()> {
    output(&mut command::<&str>("sync", &[]))?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")
}

/// Mount points at and below a place, outermost first.
pub(super) fn mounts_below(place: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(place)).collect())
}
