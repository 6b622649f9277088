//! What tests of several crates share: a reference file system, random operations, a disk that crashes, sources
//! in memory, one of them far away, a clock that tests move, a builder of real git repositories, and exact comparison of trees.
//!
//! Invariant: nothing here is part of the product; it may depend on everything, and only tests depend on it.
//! Read next: [`mod@reference`] (the meaning of every operation), [`operation`] (how both sides are driven),
//! [`crash_disk`] (what a crash may do).

pub mod clock;
pub mod compare;
pub mod crash_disk;
pub mod differential;
pub mod file_system;
pub mod found;
pub mod host;
pub mod lazy;
pub mod operation;
pub mod programs;
pub mod reference;
pub mod repo;
pub mod server;
pub mod source;
pub mod ssh_server;
pub mod strategy;
pub mod tree_compare;

/// Number of random cases a property test runs: `WEALD_CASES` if set, else `default`.
pub fn cases(default: u32) -> u32 {
    setting("WEALD_CASES").unwrap_or(default)
}

/// Number of operations of a long run: `WEALD_OPERATIONS` if set, else `default`.
pub fn operations(default: u64) -> u64 {
    setting("WEALD_OPERATIONS").unwrap_or(default)
}

/// The first seed of a random run: `WEALD_SEED` if set, else `default`.
pub fn seed(default: u64) -> u64 {
    setting("WEALD_SEED").unwrap_or(default)
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
