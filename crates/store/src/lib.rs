//! The durable bytes of Weald: manifests of base trees, the log of each workspace, content by hash, the registry.
//!
//! Invariant: bytes read back from disk are checked before they are believed; damage is an error, never a panic, and
//! never silently less data. Nothing here knows what a workspace or a file system is.
//! Read next: [`disk`] (the only door to the host), then [`log`] and [`manifest`]; docs/format.md has every byte.

pub mod cas;
pub mod chunks;
pub mod content_packs;
pub mod disk;
mod expand;
pub mod home;
pub mod log;
pub mod manifest;
pub mod publish;
pub mod registry;
mod sync;

/// Why locks of this crate are taken with `expect`: a panic inside one is a bug, and going on could write nonsense.
pub(crate) const NOT_POISONED: &str = "no code panics while it holds this lock";
