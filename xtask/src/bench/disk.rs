//! A fresh ext4 on a loop device: the host's own file system is whatever it is, this one is the same everywhere.
//!
//! Invariant: image and mount have fixed places, so that what a killed run left is found and removed by the next one;
//! else dropping removes everything. The image's space is allocated beforehand, or the host's allocation would be
//! measured, too.

use crate::run::{command, output, show};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where the benchmarks keep what outlives a run (repositories) and what does not (the disk).
pub(super) const PLACE: &str = "/var/tmp/weald-bench";

/// The mounted disk.
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    device: String,
}

impl Disk {
    /// Makes and mounts it.
    pub(super) fn make(bytes: u64) -> Result<Self> {
        let (image, mount) = (Path::new(PLACE).join("disk.img"), Path::new(PLACE).join("disk"));
        sweep(&image, &mount)?;
        std::fs::create_dir_all(&mount)?;
        let mut disk = Disk { image, mount, device: String::new() };
        output(command("fallocate", &["--length", &bytes.to_string()]).arg(&disk.image))?;
        let losetup = output(command("losetup", &["--find", "--show"]).arg(&disk.image))?;
        disk.device = losetup.trim().to_owned();
        let options = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        show(&mut command("mkfs.ext4", &["-q", "-m", "0", "-E", options, &disk.device]))?;
        show(command("mount", &["-o", "noatime", &disk.device]).arg(&disk.mount))?;
        Ok(disk)
    }

    /// Its root.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = sweep(&self.image, &self.mount) {
            eprintln!("warning: the disk of the benchmarks is left behind: {error:#}");
        }
    }
}

/// Removes mounts at and below a place, loop devices of the image, and the image.
fn sweep(image: &Path, mount: &Path) -> Result<()> {
    for place in mounts_below(mount)?.iter().rev() {
        output(command("umount", &["--lazy"]).arg(place))?;
    }
    if image.exists() {
        let devices =
            output(command("losetup", &["--noheadings", "--output", "NAME", "--associated"]).arg(image))?;
        for device in devices.split_whitespace() {
            output(&mut command("losetup", &["--detach", device]))?;
        }
        std::fs::remove_file(image).context("cannot remove the image")?;
    }
    Ok(())
}

/// Mount points at and below a place, outermost first.
fn mounts_below(place: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/mounts")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    Ok(points.filter(|point| point.starts_with(place)).collect())
}
