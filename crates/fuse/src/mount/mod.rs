//! Mounting, and unmounting by identity.
//!
//! As root: `/dev/fuse` and mount(2) ([`direct`]). As an ordinary user: the setuid program `fusermount3`
//! ([`fusermount`]). Invariant: what is unmounted is the mount that was made, recognised by its mount id and device
//! number ([`Identity`]), never what somebody else mounted at the same path since.

mod direct;
mod fusermount;
mod table;

pub use table::{Entry, stale, table};

use crate::connection::WRITE_BYTES_MAX;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::UnmountFlags;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use weald_model::{Code, Fault};

/// File-system type in /proc/self/mountinfo.
pub const FS_TYPE: &str = "fuse.weald";
/// What the source of every mount of ours starts with.
pub const SOURCE_PREFIX: &str = "weald:";

/// What to mount where.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The workspace's name, shown as the file system's source after [`SOURCE_PREFIX`].
    pub name: String,
    /// An existing directory.
    pub path: PathBuf,
    /// Who may use the mount unless `access` is [`Access::Everybody`]; usually the daemon's own user and group.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Who gets in at all, before permissions are checked.
    pub access: Access,
}

/// Who may enter a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The user who mounts, nobody else, not even root.
    #[default]
    OwnerOnly,
    /// Everybody, as far as permissions go (`allow_other`). An ordinary user may ask for it only when
    /// `/etc/fuse.conf` has `user_allow_other`.
    Everybody,
}

/// A mount that exists.
#[derive(Debug)]
pub struct Mounted {
    /// The open `/dev/fuse` of the mount.
    pub device: OwnedFd,
    /// Which mount it is.
    pub mount: Mount,
}

/// Remembers a mount in order to unmount it, and it only. Dropping it does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: PathBuf,
    /// Which.
    pub identity: Identity,
}

/// What tells a mount from every other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The kernel's id of the mount; never used twice since Linux 6.8, not while it exists before.
    pub mount_id: u64,
    /// Device number of the file system, major and minor.
    pub device: (u32, u32),
}

/// How to unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// Fails when a program uses the mount.
    Normal,
    /// Takes it out of the tree at once; programs that use it keep it until they are done (MNT_DETACH).
    Lazy,
}

/// What an unmount found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    /// It is gone.
    Done,
    /// It was not there any more; the path holds nothing of ours, or another mount, which was left alone.
    NotThere,
}

/// Mounts. The kernel sends INIT as soon as the device is read.
pub fn mount(options: &MountOptions) -> Result<Mounted, Fault> {
    let device = if rustix::process::geteuid().is_root() {
        direct::mount(options)?
    } else {
        fusermount::mount(options)?
    };
    let identity = Identity::of(&options.path).map_err(|error| {
        let message = format!("the fresh mount at {} cannot be looked at: {error}", options.path.display());
        Fault::new(Code::HostIo, message)
    })?;
    read_ahead(identity.device);
    Ok(Mounted { device, mount: Mount { path: options.path.clone(), identity } })
}

/// Has the kernel read a file ahead in requests as large as there are: it begins with 128 KiB, whatever INIT says, and root alone
/// may raise that (Documentation/ABI/testing/sysfs-class-bdi). 10 to 50 µs; where it is refused, large files are read more slowly.
fn read_ahead((major, minor): (u32, u32)) {
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Ok(mut file) = std::fs::File::options().write(true).open(path) {
        let _ = write!(file, "{}", WRITE_BYTES_MAX >> 10);
    }
}

impl Identity {
    /// Reads the identity of whatever is mounted at (or holds) `path`. Asks the kernel only, never the file system's
    /// server, so it works on a dead mount too.
    pub fn of(path: &Path) -> io::Result<Self> {
        /// STATX_MNT_ID_UNIQUE of Linux 6.8, which rustix does not name; older kernels give the short id.
        const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
        let ask = |mask| {
            let how = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::statx(CWD, path, how, mask)
        };
        // An empty mask is answered with the short id, also to somebody whom the mount does not let in.
        let answer = match ask(MNT_ID_UNIQUE) {
            Ok(answer) if answer.stx_mask & MNT_ID_UNIQUE.bits() != 0 => answer,
            Ok(_) | Err(rustix::io::Errno::ACCESS) => ask(StatxFlags::empty())?,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { mount_id: answer.stx_mnt_id, device: (answer.stx_dev_major, answer.stx_dev_minor) })
    }
}

impl Mount {
    /// True while this very mount is the one seen at its path.
    pub fn is_there(&self) -> bool {
        Identity::of(&self.path).is_ok_and(|identity| identity == self.identity)
    }

    /// Unmounts it, if it is still what is mounted at its path. A program that uses it: [`Code::WorkspaceInUse`].
    pub fn unmount(&self, how: Unmount) -> Result<Unmounted, Fault> {
        if !self.is_there() {
            return Ok(Unmounted::NotThere);
        }
        unmount_path(&self.path, how)
    }
}

/// Unmounts what is at `path` without asking what it is: for callers that have just recognised it.
fn unmount_path(path: &Path, how: Unmount) -> Result<Unmounted, Fault> {
    if !rustix::process::geteuid().is_root() {
        return fusermount::unmount(path, how);
    }
    let flags = match how {
        Unmount::Normal => UnmountFlags::NOFOLLOW,
        Unmount::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(Unmounted::Done),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(Unmounted::NotThere),
        Err(rustix::io::Errno::BUSY) => Err(in_use(path)),
        Err(error) => {
            Err(Fault::new(Code::NotAllowed, format!("{} cannot be unmounted: {error}", path.display())))
        }
    }
}

fn in_use(path: &Path) -> Fault {
    let path = path.display();
    Fault::new(Code::WorkspaceInUse, format!("a program has {path} or a file in it open"))
        .hint(format!("fuser -vm {path}"))
}

/// The fault of a path that cannot be mounted on.
fn bad_mount_point(path: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(Code::MountPointBusy, format!("{} cannot be mounted on: {error}", path.display()))
}

#[cfg(test)]
mod tests;
