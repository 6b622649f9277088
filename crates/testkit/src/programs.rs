//! Programs that exist only in tests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use weald_engine::programs::{Program, ProgramName, Programs};

/// Knows the programs it was told of; another thread is nobody's.
#[derive(Debug, Default)]
pub struct ToldPrograms {
    by_thread: Mutex<HashMap<u32, Program>>,
}

impl ToldPrograms {
    /// Says that a thread belongs to the process `pid` of this name, from now on.
    pub fn tell(&self, thread: u32, pid: u32, name: &str) {
        let name = ProgramName::new(name.as_bytes()).expect("a program in a test has a name");
        let mut known = self.by_thread.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(thread, Program { pid, name });
    }
}

impl Programs for ToldPrograms {
    fn of_thread(&self, thread: u32) -> Option<Program> {
        self.by_thread.lock().unwrap_or_else(PoisonError::into_inner).get(&thread).copied()
    }
}
