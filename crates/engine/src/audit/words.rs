//! A change in words, and what it does to names.

use super::Logged;
use super::names::Names;
use crate::record::{Change, Fields, Make, Why};
use crate::rules::{self, RuleChange};
use crate::{AllocateMode, RenameMode};
use weald_model::{FileKind, Ino, Name};
use weald_store::log::reclaim::Piece;

/// Fills in what was done, and keeps the names up to date. False for what is no act of anybody's: the end of an
/// inode that had no name any more, a size that became known.
pub(super) fn tell(change: &Change, logged: &mut Logged, names: &mut Names) -> bool {
    match change {
        Change::Origin { parent, .. } => {
            logged.operation = "begin";
            logged.detail = parent.map(|(id, seq)| format!("fork of {id} behind record {seq}"));
        }
        Change::Forked { child } => {
            logged.operation = "fork";
            logged.detail = Some(child.to_string());
        }
        Change::Make(new) => make(new, logged, names),
        Change::Link { ino, parent, name } => {
            logged.operation = "link";
            logged.path = names.path(*ino);
            logged.to = names.path_of(*parent, name);
            names.add(*parent, name, *ino, FileKind::File);
        }
        Change::Remove { parent, name } => {
            logged.path = names.path_of(*parent, name);
            let is_dir = names.remove(*parent, name).is_some_and(|(_, kind)| kind == FileKind::Dir);
            logged.operation = if is_dir { "rmdir" } else { "unlink" };
        }
        Change::Rename { from, name, to, new_name, mode, whiteout } => {
            rename((*from, name), (*to, new_name), *mode, logged, names);
            if let Some(new) = whiteout
                && let Some((parent, name)) = &new.place
            {
                names.add(*parent, name, new.ino, new.kind);
            }
        }
        Change::Set { ino, fields } => set(*ino, fields, logged, names),
        Change::SetXattr { ino, name, .. } | Change::RemoveXattr { ino, name, .. } => {
            let sets = matches!(change, Change::SetXattr { .. });
            logged.operation = if sets { "setxattr" } else { "removexattr" };
            logged.path = names.path(*ino);
            logged.detail = Some(String::from_utf8_lossy(name).into_owned());
        }
        Change::Opened { ino, executes } => {
            logged.operation = "open";
            logged.path = names.path(*ino);
            logged.detail = executes.then(|| "to execute".to_owned());
        }
        Change::Reads { on } => {
            logged.operation = "log-reads";
            logged.detail = Some(if *on { "on" } else { "off" }.to_owned());
        }
        Change::Purge { ino } => {
            names.forget(*ino);
            return false;
        }
        Change::Program { .. } | Change::Sized { .. } => return false,
        Change::Write { .. } | Change::Attach { .. } | Change::Allocate { .. } | Change::Copy { .. } => {
            content(change, logged, names);
        }
        _ => history(change, logged),
    }
    true
}

fn make(new: &Make, logged: &mut Logged, names: &mut Names) {
    logged.operation = match (new.kind, &new.place) {
        (_, None) => "tmpfile",
        (FileKind::File, _) => "create",
        (FileKind::Dir, _) => "mkdir",
        (FileKind::Symlink, _) => "symlink",
        _ => "mknod",
    };
    logged.detail = Some(match new.kind {
        FileKind::Symlink => String::from_utf8_lossy(&new.target).into_owned(),
        _ => format!("{:04o}", new.perm),
    });
    if let Some((parent, name)) = &new.place {
        logged.path = names.path_of(*parent, name);
        names.add(*parent, name, new.ino, new.kind);
    }
}

fn rename(
    (from, name): (Ino, &Name),
    (to, new_name): (Ino, &Name),
    mode: RenameMode,
    logged: &mut Logged,
    names: &mut Names,
) {
    logged.operation = if mode == RenameMode::Exchange { "exchange" } else { "rename" };
    logged.path = names.path_of(from, name);
    logged.to = names.path_of(to, new_name);
    let replaced = names.remove(to, new_name);
    if let Some((ino, kind)) = names.remove(from, name) {
        names.add(to, new_name, ino, kind);
    }
    if let (RenameMode::Exchange, Some((ino, kind))) = (mode, replaced) {
        names.add(from, name, ino, kind);
    }
}

fn set(ino: Ino, fields: &Fields, logged: &mut Logged, names: &Names) {
    logged.path = names.path(ino);
    logged.operation = match fields {
        Fields { size: Some(_), .. } => "truncate",
        Fields { uid: Some(_), .. } | Fields { gid: Some(_), .. } => "chown",
        Fields { perm: Some(_), .. } => "chmod",
        _ => "utimes",
    };
    logged.bytes = fields.size;
    let id = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    logged.detail = match logged.operation {
        "chown" => Some(format!("{}:{}", id(fields.uid), id(fields.gid))),
        "chmod" => fields.perm.map(|perm| format!("{perm:04o}")),
        _ => None,
    };
}

fn content(change: &Change, logged: &mut Logged, names: &Names) {
    let (ino, operation) = match change {
        Change::Write { ino, offset, len, .. } => {
            (logged.offset, logged.bytes) = (Some(*offset), Some(u64::from(*len)));
            (*ino, "write")
        }
        Change::Attach { ino, len, .. } => {
            logged.bytes = Some(*len);
            (*ino, "attach")
        }
        Change::Allocate { ino, offset, len, mode, .. } => {
            (logged.offset, logged.bytes) = (Some(*offset), Some(*len));
            let word = match mode {
                AllocateMode::Grow | AllocateMode::KeepSize => "allocate",
                AllocateMode::PunchHole => "punch",
                AllocateMode::ZeroGrow | AllocateMode::ZeroKeepSize => "zero",
            };
            (*ino, word)
        }
        Change::Copy { from, to, to_offset, len, .. } => {
            (logged.offset, logged.bytes) = (Some(*to_offset), Some(*len));
            logged.to = names.path(*to);
            (*from, "copy")
        }
        _ => return,
    };
    logged.operation = operation;
    logged.path = names.path(ino);
}

/// What is about the workspace as a whole.
fn history(change: &Change, logged: &mut Logged) {
    match change {
        Change::Snapshot { id, note, occasion, .. } => {
            logged.operation = "snapshot";
            logged.detail = Some(format!("{id} {} {note}", occasion.as_str()).trim_end().to_owned());
        }
        Change::Sealed { snapshot, seal } => {
            logged.operation = "seal";
            logged.detail = Some(format!("{snapshot} {}", weald_store::cas::hex(&seal.root)));
        }
        Change::Reclaimed { pieces } => {
            logged.operation = "give-back";
            logged.detail = Some(bytes_of(pieces));
        }
        Change::Moved { pieces, .. } => {
            logged.operation = "move-content";
            logged.detail = Some(format!("{} to chunks", bytes_of(pieces)));
        }
        Change::GivenUp { last, .. } => {
            logged.operation = "give-up";
            logged.detail = Some(format!("records up to {last}"));
        }
        Change::DropSnapshot { id } => {
            logged.operation = "drop-snapshot";
            logged.detail = Some(id.to_string());
        }
        Change::Rules(change) => {
            (logged.operation, logged.detail) = match &**change {
                RuleChange::Set(rules) => ("rules", Some(rules::told(rules))),
                RuleChange::Stopped => ("rules-stop", Some("too many deletions".to_owned())),
                RuleChange::Confirmed { .. } => ("rules-confirm", Some("deletions are meant".to_owned())),
            };
        }
        Change::Tag { id, tags } => {
            logged.operation = "tag";
            logged.detail = Some(format!("{id} {}", tags.join(" ")).trim_end().to_owned());
        }
        Change::Restore { to, paths, why } => {
            logged.operation = match why {
                Why::Asked => "restore",
                Why::Undo => "undo",
                Why::Redo => "redo",
                Why::Overlook => "overlook",
            };
            logged.detail = Some(format!("to record {} of {}", to.seq, to.log));
            let only = paths.first().filter(|_| paths.len() == 1);
            logged.path = only.map(|path| path.iter().map(Name::as_bytes).collect::<Vec<_>>().join(&b'/'));
        }
        _ => logged.operation = "other",
    }
}

fn bytes_of(pieces: &[Piece]) -> String {
    format!("{} bytes", pieces.iter().map(|piece| piece.to - piece.from).sum::<u64>())
}
