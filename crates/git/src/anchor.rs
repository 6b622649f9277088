//! Anchors: `refs/weald/anchors/<workspace id>/<record>-<hash>` in the source repository says which hash the log of a
//! workspace had at a record. Who changes the log afterwards must change the repository as well, and every copy of
//! its refs: an anchor can be pushed like any ref.
//!
//! The ref points at the base commit, which is there anyway, so an anchor adds no object to the repository. One that is
//! signed points at a tag object of that commit, whose message is the word of the anchor ([`crate::signature`]).
//! Invariant: written as pins are ([`crate::pin`]).

use crate::fault::detail;
use crate::pin::{Wait, refused, write_locked};
use crate::{ObjectFormat, Repository};
use gix::refs::transaction::{Change, PreviousValue, RefEdit, RefLog};
use weald_model::{Code, Fault, Oid, WorkspaceId};

const DIR: &str = "refs/weald/anchors";

/// Longest tag object that is looked at, in bytes: a word and a signature.
const TAG_BYTES_MAX: u64 = 1 << 20;

const HINT: &str = "make the repository writable, or keep the word that `weald anchor` prints elsewhere";

/// An anchor as its ref has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Number of the record.
    pub seq: u64,
    /// The hash over everything up to it.
    pub chain: [u8; 32],
    /// Full name of the ref.
    pub name: String,
    /// The signed tag it points at.
    pub signed: Option<SignedTag>,
}

/// A tag object with a signature, which is yet to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTag {
    /// Its id.
    pub oid: Oid,
    /// The first line of its message.
    pub says: String,
}

/// Stores an anchor and returns the name of its ref. It points at `target`, a commit or a tag of one. Durable when it
/// returns. Errors as of [`crate::pin::pin`].
pub fn put(
    source: &Repository,
    workspace: WorkspaceId,
    seq: u64,
    chain: &[u8; 32],
    target: &Oid,
) -> Result<String, Fault> {
    debug_assert_eq!(ObjectFormat::of(target), source.format(), "a ref names an object of its repository");
    let hash: String = chain.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{DIR}/{workspace}/{seq}-{hash}");
    let path = source.common_dir().join(&name);
    write_locked(source.common_dir(), &path, format!("{target}\n").as_bytes(), Wait::Durable)
        .map_err(|error| refused(source.path(), "the anchor could not be stored", &error).hint(HINT))?;
    Ok(name)
}

/// The anchors of a workspace, the lowest record first. Refs there that are no anchors are passed over.
pub fn list(source: &Repository, workspace: WorkspaceId) -> Vec<Anchor> {
    let local = source.local();
    let Ok(platform) = local.references() else { return Vec::new() };
    let prefix = format!("{DIR}/{workspace}/");
    let Ok(found) = platform.prefixed(prefix.as_str()) else { return Vec::new() };
    let refs = found.flatten().map(|reference| {
        let signed = reference.try_id().and_then(|id| signed(&local, id.detach()));
        (reference.name().as_bstr().to_string(), signed)
    });
    let mut anchors: Vec<Anchor> = refs.filter_map(|(name, signed)| read(&prefix, name, signed)).collect();
    anchors.sort_by_key(|anchor| anchor.seq);
    anchors
}

fn read(prefix: &str, name: String, signed: Option<SignedTag>) -> Option<Anchor> {
    let (seq, hash) = name.strip_prefix(prefix)?.split_once('-')?;
    let chain: [u8; 32] = Oid::from_hex(hash)?.as_bytes().try_into().ok()?;
    Some(Anchor { seq: seq.parse().ok()?, chain, name, signed })
}

/// The tag object behind a ref, if it is one that has a signature.
fn signed(local: &gix::Repository, id: gix::ObjectId) -> Option<SignedTag> {
    let header = local.find_header(id).ok()?;
    if header.kind() != gix::object::Kind::Tag || header.size() > TAG_BYTES_MAX {
        return None;
    }
    let object = local.find_object(id).ok()?;
    let text = String::from_utf8_lossy(&object.data);
    let (_, message) = text.split_once("\n\n")?;
    let says = message.lines().next()?.to_owned();
    // As git finds it: the signature begins a line.
    message.contains("\n-----BEGIN ").then_some(SignedTag { oid: Oid::new(id.as_bytes())?, says })
}

/// Removes all anchors of a workspace that is no more. None there is no error.
pub fn remove(source: &Repository, workspace: WorkspaceId) -> Result<(), Fault> {
    let failed = |why: String| {
        let path = source.path().display();
        Fault::new(Code::GitFailed, format!("the anchors in {path} could not be removed: {why}"))
    };
    let edits: Result<Vec<RefEdit>, Fault> = list(source, workspace)
        .into_iter()
        .map(|anchor| {
            Ok(RefEdit {
                change: Change::Delete { expected: PreviousValue::Any, log: RefLog::AndReference },
                name: anchor.name.as_str().try_into().map_err(|error| failed(detail(&error)))?,
                deref: false,
            })
        })
        .collect();
    let edits = edits?;
    if edits.is_empty() {
        return Ok(());
    }
    source.local().edit_references_as(edits, None).map(drop).map_err(|error| failed(detail(&error)))
}
