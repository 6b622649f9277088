//! The trees an index says, made from its entries: what `git write-tree` does, but kept in memory.
//!
//! Directories that the index knows the tree of already (gitformat-index(5), "Cache tree") are taken as they are; git
//! marks those that something was staged in. Invariant: an index of any unusual kind gives None, and git is asked.

use crate::ObjectFormat;
use crate::hash::{object_id, to_gix};
use crate::index::read;
use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::index::entry::{Flags, Mode, Stage};
use gix::index::extension::Tree as Cached;
use gix::index::{Entry, State};
use gix::objs::Kind;
use std::collections::HashMap;

/// A tree, and those in it that are not known to be anywhere else.
pub(crate) struct Trees {
    pub(crate) root: ObjectId,
    pub(crate) new: HashMap<ObjectId, Vec<u8>>,
}

/// A directory being made.
struct Dir<'a> {
    /// Length of its path, with the slash at its end.
    prefix: usize,
    content: Vec<u8>,
    known: HashMap<&'a [u8], &'a Cached>,
}

/// An index that was read.
pub(crate) struct Staged {
    state: State,
    format: ObjectFormat,
}

impl Staged {
    /// Reads an index; None for one that is damaged or split.
    pub(crate) fn read(bytes: &[u8], format: ObjectFormat) -> Option<Self> {
        Some(Self { state: read(bytes, format)?, format })
    }

    /// Paths in conflict.
    pub(crate) fn conflicts(&self) -> Vec<Vec<u8>> {
        let conflicts = self.state.entries().iter().filter(|entry| entry.stage() != Stage::Unconflicted);
        let mut paths: Vec<_> = conflicts.map(|entry| entry.path(&self.state).to_vec()).collect();
        paths.dedup();
        paths
    }

    /// The trees; None when git has to make them.
    pub(crate) fn trees(&self) -> Option<Trees> {
        let entries = self.state.entries();
        let mut new = HashMap::new();
        let mut dirs = vec![Dir::new(0, self.state.tree())];
        // That of the innermost directory, with a slash at its end.
        let mut path: Vec<u8> = Vec::new();
        let mut at = 0;
        while let Some(entry) = entries.get(at) {
            let mode = plain(entry)?;
            let full = entry.path(&self.state).as_bytes();
            while !full.starts_with(&path) {
                self.close(&mut dirs, &mut new, &mut path)?;
            }
            let dir = dirs.last_mut()?;
            let name = &full[path.len()..];
            let Some(slash) = name.find_byte(b'/') else {
                put(&mut dir.content, mode, name, &entry.id);
                at += 1;
                continue;
            };
            let name = &name[..slash];
            let known = dir.known.get(name).copied();
            let below = &full[..path.len() + slash + 1];
            if let Some(known) = known
                && let Some(count) = known.num_entries.filter(|count| self.covers(at, *count, below))
            {
                put(&mut dir.content, b"40000", name, &known.id);
                at += count as usize;
                continue;
            }
            path = below.to_vec();
            dirs.push(Dir::new(path.len(), known));
        }
        while dirs.len() > 1 {
            self.close(&mut dirs, &mut new, &mut path)?;
        }
        let root = self.keep(&mut new, dirs.pop()?.content);
        Some(Trees { root, new })
    }

    /// Puts a directory that is complete into the one above it.
    fn close(
        &self,
        dirs: &mut Vec<Dir<'_>>,
        new: &mut HashMap<ObjectId, Vec<u8>>,
        path: &mut Vec<u8>,
    ) -> Option<()> {
        let dir = dirs.pop()?;
        let above = dirs.last_mut()?;
        let name = path.get(above.prefix..dir.prefix - 1)?;
        let id = self.keep(new, dir.content);
        put(&mut above.content, b"40000", name, &id);
        path.truncate(above.prefix);
        Some(())
    }

    fn keep(&self, new: &mut HashMap<ObjectId, Vec<u8>>, content: Vec<u8>) -> ObjectId {
        let id = to_gix(&object_id(self.format, Kind::Tree, &content));
        new.insert(id, content);
        id
    }

    /// Whether exactly so many entries lie below a directory.
    fn covers(&self, from: usize, count: u32, below: &[u8]) -> bool {
        let entries = self.state.entries();
        let is_below =
            |at: usize| entries.get(at).is_some_and(|entry| entry.path(&self.state).starts_with(below));
        let end = from + count as usize;
        count > 0 && is_below(end - 1) && !is_below(end)
    }
}

impl<'a> Dir<'a> {
    fn new(prefix: usize, known: Option<&'a Cached>) -> Self {
        let children = known.map_or(&[][..], |known| &known.children);
        let known = children.iter().map(|child| (child.name.as_slice(), child)).collect();
        Self { prefix, content: Vec::new(), known }
    }
}

fn put(content: &mut Vec<u8>, mode: &[u8], name: &[u8], id: &ObjectId) {
    content.extend_from_slice(mode);
    content.push(b' ');
    content.extend_from_slice(name);
    content.push(0);
    content.extend_from_slice(id.as_bytes());
}

/// The mode in a tree; None for what needs git: conflicts, paths only intended to be added, whole directories.
fn plain(entry: &Entry) -> Option<&'static [u8]> {
    if entry.stage() != Stage::Unconflicted || entry.flags.contains(Flags::INTENT_TO_ADD) {
        return None;
    }
    match entry.mode {
        Mode::FILE => Some(b"100644"),
        Mode::FILE_EXECUTABLE => Some(b"100755"),
        Mode::SYMLINK => Some(b"120000"),
        Mode::COMMIT => Some(b"160000"),
        _ => None,
    }
}
