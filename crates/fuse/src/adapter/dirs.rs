//! READDIR and READDIRPLUS: one page per request, whatever the directory's size.
//!
//! The kernel's offsets: 0 is the start, 1 after ".", 2 after "..", and an engine cookie `c` is `c + 2`.
//! Invariant: each entry of a READDIRPLUS page but "." and ".." counts one reference, as the kernel does. Nothing but
//! the reply and the counts is touched while the engine walks, so no engine call is made from within another.

use super::Adapter;
use crate::connection::WRITE_BYTES_MAX;
use crate::reply::{Dirent, Reply};
use weald_engine::{Cookie, DirEntry};
use weald_model::{Errno, FileKind, Ino, Result};

/// Offsets used by "." and "..".
const DOTS: u64 = 2;

impl Adapter {
    pub(super) fn read_dir(
        &self,
        dir: Ino,
        offset: u64,
        size: u32,
        plus: bool,
        reply: &mut Reply,
    ) -> Result<()> {
        let limit = size.min(WRITE_BYTES_MAX) as usize;
        if !self.push_dots(dir, offset, limit, plus, reply)? {
            return Ok(());
        }
        let after = Cookie(offset.saturating_sub(DOTS));
        if plus {
            self.workspace.read_dir_attributes(dir, after, &mut |entry, attr| {
                let dirent = Dirent { generation: self.generations.of(attr), ..dirent(&entry) };
                let taken = reply.dirent(&dirent, Some(Some(attr)), limit);
                if taken {
                    self.lookups.add(attr.ino.0);
                }
                taken
            })
        } else {
            self.workspace.read_dir(dir, after, &mut |entry| reply.dirent(&dirent(&entry), None, limit))
        }
    }

    /// Appends "." and ".." as far as they are asked for. False when the page is full already.
    fn push_dots(&self, dir: Ino, offset: u64, limit: usize, plus: bool, reply: &mut Reply) -> Result<bool> {
        if offset >= DOTS {
            return Ok(true);
        }
        // A removed directory that is still open has no parent and is read as empty.
        let parent = match self.workspace.parent_of(dir) {
            Ok(parent) => parent,
            Err(Errno::NotFound) => dir,
            Err(error) => return Err(error),
        };
        let dots: [(Ino, &[u8]); 2] = [(dir, b"."), (parent, b"..")];
        for (at, (ino, name)) in (1..).zip(dots) {
            let dirent = Dirent { ino: ino.0, generation: 0, next: at, kind: FileKind::Dir, name };
            // The kernel takes no reference for these, so their node stays 0.
            if at > offset && !reply.dirent(&dirent, plus.then_some(None), limit) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn dirent<'a>(entry: &DirEntry<'a>) -> Dirent<'a> {
    Dirent { ino: entry.ino.0, generation: 0, next: entry.next.0 + DOTS, kind: entry.kind, name: entry.name }
}
