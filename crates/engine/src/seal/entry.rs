//! What a sealed snapshot says of one inode and of one name, in bytes.
//!
//! Invariant: keys are in the order of the maps they come from, and an entry decodes to exactly what was encoded.

use super::object::{Objects, SealError};
use super::recipe::{self, Recipe};
use crate::record::{Malformed, Reader, Writer, XattrList};
use crate::state::{Body, Dent, Inode, Target};
use std::sync::Arc;
use weald_model::{FileKind, Ino, Name};
use weald_store::cas::Hash;

/// Key of an inode.
pub(crate) fn ino_key(ino: Ino) -> Vec<u8> {
    ino.0.to_be_bytes().to_vec()
}

/// The inode of a key.
pub(crate) fn ino_of(key: &[u8]) -> Result<Ino, Malformed> {
    Ok(Ino(u64::from_be_bytes(key.try_into().map_err(|_| Malformed("an inode's key"))?)))
}

/// Key of a name in a directory.
pub(crate) fn name_key(dir: Ino, name: &Name) -> Vec<u8> {
    [&dir.0.to_be_bytes(), name.as_bytes()].concat()
}

/// The directory and name of a key.
pub(crate) fn name_of(key: &[u8]) -> Result<(Ino, Name), Malformed> {
    let (dir, name) = key.split_first_chunk().ok_or(Malformed("a name's key"))?;
    Ok((Ino(u64::from_be_bytes(*dir)), Name::new(name).map_err(|_| Malformed("name"))?))
}

/// Where a name leads; None hides a name of the base.
pub(crate) fn encode_dent(dent: Option<Dent>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = Writer(&mut bytes);
    w.bool(dent.is_some());
    if let Some(Dent { ino, kind, cookie }) = dent {
        w.number(ino.0);
        w.number(u64::from(kind.mode_bits()));
        w.number(cookie);
    }
    bytes
}

pub(crate) fn decode_dent(bytes: &[u8]) -> Result<Option<Dent>, Malformed> {
    let mut r = Reader(bytes);
    let dent = match r.bool()? {
        false => None,
        true => Some(Dent {
            ino: Ino(r.number()?),
            kind: FileKind::from_mode(r.small()?).ok_or(Malformed("file type"))?,
            cookie: r.number()?,
        }),
    };
    if r.0.is_empty() { Ok(dent) } else { Err(Malformed("bytes behind a name")) }
}

/// An inode of the base that is gone.
pub(crate) fn gone() -> Vec<u8> {
    vec![0]
}

/// An inode; `recipe` is that of a regular file, with the encoding of the one it came from and that one.
pub(crate) fn encode_inode(
    objects: &dyn Objects,
    inode: &Inode,
    recipe: &Recipe,
    old: Option<(&[u8], &Recipe)>,
) -> Result<Vec<u8>, SealError> {
    let mut bytes = Vec::new();
    let mut w = Writer(&mut bytes);
    w.bool(true);
    w.number(u64::from(inode.kind.mode_bits() | inode.perm));
    for number in [inode.uid, inode.gid, inode.nlink, inode.rdev] {
        w.number(u64::from(number));
    }
    w.number(inode.size);
    for time in [inode.atime, inode.mtime, inode.ctime, inode.btime] {
        w.time(time);
    }
    let none = XattrList::new();
    let xattrs = inode.xattrs.as_deref().unwrap_or(&none);
    w.number(xattrs.len() as u64);
    for (name, value) in xattrs {
        w.bytes(name);
        w.bytes(value);
    }
    match &inode.body {
        Body::Plain => {}
        Body::Dir { parent } => w.number(parent.0),
        Body::Target(Target::Own(target)) => {
            w.tag(0);
            w.bytes(target);
        }
        Body::Target(Target::Base(ino)) => {
            w.tag(1);
            w.number(ino.0);
        }
        // Last, so that it can be taken from the end of an older encoding.
        Body::File(_) => recipe::encode(objects, recipe, old, &mut w)?,
    }
    Ok(bytes)
}

/// An inode without its content, the encoding of its recipe and the recipe; None when it is gone. `part` is told the
/// objects that are read.
pub(crate) struct Decoded<'a> {
    pub(crate) inode: Inode,
    pub(crate) encoded: &'a [u8],
    pub(crate) recipe: Recipe,
}

/// Decodes an inode; the content of a regular file is left empty.
pub(crate) fn decode_inode<'a>(
    objects: &dyn Objects,
    bytes: &'a [u8],
    part: &mut dyn FnMut(&Hash) -> bool,
) -> Result<Option<Decoded<'a>>, SealError> {
    let malformed = |Malformed(why)| SealError::Malformed([0; 32], why);
    let mut r = Reader(bytes);
    let Some(inode) = plain(&mut r).map_err(malformed)? else { return Ok(None) };
    let encoded = r.0;
    let recipe = match inode.kind {
        FileKind::File => recipe::decode(objects, &mut r, part)?,
        _ => Recipe::new(),
    };
    match r.0.is_empty() {
        true => Ok(Some(Decoded { inode, encoded, recipe })),
        false => Err(malformed(Malformed("bytes behind an inode"))),
    }
}

/// Everything up to the recipe.
fn plain(r: &mut Reader<'_>) -> Result<Option<Inode>, Malformed> {
    if !r.bool()? {
        return Ok(None);
    }
    let mode = r.small()?;
    let kind = FileKind::from_mode(mode).ok_or(Malformed("file type"))?;
    let (uid, gid, nlink, rdev) = (r.small()?, r.small()?, r.small()?, r.small()?);
    let size = r.number()?;
    let (atime, mtime, ctime, btime) = (r.time()?, r.time()?, r.time()?, r.time()?);
    let count = r.number()?;
    let mut xattrs = XattrList::new();
    for _ in 0..count {
        xattrs.push((r.bytes()?.to_vec(), r.bytes()?.to_vec()));
    }
    let xattrs = (!xattrs.is_empty()).then(|| Arc::new(xattrs));
    let body = match kind {
        FileKind::File => Body::File(Default::default()),
        FileKind::Dir => Body::Dir { parent: Ino(r.number()?) },
        FileKind::Symlink => Body::Target(match r.tag()? {
            0 => Target::Own(r.bytes()?.into()),
            1 => Target::Base(Ino(r.number()?)),
            _ => return Err(Malformed("target")),
        }),
        _ => Body::Plain,
    };
    let perm = mode & 0o7777;
    Ok(Some(Inode { kind, perm, uid, gid, nlink, rdev, size, atime, mtime, ctime, btime, body, xattrs }))
}
