//! Which requests of a front end are in the log, and what they did.
//!
//! A front end that dies between a change and the answer leaves a request that is sent again to the next one. Its record
//! has its number, so that the next one answers what happened and does not do it twice: a second mkdir(2) would fail.
//! Invariant: only the last [`REQUESTS_MAX`] are known, far more than can be without an answer at a time.

use crate::record::{Change, Record};
use std::collections::VecDeque;
use weald_model::Ino;

/// Requests remembered.
const REQUESTS_MAX: usize = 4096;

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It made this inode.
    Made(Ino),
    /// It copied so many bytes.
    Copied(u64),
    /// Something else, of which its answer says nothing.
    Changed,
}

/// The last requests that are in a log.
#[derive(Debug, Default)]
pub struct Requests {
    last: VecDeque<(u64, Done)>,
}

impl Requests {
    /// What a request did; None when no record is of it.
    pub fn get(&self, request: u64) -> Option<Done> {
        self.last.iter().rev().find(|(known, _)| *known == request).map(|(_, done)| *done)
    }

    /// Takes a record's bytes. One that cannot be read is refused elsewhere.
    pub(crate) fn look(&mut self, bytes: &[u8]) {
        let Some(request) = Record::request(bytes).ok().filter(|request| *request != 0) else { return };
        let Ok(record) = Record::decode(bytes) else { return };
        let done = match record.change {
            Change::Make(make) => Done::Made(make.ino),
            Change::Copy { len, .. } => Done::Copied(len),
            _ => Done::Changed,
        };
        if self.last.len() == REQUESTS_MAX {
            self.last.pop_front();
        }
        self.last.push_back((request, done));
    }
}
