//! Which program made a change: a number in each record, and a record that says which name a number stands for.
//!
//! Invariant: in a log, a number is defined before it is used; a later definition of a number replaces the earlier.
//! Reading a log in order therefore tells every record's program. Number 0 is "not known".

use std::collections::HashMap;

/// Longest name of a program in bytes, as the kernel keeps it (`TASK_COMM_LEN`, proc_pid_comm(5)).
pub const PROGRAM_NAME_BYTES_MAX: usize = 15;

/// Names a log has numbers for at a time. A build knows some dozens; a program that renames itself for ever only
/// starts the numbering anew.
const NAMES_MAX: usize = 1_000;

/// The name of a program, at most [`PROGRAM_NAME_BYTES_MAX`] bytes, not empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProgramName {
    len: u8,
    bytes: [u8; PROGRAM_NAME_BYTES_MAX],
}

impl ProgramName {
    /// Takes the first bytes of a name; None when there are none.
    pub fn new(name: &[u8]) -> Option<Self> {
        let name = &name[..name.len().min(PROGRAM_NAME_BYTES_MAX)];
        let mut bytes = [0; PROGRAM_NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        (!name.is_empty()).then_some(Self { len: name.len() as u8, bytes })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for ProgramName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// A program that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its process, also when one of its threads was asked for.
    pub pid: u32,
    /// Its name at this moment.
    pub name: ProgramName,
}

/// Tells who processes are. Called with no lock held, for every change: it must be quick.
pub trait Programs: Send + Sync {
    /// The program a thread belongs to; None when it is gone or cannot be seen.
    fn of_thread(&self, thread: u32) -> Option<Program>;
}

/// Who makes a change, as a record has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) name: Option<ProgramName>,
    pub(crate) request: u64,
}

/// The numbers of a log.
#[derive(Debug, Default)]
pub(crate) struct ProgramNumbers {
    by_name: HashMap<ProgramName, u32>,
}

impl ProgramNumbers {
    /// The number of a name that has one.
    pub(crate) fn get(&self, name: ProgramName) -> Option<u32> {
        self.by_name.get(&name).copied()
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<(u32, ProgramName)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(name, number)| (*number, *name)).collect();
        all.sort_by_key(|(number, _)| *number);
        all
    }

    /// The number a new name is to be defined with.
    pub(crate) fn next(&self) -> u32 {
        if self.by_name.len() >= NAMES_MAX { 1 } else { self.by_name.len() as u32 + 1 }
    }

    /// Takes a definition that is in the log.
    pub(crate) fn define(&mut self, number: u32, name: ProgramName) {
        if number as usize <= self.by_name.len() {
            self.by_name.retain(|_, old| *old < number);
        }
        self.by_name.insert(name, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> ProgramName {
        ProgramName::new(format!("program-{number}").as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_cut_as_the_kernel_cuts_it_and_is_never_empty() {
        assert_eq!(ProgramName::new(b"a-very-long-program").unwrap().as_bytes(), b"a-very-long-pro");
        assert_eq!(ProgramName::new(b""), None);
    }

    #[test]
    fn more_names_than_there_is_room_for_start_the_numbering_anew() {
        let mut numbers = ProgramNumbers::default();
        for at in 0..2 * NAMES_MAX + 7 {
            assert_eq!(numbers.get(name(at)), None);
            let next = numbers.next();
            assert_eq!(next as usize, at % NAMES_MAX + 1);
            numbers.define(next, name(at));
            assert_eq!(numbers.get(name(at)), Some(next));
            assert!(numbers.by_name.len() <= NAMES_MAX);
        }
        assert_eq!(numbers.get(name(0)), None);
    }
}
