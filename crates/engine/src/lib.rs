//! Workspaces: inodes, overlay, every file operation.
//!
//! A [`Workspace`] is a [`Base`] (an immutable manifest and the source of its content) and an overlay (everything
//! that differs), held in a persistent map whose clone is O(1). Every change is a record appended to the
//! workspace's log and then applied; replaying the log applies the same records, so there is one way to change.
//!
//! Invariants: no protocol type, no git, no async. No lock is held across a call to a source.
//! Read next: [`workspace`] (the public operations), `state` (what a record does), `record` (what the log holds),
//! `travel` (going to the past and back).

mod acl;
mod attributes;
pub mod audit;
mod base;
mod changes;
mod content;
mod diff;
mod far;
mod fetching;
mod files;
mod floor;
pub mod flush;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod given_back;
mod history;
mod kept;
mod moved;
pub mod moving;
mod names;
pub mod needed;
mod opening;
mod past;
mod persistent_map;
pub mod programs;
pub mod reach;
mod reads;
mod record;
mod replay;
mod requests;
pub mod room;
mod rules;
pub mod seal;
mod sealing;
mod shared;
pub mod shortening;
mod state;
mod travel;
mod types;
pub mod verify;
pub mod workspace;

pub use base::Base;
pub use changes::{Changes, Since};
pub use diff::{Difference, diff};
pub use history::{Changed, Occasion, Point, Seal, Snapshot};
pub use past::Past;
pub use requests::{Done, Requests};
pub use rules::{DeletionLimit, PathRule, Rules, RulesNow};
pub use sealing::{Placed, SealJob, Sealed};
pub use shared::Shared;
pub use types::{AllocateMode, Cookie, DirEntry, RemovedEntry, RenameMode, Seek, StatFs, Summary, XattrMode};
pub use workspace::{OpenError, Origin, Workspace};
