//! What a log says that is part of no state, kept with a checkpoint: so that opening there needs no record before it.
//!
//! Invariant: it holds at least what the records up to the checkpoint's say, and nothing that no record before the one
//! that names the checkpoint says; taking a record's news twice changes nothing.

use super::object::{Objects, SealError};
use super::tree;
use crate::programs::ProgramName;
use crate::record::{Change, Malformed, Reader, Writer};
use std::collections::BTreeMap;
use weald_store::cas::Hash;
use weald_store::log::reclaim::Piece;

/// What kind of entry a key is of: its first byte.
const GIVEN_BACK: u8 = 1;
const MOVED: u8 = 2;
const PROGRAM: u8 = 3;

/// News of a log up to some record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    /// Pieces of its data segments that were given back.
    pub(crate) given_back: Vec<Piece>,
    /// Pieces that were moved, and the table that says where to.
    pub(crate) moved: Vec<(Piece, Hash)>,
    /// The numbers of programs.
    pub(crate) programs: Vec<(u32, ProgramName)>,
}

impl Aside {
    /// Puts it as a tree, and returns the root of that.
    pub(super) fn put(&self, objects: &dyn Objects) -> Result<Hash, SealError> {
        let mut entries: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let value = |fill: &dyn Fn(&mut Writer<'_>)| {
            let mut bytes = Vec::new();
            fill(&mut Writer(&mut bytes));
            Some(bytes)
        };
        for piece in &self.given_back {
            entries.insert(piece_key(GIVEN_BACK, piece), value(&|w| w.number(piece.to)));
        }
        for (piece, table) in &self.moved {
            let told = value(&|w| {
                w.number(piece.to);
                w.raw(table);
            });
            entries.insert(piece_key(MOVED, piece), told);
        }
        for (number, name) in &self.programs {
            let key = [&[PROGRAM][..], &number.to_be_bytes()].concat();
            entries.insert(key, Some(name.as_bytes().to_vec()));
        }
        tree::update(objects, None, entries.into_iter().map(Ok))
    }

    /// Reads it back.
    pub(crate) fn read(objects: &dyn Objects, root: &Hash) -> Result<Self, SealError> {
        let mut aside = Self::default();
        tree::walk(objects, root, &[], &mut |key, value| {
            aside.take(key, value).map_err(|Malformed(why)| SealError::Malformed(*root, why))?;
            Ok(true)
        })?;
        Ok(aside)
    }

    /// The same as changes, as the log's records have them.
    pub(crate) fn changes(self) -> impl Iterator<Item = Change> {
        let given_back = Some(self.given_back).filter(|pieces| !pieces.is_empty());
        let given_back = given_back.map(|pieces| Change::Reclaimed { pieces });
        let moved = self.moved.into_iter().map(|(piece, table)| Change::Moved { table, pieces: vec![piece] });
        let programs = self.programs.into_iter().map(|(number, name)| Change::Program { number, name });
        given_back.into_iter().chain(moved).chain(programs)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let wrong = Malformed("an entry beside a state");
        let (kind, key) = key.split_first().ok_or(Malformed("an entry beside a state"))?;
        let mut r = Reader(value);
        match *kind {
            GIVEN_BACK => self.given_back.push(piece(key, r.number()?)?),
            MOVED => {
                let piece = piece(key, r.number()?)?;
                self.moved.push((piece, r.raw()?));
            }
            PROGRAM => {
                let number = key.try_into().map(u32::from_be_bytes).map_err(|_| Malformed("a number"))?;
                self.programs.push((number, ProgramName::new(value).ok_or(Malformed("a program's name"))?));
                r = Reader(&[]);
            }
            _ => return Err(wrong),
        }
        if r.0.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn piece_key(kind: u8, piece: &Piece) -> Vec<u8> {
    [&[kind][..], &piece.file.to_be_bytes(), &piece.from.to_be_bytes()].concat()
}

fn piece(key: &[u8], to: u64) -> Result<Piece, Malformed> {
    let wrong = || Malformed("the key of a piece");
    let (file, from) = key.split_at_checked(4).ok_or_else(wrong)?;
    let file = file.try_into().map(u32::from_be_bytes).map_err(|_| wrong())?;
    let from = from.try_into().map(u64::from_be_bytes).map_err(|_| wrong())?;
    if from < to { Ok(Piece { file, from, to }) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    #[test]
    fn what_lies_beside_a_state_is_read_as_it_was_put() {
        let objects = Memory::default();
        let piece = |from| Piece { file: 1 << 31, from, to: from + 8192 };
        let name = |at: u32| ProgramName::new(format!("program {at}").as_bytes()).unwrap();
        let aside = Aside {
            given_back: (0..500).map(|at| piece(at * 20_000)).collect(),
            moved: (0..500).map(|at| (piece(at * 20_000 + 10_000), [at as u8; 32])).collect(),
            programs: (1..300).map(|at| (at, name(at))).collect(),
        };
        let root = aside.put(&objects).unwrap();
        assert_eq!(Aside::read(&objects, &root).unwrap(), aside);
        let empty = Aside::default().put(&objects).unwrap();
        assert_eq!(Aside::read(&objects, &empty).unwrap(), Aside::default());
        assert!(Aside::default().take(&[9, 0], &[]).is_err() && Aside::default().take(&[], &[]).is_err());
    }
}
