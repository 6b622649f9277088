//! Requests of the kernel, decoded into types.
//!
//! [`Request::decode`] never panics and never allocates: names and data borrow from the message. A message that is
//! shorter than its opcode demands is [`Malformed::Short`]; the header is still known then, so it can be answered.
//! The numbers are in [`crate::abi`], the answers in [`crate::reply`].

use crate::abi::{self, Opcode};
use crate::wire::{Cursor, Truncated};

/// What every request begins with (`fuse_in_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the operation; see [`Opcode::from_number`].
    pub opcode: u32,
    /// Id that the answer carries.
    pub unique: u64,
    /// The node asked about; a directory for operations on names.
    pub node: u64,
    /// File-system user id of the program.
    pub uid: u32,
    /// File-system group id of the program.
    pub gid: u32,
    /// Process id of the program in the mounter's pid namespace, 0 when the kernel asks by itself.
    pub pid: u32,
    /// Number of the request among those of all mounts, for the log; 0 until the connection gives it.
    pub request: u64,
}

impl Header {
    /// True when the kernel sends it again, since whoever read it first went away without an answer.
    pub fn is_resent(&self) -> bool {
        self.unique & abi::UNIQUE_RESEND != 0
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks, about what.
    pub header: Header,
    /// What is asked.
    pub operation: Operation<'a>,
}

/// Why a message is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not even a header: nothing can be answered.
    #[error("message without a whole header")]
    NoHeader,
    /// The body is too short.
    #[error("message of opcode {} is too short", .0.opcode)]
    Short(Header),
}

/// `fuse_init_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// The kernel's major version.
    pub major: u32,
    /// The kernel's minor version.
    pub minor: u32,
    /// Read-ahead the kernel would use, in bytes.
    pub max_readahead: u32,
    /// Flags offered, both words.
    pub flags: u64,
}

/// `fuse_setattr_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the structure")]
pub struct Setattr {
    pub valid: u32,
    pub size: u64,
    pub atime: (u64, u32),
    pub mtime: (u64, u32),
    pub ctime: (u64, u32),
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// `fuse_copy_file_range_in`; the header's node is the file read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the structure")]
pub struct CopyRange {
    pub from_offset: u64,
    pub to_node: u64,
    pub to_offset: u64,
    pub len: u64,
}

/// An operation with its arguments. File handles are left out: with OPEN unanswered they are always 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the structures in the kernel's header")]
pub enum Operation<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        count: u64,
    },
    BatchForget {
        list: ForgetList<'a>,
    },
    Getattr,
    Statx {
        mask: u32,
    },
    Setattr(Setattr),
    Readlink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    Mknod {
        name: &'a [u8],
        mode: u32,
        rdev: u32,
        umask: u32,
    },
    Mkdir {
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Create {
        name: &'a [u8],
        flags: u32,
        mode: u32,
        umask: u32,
    },
    Tmpfile {
        flags: u32,
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    Rmdir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        to: u64,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        target: u64,
        name: &'a [u8],
    },
    Read {
        offset: u64,
        size: u32,
    },
    Write {
        offset: u64,
        flags: u32,
        data: &'a [u8],
    },
    Statfs,
    Fsync {
        data_only: bool,
    },
    Fsyncdir {
        data_only: bool,
    },
    Syncfs,
    Setxattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
        setxattr_flags: u32,
    },
    Getxattr {
        name: &'a [u8],
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Removexattr {
        name: &'a [u8],
    },
    Init(Init),
    Destroy,
    Readdir {
        offset: u64,
        size: u32,
        plus: bool,
    },
    Interrupt {
        unique: u64,
    },
    Fallocate {
        offset: u64,
        len: u64,
        mode: u32,
    },
    Lseek {
        offset: u64,
        whence: u32,
    },
    CopyFileRange {
        range: CopyRange,
        wide: bool,
    },
    Ioctl {
        command: u32,
    },
    Open {
        flags: u32,
    },
    Release,
    Releasedir,
    NotifyReply,
    /// Known or unknown, but not supported: ENOSYS.
    Unsupported,
}

impl<'a> Request<'a> {
    /// Decodes one message as read from the transport.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = split(message).map_err(|Truncated| Malformed::NoHeader)?;
        match Operation::decode(header.opcode, body) {
            Ok(operation) => Ok(Self { header, operation }),
            Err(Truncated) => Err(Malformed::Short(header)),
        }
    }
}

/// Takes the header off, and the extensions (groups, security contexts: nothing Weald asked for) off the end.
fn split(message: &[u8]) -> Result<(Header, Cursor<'_>), Truncated> {
    let mut fields = Cursor::new(message);
    let len = fields.u32()? as usize;
    let opcode = fields.u32()?;
    let unique = fields.u64()?;
    let node = fields.u64()?;
    let (uid, gid, pid) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let extension_bytes = usize::from(fields.u16()?) * 8;
    fields.u16()?;
    let body = fields.rest();
    let claimed = len.checked_sub(abi::IN_HEADER_BYTES).ok_or(Truncated)?;
    let body_bytes = claimed.min(body.len()).checked_sub(extension_bytes).ok_or(Truncated)?;
    Ok((Header { opcode, unique, node, uid, gid, pid, request: 0 }, Cursor::new(&body[..body_bytes])))
}

impl<'a> Operation<'a> {
    fn decode(opcode: u32, mut body: Cursor<'a>) -> Result<Self, Truncated> {
        let Some(opcode) = Opcode::from_number(opcode) else { return Ok(Operation::Unsupported) };
        Ok(match opcode {
            Opcode::Lookup => Operation::Lookup { name: body.name()? },
            Opcode::Forget => Operation::Forget { count: body.u64()? },
            Opcode::BatchForget => Operation::BatchForget { list: ForgetList::decode(body)? },
            Opcode::Getattr => Operation::Getattr,
            Opcode::Statx => {
                body.take(20)?;
                Operation::Statx { mask: body.u32()? }
            }
            Opcode::Setattr => Operation::Setattr(Setattr::decode(body)?),
            Opcode::Readlink => Operation::Readlink,
            Opcode::Symlink => Operation::Symlink { name: body.name()?, target: body.name()? },
            Opcode::Mknod | Opcode::Mkdir | Opcode::Create | Opcode::Tmpfile => {
                Self::decode_new(opcode, body)?
            }
            Opcode::Unlink => Operation::Unlink { name: body.name()? },
            Opcode::Rmdir => Operation::Rmdir { name: body.name()? },
            Opcode::Rename | Opcode::Rename2 => {
                let to = body.u64()?;
                let flags = if opcode == Opcode::Rename2 { body.u32()? } else { 0 };
                body.take(if opcode == Opcode::Rename2 { 4 } else { 0 })?;
                Operation::Rename { to, flags, name: body.name()?, new_name: body.name()? }
            }
            Opcode::Link => Operation::Link { target: body.u64()?, name: body.name()? },
            Opcode::Read | Opcode::Readdir | Opcode::Readdirplus => Self::decode_read(opcode, body)?,
            Opcode::Write => Self::decode_write(body)?,
            Opcode::Statfs => Operation::Statfs,
            Opcode::Fsync | Opcode::Fsyncdir => {
                body.u64()?;
                let data_only = body.u32()? & 1 != 0;
                if opcode == Opcode::Fsync {
                    Operation::Fsync { data_only }
                } else {
                    Operation::Fsyncdir { data_only }
                }
            }
            Opcode::Syncfs => Operation::Syncfs,
            Opcode::Setxattr => Self::decode_setxattr(body)?,
            Opcode::Getxattr => {
                let size = body.u32()?;
                body.u32()?;
                Operation::Getxattr { size, name: body.name()? }
            }
            Opcode::Listxattr => Operation::Listxattr { size: body.u32()? },
            Opcode::Removexattr => Operation::Removexattr { name: body.name()? },
            Opcode::Init => Operation::Init(Init::decode(body)?),
            Opcode::Destroy => Operation::Destroy,
            Opcode::Interrupt => Operation::Interrupt { unique: body.u64()? },
            Opcode::Fallocate => {
                body.u64()?;
                Operation::Fallocate { offset: body.u64()?, len: body.u64()?, mode: body.u32()? }
            }
            Opcode::Lseek => {
                body.u64()?;
                Operation::Lseek { offset: body.u64()?, whence: body.u32()? }
            }
            Opcode::CopyFileRange | Opcode::CopyFileRange64 => Operation::CopyFileRange {
                range: CopyRange::decode(body)?,
                wide: opcode == Opcode::CopyFileRange64,
            },
            Opcode::Ioctl => {
                body.take(12)?;
                Operation::Ioctl { command: body.u32()? }
            }
            Opcode::Open => Operation::Open { flags: body.u32()? },
            Opcode::Release => Operation::Release,
            Opcode::Releasedir => Operation::Releasedir,
            Opcode::NotifyReply => Operation::NotifyReply,
            Opcode::Opendir
            | Opcode::Flush
            | Opcode::Access
            | Opcode::Getlk
            | Opcode::Setlk
            | Opcode::Setlkw
            | Opcode::Bmap
            | Opcode::Poll
            | Opcode::Setupmapping
            | Opcode::Removemapping => Operation::Unsupported,
        })
    }

    fn decode_new(opcode: Opcode, mut body: Cursor<'a>) -> Result<Self, Truncated> {
        let first = body.u32()?;
        let second = body.u32()?;
        if opcode == Opcode::Mkdir {
            return Ok(Operation::Mkdir { mode: first, umask: second, name: body.name()? });
        }
        let umask = body.u32()?;
        body.u32()?;
        Ok(match opcode {
            Opcode::Mknod => Operation::Mknod { mode: first, rdev: second, umask, name: body.name()? },
            // The kernel sends "/" for the name of a temporary file; nothing depends on it.
            Opcode::Tmpfile => Operation::Tmpfile { flags: first, mode: second, umask },
            _ => Operation::Create { flags: first, mode: second, umask, name: body.name()? },
        })
    }

    fn decode_read(opcode: Opcode, mut body: Cursor<'a>) -> Result<Self, Truncated> {
        body.u64()?;
        let offset = body.u64()?;
        let size = body.u32()?;
        Ok(match opcode {
            Opcode::Read => Operation::Read { offset, size },
            _ => Operation::Readdir { offset, size, plus: opcode == Opcode::Readdirplus },
        })
    }

    fn decode_write(mut body: Cursor<'a>) -> Result<Self, Truncated> {
        body.u64()?;
        let offset = body.u64()?;
        let size = body.u32()? as usize;
        let flags = body.u32()?;
        body.take(16)?;
        Ok(Operation::Write { offset, flags, data: body.take(size)? })
    }

    fn decode_setxattr(mut body: Cursor<'a>) -> Result<Self, Truncated> {
        // Always the long form: `crate::connection` refuses kernels that do not offer FUSE_SETXATTR_EXT.
        let size = body.u32()? as usize;
        let flags = body.u32()?;
        let setxattr_flags = body.u32()?;
        body.u32()?;
        let name = body.name()?;
        Ok(Operation::Setxattr { name, value: body.take(size)?, flags, setxattr_flags })
    }
}

impl Init {
    fn decode(mut body: Cursor<'_>) -> Result<Self, Truncated> {
        let (major, minor) = (body.u32()?, body.u32()?);
        let max_readahead = body.u32()?;
        let low = u64::from(body.u32()?);
        // Kernels before 7.36 end here.
        let high = if low & abi::init::INIT_EXT != 0 { u64::from(body.u32()?) } else { 0 };
        Ok(Self { major, minor, max_readahead, flags: low | high << 32 })
    }
}

impl Setattr {
    fn decode(mut body: Cursor<'_>) -> Result<Self, Truncated> {
        let valid = body.u32()?;
        body.take(4 + 8)?;
        let size = body.u64()?;
        body.u64()?;
        let (atime, mtime, ctime) = (body.u64()?, body.u64()?, body.u64()?);
        let (atime_nanos, mtime_nanos, ctime_nanos) = (body.u32()?, body.u32()?, body.u32()?);
        let mode = body.u32()?;
        body.u32()?;
        let (uid, gid) = (body.u32()?, body.u32()?);
        Ok(Self {
            valid,
            size,
            atime: (atime, atime_nanos),
            mtime: (mtime, mtime_nanos),
            ctime: (ctime, ctime_nanos),
            mode,
            uid,
            gid,
        })
    }
}

impl CopyRange {
    fn decode(mut body: Cursor<'_>) -> Result<Self, Truncated> {
        body.u64()?;
        let from_offset = body.u64()?;
        let to_node = body.u64()?;
        body.u64()?;
        let to_offset = body.u64()?;
        let len = body.u64()?;
        // Flags of copy_file_range(2): none are defined.
        body.u64()?;
        Ok(Self { from_offset, to_node, to_offset, len })
    }
}

/// Bytes of `fuse_forget_one`.
const FORGET_PAIR_BYTES: usize = 16;

/// The (node, count) pairs of a BATCH_FORGET, whole in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgetList<'a>(&'a [u8]);

impl<'a> ForgetList<'a> {
    fn decode(mut body: Cursor<'a>) -> Result<Self, Truncated> {
        let count = body.u32()? as usize;
        body.u32()?;
        let bytes = count.checked_mul(FORGET_PAIR_BYTES).ok_or(Truncated)?;
        Ok(Self(body.take(bytes)?))
    }

    /// The pairs, in order.
    pub fn iter(self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let (pairs, _) = self.0.as_chunks::<FORGET_PAIR_BYTES>();
        pairs.iter().map(|pair| {
            let mut fields = Cursor::new(pair);
            (fields.u64().unwrap_or_default(), fields.u64().unwrap_or_default())
        })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
pub(crate) mod tests;
