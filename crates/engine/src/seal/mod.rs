//! Sealed snapshots: a state under one hash, readable without its log.
//!
//! A sealed snapshot is a header and two sorted trees of pages, of inodes and of names, whose files are recipes of chunks;
//! all of these are objects in the store of chunks, and the hash of the header, the **root**, depends on what the
//! snapshot shows and on nothing else. Beside it lies a **checkpoint**: what the state behind the snapshot's record has
//! that the snapshot does not show (extents, open files without a name, history), so that opening the workspace can
//! begin there instead of at its first record.
//!
//! Invariants: a root made from an earlier one is the one made from nothing; a record names a root only when all its
//! objects are durable; nothing that is sealed is needed to open a workspace.
//! Read next: `tree` (pages), `recipe` (content), `make` and `read`, docs/decisions/0006-sealing.md.

mod aside;
mod check;
mod cut;
mod entry;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod header;
mod make;
mod memory;
mod object;
mod read;
mod recipe;
mod store;
mod tree;

pub(crate) use aside::Aside;
pub(crate) use check::reach;
pub use check::{SealCheck, check_seals};
pub(crate) use header::{Checkpoint, Header};
pub(crate) use make::Earlier;
pub use object::{Objects, SealError};
pub(crate) use read::{checkpointed_state, recipes, sealed_state};
pub(crate) use recipe::{Item, Kitchen};
pub use store::Store;
