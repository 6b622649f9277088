//! The crate against the real `git` program: each test builds repositories with it, and lets it judge the result.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bombs;
mod clones;
mod damage;
mod histories;
mod pins;
mod removal;
mod repositories;
mod support;
mod workspace;
