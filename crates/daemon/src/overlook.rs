//! What counts as no step: git wrote its index anew, with other times in it and the same content.
//!
//! `git status` does that whenever it looked at something. Who looks at what an undo did must not lose the redo by it, and
//! an undo after a look must not take back the look. Invariant: nothing is overlooked but the file `.git/index`, and that
//! only while git would say the same of both.

use crate::restore::Step;
use weald_engine::{Changed, Past, Workspace};
use weald_git::index::is_refreshed;
use weald_model::{Attr, Caller, FileKind, Result};

const INDEX: &[u8] = b".git/index";
/// Largest index that is compared.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Steps looked at, at most.
const STEPS_MAX: usize = 64;
/// Attempts while programs are changing something.
const ATTEMPTS_MAX: usize = 3;

/// Goes back behind the last steps if they did nothing but refresh the index, and something can be done from there. What
/// the kernel has to forget; None when nothing was done.
pub(crate) fn refreshed_index(workspace: &Workspace, who: &Caller, step: Step) -> Result<Option<Changed>> {
    for _ in 0..ATTEMPTS_MAX {
        let now = workspace.now_past();
        let Some(to) = earliest(workspace, &now, step)? else { return Ok(None) };
        if let Some(changed) = workspace.overlook(who, &to, now.point())? {
            return Ok(Some(changed));
        }
    }
    Ok(None)
}

/// The state behind the last step that counts, when there are others after it.
fn earliest(workspace: &Workspace, now: &Past, step: Step) -> Result<Option<Past>> {
    let is_there = |past: &Past| match step {
        Step::Back => past.undo_target().is_some(),
        Step::Forward => past.redo_target().is_some(),
    };
    let (mut at, mut found) = (now.clone(), None);
    for _ in 0..STEPS_MAX {
        if step == Step::Forward && is_there(&at) {
            break;
        }
        let Some(to) = at.undo_target() else { break };
        // What cannot be shown any more cannot be gone to either: that is told by who tries.
        let Ok(past) = workspace.past(to) else { break };
        if !is_refresh(&past, now)? {
            break;
        }
        if is_there(&past) {
            found = Some(past.clone());
        }
        at = past;
    }
    Ok(found)
}

/// Whether nothing differs, or only the index, and that not in what it says.
fn is_refresh(old: &Past, new: &Past) -> Result<bool> {
    let mut index = None;
    let mut is_only_that = true;
    weald_engine::diff(old, new, &mut |difference| {
        match (difference.old, difference.new) {
            (Some(old), Some(new)) if difference.path == INDEX => index = Some((old, new)),
            _ => is_only_that = false,
        }
        is_only_that
    })?;
    let Some((was, is)) = index.filter(|_| is_only_that) else { return Ok(is_only_that) };
    let fits = |attr: &Attr| attr.kind == FileKind::File && attr.size <= INDEX_BYTES_MAX;
    if !fits(&was) || !fits(&is) {
        return Ok(false);
    }
    let bytes = |past: &Past, attr: &Attr| {
        let mut bytes = Vec::new();
        past.read(attr.ino, 0, usize::try_from(attr.size).unwrap_or(0), &mut bytes).map(|()| bytes)
    };
    Ok(is_refreshed(&bytes(old, &was)?, &bytes(new, &is)?))
}
