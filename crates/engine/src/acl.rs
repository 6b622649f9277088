//! POSIX access control lists as the kernel passes them (linux/posix_acl_xattr.h, version 2), and the rules of
//! POSIX.1e draft 17 that tie them to mode bits (acl(5)).
//!
//! The kernel checks access; this is what it leaves to the file system: inheritance, chmod, and mode bits.

use weald_model::{Errno, Result};

/// Name of the access list.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// Name of a directory's default list.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// A decoded list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// What a new file in a directory with a default list gets.
pub(crate) struct Inherited {
    pub(crate) perm: u32,
    /// None when the mode bits say it all.
    pub(crate) access: Option<Acl>,
}

impl Acl {
    /// Decodes an attribute value; EINVAL for anything that is not a list with its three obligatory entries.
    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let (version, rest) = value.split_first_chunk::<4>().ok_or(Errno::Invalid)?;
        let (entries, odd) = rest.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !odd.is_empty() {
            return Err(Errno::Invalid);
        }
        let entry = |e: &[u8; 8]| Entry {
            tag: u16::from_le_bytes([e[0], e[1]]),
            perm: u16::from_le_bytes([e[2], e[3]]),
            id: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
        };
        let acl = Self(entries.iter().map(entry).collect());
        let obligatory = [USER_OBJ, GROUP_OBJ, OTHER];
        if obligatory.iter().all(|tag| acl.perm_of(*tag).is_some()) { Ok(acl) } else { Err(Errno::Invalid) }
    }

    /// Encodes as an attribute value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend(entry.tag.to_le_bytes());
            value.extend(entry.perm.to_le_bytes());
            value.extend(entry.id.to_le_bytes());
        }
        value
    }

    /// The nine permission bits this list stands for.
    pub(crate) fn mode(&self) -> u32 {
        let of = |tag| u32::from(self.perm_of(tag).unwrap_or(0) & 7);
        of(USER_OBJ) << 6 | of(self.group_class()) << 3 | of(OTHER)
    }

    /// True when the mode bits say all that the list says.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// Follows a chmod.
    pub(crate) fn set_mode(&mut self, mode: u32) {
        let group = self.group_class();
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.perm = (mode >> 6 & 7) as u16,
                OTHER => entry.perm = (mode & 7) as u16,
                tag if tag == group => entry.perm = (mode >> 3 & 7) as u16,
                _ => {}
            }
        }
    }

    /// Applies this default list to a new file asked for with `perm`.
    pub(crate) fn inherit(&self, perm: u32) -> Inherited {
        let mut access = self.clone();
        access.set_mode(self.mode() & perm);
        let perm = perm & !0o777 | access.mode();
        Inherited { perm, access: (!access.is_minimal()).then_some(access) }
    }

    fn group_class(&self) -> u16 {
        if self.perm_of(MASK).is_some() { MASK } else { GROUP_OBJ }
    }

    fn perm_of(&self, tag: u16) -> Option<u16> {
        self.0.iter().find(|entry| entry.tag == tag).map(|entry| entry.perm)
    }
}

#[cfg(test)]
mod tests {
    //! Rules of acl(5).
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Acl {
        Acl(entries.iter().map(|(tag, perm)| Entry { tag: *tag, perm: *perm, id: 1000 }).collect())
    }

    #[test]
    fn a_list_survives_encoding_and_damage_is_refused() {
        let list = acl(&[(USER_OBJ, 7), (2, 5), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0)]);
        let value = list.encode();
        assert_eq!(Acl::decode(&value), Ok(list));
        assert_eq!(Acl::decode(&value[..value.len() - 1]), Err(Errno::Invalid));
        assert_eq!(Acl::decode(b""), Err(Errno::Invalid));
        assert_eq!(Acl::decode(&acl(&[(USER_OBJ, 7)]).encode()), Err(Errno::Invalid));
    }

    #[test]
    fn the_mask_is_the_group_class() {
        let mut list = acl(&[(USER_OBJ, 7), (2, 7), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0)]);
        assert_eq!(list.mode(), 0o770);
        list.set_mode(0o640);
        assert_eq!(list.mode(), 0o640);
        assert_eq!(list.perm_of(GROUP_OBJ), Some(5));
    }

    #[test]
    fn a_new_file_gets_the_default_list_cut_by_its_mode() {
        let list = acl(&[(USER_OBJ, 7), (2, 7), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 5)]);
        let inherited = list.inherit(0o2664);
        assert_eq!(inherited.perm, 0o2664);
        assert_eq!(inherited.access.map(|access| access.mode()), Some(0o664));
        assert!(acl(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 5)]).inherit(0o666).access.is_none());
    }
}
