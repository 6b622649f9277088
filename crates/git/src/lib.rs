//! Git repositories: a [`Source`](weald_model::Source) over one, and everything a workspace's own git directory
//! is made of. The only crate that knows gix.
//!
//! Invariants: nothing a repository's configuration names is ever run, but by what the user asks of his own ([`promote`],
//! [`merge`]); the repository of the user is only read, but for these and its pins ([`pin`]); bytes from a repository never panic and are checked against their id.
//!
//! Read [`repo`] first (open, resolve), then [`source`] (base content), [`index`] and [`gitdir`] (what goes into a
//! workspace), [`submodule`] (what it borrows beside that), [`mod@clone`] (copies of remotes), [`promote`] and [`merge`] (work on its way back), [`signature`] (signed
//! tags), [`mod@unpushed`] (before a workspace is removed).

pub mod anchor;
pub mod clone;
pub mod convert;
pub mod credential;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gitdir;
pub mod index;
pub mod merge;
pub mod pin;
pub mod promote;
pub mod radar;
pub mod refs;
pub mod repo;
pub mod resolve;
pub mod signature;
pub mod source;
pub mod submodule;
pub mod uncommitted;
pub mod unpushed;
pub mod url;

mod cached_tree;
mod delivery;
mod fault;
mod hash;
mod lfs;
mod pack;
mod place;
mod program;
mod scratch;
mod staged;
mod taken;
mod walk;

pub use cached_tree::{IndexNode, index_of_tree};
pub use clone::objects::{Unfetched, fetch_objects, fetch_objects_aside};
pub use clone::update::fetch;
pub use clone::{CloneRequest, Holds, clone};
pub use gitdir::{Fsmonitor, GitContent, GitDirSpec, GitFile, Promisor, can_ask_over_ipc, git_dir};
pub use hash::{ObjectFormat, is_blob};
pub use index::{IndexError, IndexStat};
pub use place::named as named_by_git_file;
pub use refs::{RefLine, Remote};
pub use repo::{Identity, Repository};
pub use resolve::Resolved;
pub use source::GitSource;
pub use uncommitted::{Uncommitted, uncommitted};
pub use unpushed::{UnpushedBranch, current_branch, unpushed, unpushed_in_modules};
