//! The nouns of Weald: ids, names, attributes, error kinds, and the two traits everything else is
//! parameterised by: [`Source`] (where base content comes from) and [`Env`] (clock and randomness).
//!
//! Invariant: nothing here touches a disk, a socket or a clock. Read [`name`] and [`attr`] first.

pub mod attr;
pub mod env;
pub mod error;
pub mod fault;
pub mod id;
pub mod name;
pub mod source;
pub mod wait;

pub use attr::{Attr, Caller, FileKind, SetAttr, SetTime, Timestamp};
pub use env::{Env, HostEnv};
pub use error::{Errno, Result};
pub use fault::{Code, Fault};
pub use id::{Ino, Oid, SnapshotId, WorkspaceId};
pub use name::{Name, NameError, WorkspaceName};
pub use source::{Progress, Silent, Source, SourceError, TreeEntry, TreeKind};
pub use wait::Wait;
