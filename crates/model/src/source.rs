//! Where base content comes from. The engine knows trees and blobs, never git.

use crate::{Oid, Wait};

/// What a tree entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeKind {
    /// Regular file.
    File,
    /// Regular file with the executable bits set.
    Executable,
    /// Symbolic link; its content is the target.
    Symlink,
    /// Directory.
    Dir,
    /// A commit of another repository (submodule): an empty directory.
    Gitlink,
}

/// One entry of a tree. Names are as the source has them: unchecked, in the source's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Raw name.
    pub name: Vec<u8>,
    /// Kind.
    pub kind: TreeKind,
    /// Id of the object.
    pub oid: Oid,
}

/// Why a source could not give an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The object does not exist there.
    #[error("object {0} is missing from the source")]
    Missing(Oid),
    /// The object is damaged or of the wrong kind.
    #[error("object {0} is damaged: {1}")]
    Damaged(Oid, String),
    /// The source cannot be reached now.
    #[error("the source cannot be read: {0}")]
    Unavailable(String),
    /// The content is elsewhere and was not brought here yet; [`Source::fetch`] does that.
    #[error("the content of object {0} was not fetched yet")]
    Unfetched(Oid),
    /// Whoever waited for it was told to give up.
    #[error("interrupted")]
    Interrupted,
}

/// Immutable trees and blobs by id. Calls may block on the disk, [`Source::fetch`] on the network;
/// callers hold no lock across them.
pub trait Source: Send + Sync {
    /// Returns the entries of a tree.
    fn tree(&self, id: &Oid) -> Result<Vec<TreeEntry>, SourceError>;
    /// Returns the sizes in bytes of blobs, in the order asked, without reading their content where possible.
    fn blob_sizes(&self, ids: &[Oid]) -> Vec<Result<u64, SourceError>>;
    /// Returns the whole content of a blob, checked against its id.
    fn blob(&self, id: &Oid) -> Result<Vec<u8>, SourceError>;
    /// True when content may be elsewhere. Says the same for as long as the source exists: with it, sizes are never part
    /// of what is made from a tree.
    fn is_lazy(&self) -> bool {
        false
    }
    /// Brings the content of blobs here that [`Source::blob`] or [`Source::blob_sizes`] called
    /// [`SourceError::Unfetched`], in as few round trips as it can. The first is what somebody waits for, the others
    /// are likely to be asked for next. Returns [`SourceError::Interrupted`] soon after `wait` is cancelled.
    ///
    /// After an error some of them may be here; asking again for fewer tells which of them cannot be had.
    fn fetch(&self, ids: &[Oid], wait: &Wait) -> Result<(), SourceError> {
        let _ = wait;
        self.blob_sizes(ids).into_iter().try_for_each(|size| size.map(drop))
    }
}

/// Told how long work is going. Implementations must be cheap: it is called once per item.
pub trait Progress: Send + Sync {
    /// Starts a stage of `total` steps (0 when unknown).
    fn stage(&self, title: &str, total: u64);
    /// Adds finished steps.
    fn advance(&self, steps: u64);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _title: &str, _total: u64) {}
    fn advance(&self, _steps: u64) {}
}
