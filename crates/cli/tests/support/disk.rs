//! A disk of its own for a home: a file system on a loop device, which can be filled, refuse writes, and lose its power.
//!
//! Invariant: the loop device is bound to its mount (`mount -o loop`), so unmounting gives it back, also after a panic, when
//! [`Home`] unmounts what is below it. A home must be dropped before the disk it is on.

use super::{Home, wait_for};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What says that the power is cut to the file system whose directory is given: `EXT4_IOC_SHUTDOWN`, the same number as
/// `XFS_IOC_GOINGDOWN`. 1 writes the file system's journal first, 2 does not.
const CUT: &str = "
import fcntl, os, struct, sys
place = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
fcntl.ioctl(place, 0x8004587d, struct.pack('I', int(sys.argv[2])))
";

/// The image, and where it is mounted.
pub(crate) struct Disk {
    _place: tempfile::TempDir,
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes a file system of a kind, `ext4` or `xfs`, and mounts it as the home's own directory.
    pub(crate) fn below(home: &Home, kind: &str, megabytes: u64) -> Self {
        let place = place_for(megabytes);
        let image = place.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let how: &[&str] = match kind {
            // No room that only root may take: tests are root.
            "ext4" => &["-q", "-F", "-m", "0", "-E", "nodiscard"],
            _ => &["-q", "-f", "-K"],
        };
        done(Command::new(format!("mkfs.{kind}")).args(how).arg(&image));
        let disk = Self { _place: place, image, at: home.home() };
        disk.mount();
        std::fs::set_permissions(&disk.at, PermissionsExt::from_mode(0o700)).unwrap();
        let _ = std::fs::remove_dir(disk.at.join("lost+found"));
        disk
    }

    pub(crate) fn mount(&self) {
        done(Command::new("mount").args(["-o", "loop,noatime"]).arg(&self.image).arg(&self.at));
        rustix::mount::mount_change(&self.at, MountPropagationFlags::PRIVATE).unwrap();
    }

    /// Cuts the power: from here on every write fails, and what had not reached the device never will.
    pub(crate) fn cut(&self, writes_its_journal: bool) {
        let how = if writes_its_journal { "1" } else { "2" };
        done(Command::new("python3").args(["-c", CUT]).arg(&self.at).arg(how));
    }

    /// Takes the file system away, once nobody has anything open on it, and brings back what the device has.
    pub(crate) fn power_on(&self) {
        let unmount = || rustix::mount::unmount(&self.at, UnmountFlags::empty());
        wait_for("those who had something open", || unmount() != Err(rustix::io::Errno::BUSY));
        self.mount();
    }

    /// Has the file system find an error in itself, after which it refuses every write (`errors=remount-ro`).
    pub(crate) fn refuse_writes(&self) {
        done(Command::new("mount").args(["-o", "remount,errors=remount-ro"]).arg(&self.at));
        let device = rustix::fs::stat(&self.at).unwrap().st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let name = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap();
        let name = name.file_name().unwrap().to_owned();
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        std::fs::write(trigger, "a test").unwrap();
    }

    /// Makes everything durable that is on it.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(std::fs::File::open(&self.at).unwrap()).unwrap();
    }
}

/// Memory, where there is enough, as a device that syncs at once; else the directory for temporary files.
fn place_for(megabytes: u64) -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let mut builder = tempfile::Builder::new();
    builder.prefix("weald-disk-");
    match room > megabytes << 20 {
        true => builder.tempdir_in(memory).unwrap(),
        false => builder.tempdir().unwrap(),
    }
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {why}\nThis test needs root and loop devices (losetup(8))."
    );
}
