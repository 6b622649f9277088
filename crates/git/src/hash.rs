//! Object formats and hashing. SHA-1 here is plain (processor instructions, ten times faster than git's
//! collision-detecting one): it proves that bytes are the ones an id names, against damage at rest. Collisions are
//! detected where objects enter a repository, by git itself.

use gix::objs::Kind;
use sha1::Digest as _;
use weald_model::Oid;

/// The hash a repository names its objects by (gitformat-index(5), extensions.objectFormat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectFormat {
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
}

impl ObjectFormat {
    /// The word git uses in its configuration.
    pub const fn name(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        }
    }

    /// Length of an id in bytes.
    pub const fn oid_bytes(self) -> usize {
        match self {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        }
    }

    /// The format an id belongs to.
    pub fn of(oid: &Oid) -> Self {
        if oid.as_bytes().len() == 20 { ObjectFormat::Sha1 } else { ObjectFormat::Sha256 }
    }

    /// The id of the empty tree.
    pub fn empty_tree(self) -> Oid {
        object_id(self, Kind::Tree, b"")
    }

    pub(crate) const fn kind(self) -> gix::hash::Kind {
        match self {
            ObjectFormat::Sha1 => gix::hash::Kind::Sha1,
            ObjectFormat::Sha256 => gix::hash::Kind::Sha256,
        }
    }

    pub(crate) fn from_kind(kind: gix::hash::Kind) -> Option<Self> {
        match kind {
            gix::hash::Kind::Sha1 => Some(ObjectFormat::Sha1),
            gix::hash::Kind::Sha256 => Some(ObjectFormat::Sha256),
            _ => None,
        }
    }

    /// A pack of no objects (gitformat-pack(5)).
    pub fn empty_pack(self) -> Vec<u8> {
        let mut pack = b"PACK\0\0\0\x02\0\0\0\0".to_vec();
        let trailer = self.hash(&[&pack]);
        pack.extend_from_slice(trailer.as_bytes());
        pack
    }

    /// Hashes the parts one after another.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> Oid {
        let mut digest = Digest::new(self);
        parts.iter().for_each(|part| digest.update(part));
        digest.finish()
    }
}

/// A hash of bytes that come one after another.
#[derive(Clone)]
pub(crate) enum Digest {
    Sha1(sha1::Sha1),
    Sha256(gix::hash::Hasher),
}

impl Digest {
    pub(crate) fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Digest::Sha1(sha1::Sha1::new()),
            ObjectFormat::Sha256 => Digest::Sha256(gix::hash::hasher(gix::hash::Kind::Sha256)),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Digest::Sha1(hasher) => hasher.update(bytes),
            Digest::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Oid {
        let oid = match self {
            Digest::Sha1(hasher) => Oid::new(&hasher.finalize()),
            Digest::Sha256(hasher) => hasher.try_finalize().ok().and_then(|id| Oid::new(id.as_slice())),
        };
        oid.expect("a digest has the length of an id, and SHA-256 cannot fail")
    }
}

/// True when these bytes are the blob of this id.
pub fn is_blob(id: &Oid, content: &[u8]) -> bool {
    object_id(ObjectFormat::of(id), Kind::Blob, content) == *id
}

/// The id of an object with this content.
pub(crate) fn object_id(format: ObjectFormat, kind: Kind, data: &[u8]) -> Oid {
    let name: &[u8] = match kind {
        Kind::Blob => b"blob",
        Kind::Tree => b"tree",
        Kind::Commit => b"commit",
        Kind::Tag => b"tag",
    };
    format.hash(&[name, format!(" {}\0", data.len()).as_bytes(), data])
}

pub(crate) fn to_gix(oid: &Oid) -> gix::ObjectId {
    gix::ObjectId::try_from(oid.as_bytes()).expect("an Oid has 20 or 32 bytes")
}

pub(crate) fn from_gix(id: &gix::oid) -> Oid {
    Oid::new(id.as_bytes()).expect("gix ids have 20 or 32 bytes")
}
