//! Mounting through the setuid program `fusermount3`, as an ordinary user.
//!
//! It opens `/dev/fuse`, mounts (always nosuid and nodev), and passes the descriptor over a socket named by the
//! environment variable `_FUSE_COMMFD`: libfuse's protocol, unchanged since version 2.

use super::{Access, MountOptions, SOURCE_PREFIX, Unmount, Unmounted, bad_mount_point, in_use};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use weald_model::{Code, Fault};

const PROGRAM: &str = "fusermount3";

pub(super) fn mount(options: &MountOptions) -> Result<OwnedFd, Fault> {
    if !Path::new(super::direct::DEVICE).exists() {
        return Err(Fault::new(Code::NoFuse, "/dev/fuse does not exist").hint("sudo modprobe fuse"));
    }
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| Fault::host("making a socket for fusermount3", &error.into()))?;
    // Its end becomes standard input: the one descriptor that Command passes on without unsafe code.
    let child = Command::new(PROGRAM)
        .arg("-o")
        .arg(mount_words(options))
        .arg("--")
        .arg(&options.path)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| no_program(&error))?;
    let device = receive_descriptor(&ours);
    let (succeeded, words) = finish(child)?;
    match device {
        Some(device) if succeeded => Ok(device),
        _ => Err(refused(options, &words)),
    }
}

pub(super) fn unmount(path: &Path, how: Unmount) -> Result<Unmounted, Fault> {
    let mut command = Command::new(PROGRAM);
    command.arg("-u");
    if how == Unmount::Lazy {
        command.arg("-z");
    }
    let child = command
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| no_program(&error))?;
    let (succeeded, words) = finish(child)?;
    if succeeded {
        return Ok(Unmounted::Done);
    }
    if words.contains("busy") {
        return Err(in_use(path));
    }
    if words.contains("not found in") || words.contains("Invalid argument") {
        return Ok(Unmounted::NotThere);
    }
    Err(Fault::new(Code::NotAllowed, format!("{} cannot be unmounted: {words}", path.display())))
}

fn mount_words(options: &MountOptions) -> String {
    // fusermount3 ends a value at a comma unless a backslash precedes it.
    let name = options.name.replace('\\', "\\\\").replace(',', "\\,");
    let everybody = if options.access == Access::Everybody { ",allow_other" } else { "" };
    format!("fsname={SOURCE_PREFIX}{name},subtype=weald,default_permissions{everybody}")
}

/// Waits for the descriptor; `None` when the program ended without sending one.
fn receive_descriptor(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

fn finish(mut child: Child) -> Result<(bool, String), Fault> {
    /// More than any message of fusermount3.
    const WORDS_BYTES_MAX: u64 = 4096;
    let mut words = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What it says is only shown; without it the exit code still tells.
        let _ = stderr.take(WORDS_BYTES_MAX).read_to_end(&mut words);
    }
    let status = child.wait().map_err(|error| Fault::host("waiting for fusermount3", &error))?;
    Ok((status.success(), String::from_utf8_lossy(&words).trim().to_owned()))
}

fn no_program(error: &io::Error) -> Fault {
    Fault::new(Code::NoFusermount, format!("{PROGRAM} is needed to mount as an ordinary user: {error}"))
        .hint("sudo apt-get install fuse3")
}

fn refused(options: &MountOptions, words: &str) -> Fault {
    if words.contains("user_allow_other") {
        return Fault::new(Code::NotAllowed, format!("{PROGRAM}: {words}"))
            .hint("echo user_allow_other | sudo tee -a /etc/fuse.conf");
    }
    if words.contains("/dev/fuse") || words.contains("fuse device") {
        return Fault::new(Code::NoFuse, format!("{PROGRAM}: {words}")).hint("ls -l /dev/fuse");
    }
    if words.contains("must be root") || words.contains("Operation not permitted") {
        return Fault::new(Code::NoFusermount, format!("{PROGRAM} may not mount: {words}"))
            .hint("sudo apt-get install --reinstall fuse3");
    }
    bad_mount_point(&options.path, &words)
}
