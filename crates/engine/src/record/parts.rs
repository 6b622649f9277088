//! A new inode and new attributes, as they lie in a record.

use super::{Fields, Make, Malformed, Reader, Writer};
use weald_model::FileKind;

impl Make {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.bool(self.place.is_some());
        if let Some((parent, name)) = &self.place {
            w.ino(*parent);
            w.bytes(name.as_bytes());
        }
        w.ino(self.ino);
        w.number(u64::from(self.kind.mode_bits() | self.perm));
        w.number(u64::from(self.uid));
        w.number(u64::from(self.gid));
        w.number(u64::from(self.rdev));
        w.bytes(&self.target);
        w.number(self.xattrs.len() as u64);
        for (name, value) in &self.xattrs {
            w.bytes(name);
            w.bytes(value);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let place = if r.bool()? { Some((r.ino()?, r.name()?)) } else { None };
        let ino = r.ino()?;
        let mode = r.small()?;
        let kind = FileKind::from_mode(mode).ok_or(Malformed("file type"))?;
        let (uid, gid, rdev) = (r.small()?, r.small()?, r.small()?);
        let target = r.bytes()?.to_vec();
        let count = r.number()?;
        let mut xattrs = Vec::new();
        for _ in 0..count {
            xattrs.push((r.bytes()?.to_vec(), r.bytes()?.to_vec()));
        }
        Ok(Self { place, ino, kind, perm: mode & 0o7777, uid, gid, rdev, target, xattrs })
    }
}

impl Fields {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.bool(self.drop_privileges);
        w.optional(self.perm.map(u64::from));
        w.optional(self.uid.map(u64::from));
        w.optional(self.gid.map(u64::from));
        w.optional(self.size);
        for time in [self.atime, self.mtime, self.ctime] {
            w.bool(time.is_some());
            if let Some(time) = time {
                w.time(time);
            }
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let drop_privileges = r.bool()?;
        let (perm, uid, gid) = (r.optional_small()?, r.optional_small()?, r.optional_small()?);
        let size = r.optional()?;
        let mut times = [None; 3];
        for time in &mut times {
            *time = if r.bool()? { Some(r.time()?) } else { None };
        }
        let [atime, mtime, ctime] = times;
        Ok(Self { perm, uid, gid, size, atime, mtime, ctime, drop_privileges })
    }
}
