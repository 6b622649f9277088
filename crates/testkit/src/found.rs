//! What random tests found once: operations that every file system here, and the host's, is asked for each time.

use crate::operation::{Data, GOOD_NAMES, Operation, Place};
use weald_engine::RenameMode;
use weald_model::FileKind;

/// Every operation with a name that is too long in a directory that was removed and is held: there is no such name
/// (ENOENT), as the kernel does not ask for it.
pub fn names_too_long_in_a_removed_directory() -> Vec<Operation> {
    let dir = Place::at(&[1]);
    let at = || Place { slot: Some(2), path: vec![GOOD_NAMES] };
    let file = || Place::at(&[0]);
    vec![
        Operation::MakeNode { at: file(), kind: FileKind::File, perm: 0o644 },
        Operation::MakeNode { at: dir.clone(), kind: FileKind::Dir, perm: 0o755 },
        Operation::Hold { at: dir.clone(), slot: 2 },
        Operation::Rmdir { at: dir },
        Operation::MakeNode { at: at(), kind: FileKind::File, perm: 0o644 },
        Operation::MakeNode { at: at(), kind: FileKind::Dir, perm: 0o755 },
        Operation::MakeSymlink { at: at(), target: Data { seed: 1, len: 5 } },
        Operation::Link { from: file(), to: at() },
        Operation::Unlink { at: at() },
        Operation::Rmdir { at: at() },
        Operation::Rename { from: file(), to: at(), mode: RenameMode::Replace },
        Operation::Rename { from: at(), to: file(), mode: RenameMode::Exchange },
        Operation::Hold { at: at(), slot: 1 },
        Operation::Chmod { at: at(), perm: 0o600 },
    ]
}
