//! Fuzz targets: everything Weald reads that somebody else may have written.
//!
//! A target takes bytes and must end, without a panic and without memory that the bytes do not pay for. Where a checksum
//! guards what is read, the target puts the right one in first: who can write a file can also sum it. What was read is
//! looked at whole, and what says the same in bytes again must say it.
//!
//! Two ways to run them: `tests/short.rs` (a few seconds: the corpus, then changes of it from a fixed seed), and `main.rs`
//! (hours: changes chosen by the code they reach; `cargo xtask torture fuzz`). `corpus/` holds inputs that reach different
//! code. Read next: [`TARGETS`].

pub mod corpus;
pub mod mutate;
pub mod targets;

pub use targets::{TARGETS, Target, find};
