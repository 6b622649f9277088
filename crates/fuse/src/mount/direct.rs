//! Mounting with mount(2), as root.

use super::{Access, FS_TYPE, MountOptions, SOURCE_PREFIX, bad_mount_point};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use weald_model::{Code, Fault};

/// The character device of FUSE.
pub(super) const DEVICE: &str = "/dev/fuse";

pub(super) fn mount(options: &MountOptions) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(no_device)?;
    let everybody = if options.access == Access::Everybody { ",allow_other" } else { "" };
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{everybody}",
        device.as_raw_fd(),
        options.uid,
        options.gid
    );
    let data = CString::new(data).expect("numbers and constants hold no NUL");
    let source = format!("{SOURCE_PREFIX}{}", options.name);
    // Root's own workspace is a file system like any other: suid bits and devices work. Somebody else's must not
    // lend root's powers.
    let foreign = if options.uid == 0 { MountFlags::empty() } else { MountFlags::NOSUID | MountFlags::NODEV };
    rustix::mount::mount(source, &options.path, FS_TYPE, foreign, Some(data.as_c_str())).map_err(
        |error| match error {
            Errno::NODEV => no_device(error),
            Errno::PERM => Fault::new(Code::NotAllowed, "mounting is not allowed here (no CAP_SYS_ADMIN)"),
            _ => bad_mount_point(&options.path, &error),
        },
    )?;
    Ok(device)
}

fn no_device(error: Errno) -> Fault {
    let fault = Fault::new(Code::NoFuse, format!("{DEVICE} cannot be used: {error}"));
    match error {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => fault.hint("modprobe fuse"),
        _ => fault,
    }
}
