//! GETXATTR, LISTXATTR, SETXATTR.
//!
//! Invariant: with size 0 only the size is told, with too small a size ERANGE, as in getxattr(2).

use super::{Adapter, caller};
use crate::abi;
use crate::reply::Reply;
use crate::request::Header;
use weald_engine::XattrMode;
use weald_model::{Errno, Ino, Result};

impl Adapter {
    pub(super) fn get_xattr(&self, ino: Ino, name: &[u8], size: u32, reply: &mut Reply) -> Result<()> {
        tell(&self.workspace.get_xattr(ino, name)?, size, reply)
    }

    pub(super) fn list_xattr(&self, ino: Ino, size: u32, reply: &mut Reply) -> Result<()> {
        tell(&self.workspace.list_xattr(ino)?, size, reply)
    }

    pub(super) fn set_xattr(
        &self,
        header: &Header,
        name: &[u8],
        value: &[u8],
        flags: u32,
        setxattr_flags: u32,
    ) -> Result<()> {
        let mode = XattrMode::from_flags(flags)?;
        let clear_sgid = setxattr_flags & abi::SETXATTR_ACL_KILL_SGID != 0;
        self.workspace.set_xattr(&caller(header, 0), Ino(header.node), name, value, mode, clear_sgid)
    }
}

fn tell(bytes: &[u8], size: u32, reply: &mut Reply) -> Result<()> {
    if size == 0 {
        reply.xattr_size(u32::try_from(bytes.len()).map_err(|_| Errno::Range)?);
    } else if bytes.len() > size as usize {
        return Err(Errno::Range);
    } else {
        reply.data().extend_from_slice(bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_0_asks_for_the_size() {
        let mut reply = Reply::default();
        reply.start();
        tell(b"value", 0, &mut reply).unwrap();
        assert_eq!(reply.finish(1)[16..], [&5u32.to_ne_bytes()[..], &[0; 4]].concat());
    }

    #[test]
    fn a_buffer_too_small_is_erange() {
        let mut reply = Reply::default();
        reply.start();
        assert_eq!(tell(b"value", 4, &mut reply), Err(Errno::Range));
        tell(b"value", 5, &mut reply).unwrap();
        assert_eq!(&reply.finish(1)[16..], b"value");
    }
}
