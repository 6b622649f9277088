//! Locks and atomics: those of the standard library or, with the feature `shuttle`, ones whose interleavings a test chooses.
//!
//! Only what threads wait for each other with is taken from here: the log and the store of chunks. What is a lock for a moment
//! with nothing beneath it may be the standard library's in both cases.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};
