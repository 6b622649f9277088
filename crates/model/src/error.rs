//! The error of a file operation: what a program sees in `errno`.

/// The reasons a file operation fails, with the numbers of errno(3) on Linux (asm-generic/errno.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(i32)]
#[non_exhaustive]
pub enum Errno {
    /// EPERM.
    #[error("operation not permitted")]
    NotPermitted = 1,
    /// ENOENT.
    #[error("no such file or directory")]
    NotFound = 2,
    /// EINTR.
    #[error("interrupted")]
    Interrupted = 4,
    /// EIO.
    #[error("input/output error")]
    Io = 5,
    /// ENXIO.
    #[error("no such device or address")]
    NoAddress = 6,
    /// EAGAIN. The content of a base file must be fetched first; programs never see it.
    #[error("its content was not fetched yet")]
    Unfetched = 11,
    /// EACCES.
    #[error("permission denied")]
    Access = 13,
    /// EBUSY.
    #[error("busy")]
    Busy = 16,
    /// EEXIST.
    #[error("file exists")]
    Exists = 17,
    /// EXDEV.
    #[error("cross-device link")]
    CrossDevice = 18,
    /// ENOTDIR.
    #[error("not a directory")]
    NotDir = 20,
    /// EISDIR.
    #[error("is a directory")]
    IsDir = 21,
    /// EINVAL.
    #[error("invalid argument")]
    Invalid = 22,
    /// EFBIG.
    #[error("file too large")]
    TooBig = 27,
    /// ENOSPC.
    #[error("no space left on device")]
    NoSpace = 28,
    /// EROFS.
    #[error("read-only file system")]
    ReadOnly = 30,
    /// EMLINK.
    #[error("too many links")]
    TooManyLinks = 31,
    /// ERANGE.
    #[error("result too large for the buffer")]
    Range = 34,
    /// ENAMETOOLONG.
    #[error("name too long")]
    NameTooLong = 36,
    /// ENOSYS.
    #[error("not implemented")]
    NotImplemented = 38,
    /// ENOTEMPTY.
    #[error("directory not empty")]
    NotEmpty = 39,
    /// ENODATA.
    #[error("no such attribute")]
    NoData = 61,
    /// EOPNOTSUPP.
    #[error("operation not supported")]
    NotSupported = 95,
    /// ESTALE.
    #[error("stale file handle")]
    Stale = 116,
    /// EDQUOT.
    #[error("quota exceeded")]
    Quota = 122,
}

impl Errno {
    /// The number as in errno(3).
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Maps a host I/O error of the store to what the program should see: a full or read-only disk is told as
    /// such, everything else is EIO.
    pub fn from_host(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(28) => Errno::NoSpace,
            Some(122) => Errno::Quota,
            Some(27) => Errno::TooBig,
            Some(30) => Errno::ReadOnly,
            _ => Errno::Io,
        }
    }
}

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, Errno>;
