//! Anchors: what the log of a workspace was at a moment, kept where who changes the log does not get at it.
//!
//! An anchor is one word, `<workspace id>:<record>:<hash>`. A user keeps it anywhere, or as a ref in the source
//! repository. Besides, the daemon keeps the last head of each log in the home, below `anchors`, whenever it lets
//! go of a workspace: that tells a log which lost its end to a disk or a copy, not one that somebody forged.
//! Invariant: what is kept was durable before. Read next: `verify`, which compares.

use crate::entry::Entry;
use crate::forest::Forest;
use crate::note;
use crate::protocol::Target;
use crate::report::{Anchored, Moment};
use crate::stores::Stores;
use std::path::PathBuf;
use weald_engine::Workspace;
use weald_git::Repository;
use weald_model::{Code, Errno, Fault, Oid, WorkspaceId};
use weald_store::cas::{from_hex, hex};
use weald_store::log::Head;

/// Directory of kept heads in the home.
const DIR: &str = "anchors";

/// Writes an anchor as one word.
pub(crate) fn word(id: WorkspaceId, head: &Head) -> String {
    format!("{id}:{}:{}", head.seq, hex(&head.chain))
}

/// Reads the word of an anchor.
pub(crate) fn parse(word: &str) -> Option<(WorkspaceId, Head)> {
    let mut parts = word.trim().split(':');
    let (id, seq, chain) = (parts.next()?, parts.next()?, parts.next()?);
    let head = Head { seq: seq.parse().ok()?, chain: from_hex(chain)? };
    parts.next().is_none().then_some((WorkspaceId::from_hex(id)?, head))
}

impl Stores {
    /// The file with the last head of a log.
    pub(crate) fn head_file(&self, id: WorkspaceId) -> PathBuf {
        self.home.paths().root().join(DIR).join(id.to_string())
    }

    /// Makes a loaded workspace durable, and keeps its head. Failing to keep that is noted and harms nothing.
    pub(crate) fn keep_head(&self, id: WorkspaceId, workspace: &Workspace) -> Result<(), Errno> {
        let head = workspace.head();
        workspace.sync()?;
        let (path, text) = (self.head_file(id), format!("{}\n", word(id, &head)));
        let is_known = std::fs::read(&path).is_ok_and(|there| there == text.as_bytes());
        if is_known {
            return Ok(());
        }
        // Not waited for: an older head, or none, is true as well.
        let fresh = path.with_extension("new");
        let written = std::fs::create_dir_all(self.home.paths().root().join(DIR))
            .and_then(|()| std::fs::write(&fresh, text))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(error) = written {
            note(format_args!("keeping the head of {id}: {error}"));
        }
        Ok(())
    }

    /// True when the log had records once that were durable, as its kept head says.
    pub(crate) fn was_durable(&self, id: WorkspaceId) -> bool {
        let text = std::fs::read_to_string(self.head_file(id)).unwrap_or_default();
        parse(&text).is_some_and(|(of, _)| of == id)
    }

    /// Forgets the anchors of a log that is gone.
    pub(crate) fn forget_anchors(&self, id: WorkspaceId, repo: Option<&Repository>) {
        let _ = std::fs::remove_file(self.head_file(id));
        if let Some(Err(fault)) = repo.map(|repo| weald_git::anchor::remove(repo, id)) {
            note(format_args!("{fault}"));
        }
    }
}

impl Forest {
    /// What the log of a workspace is now, durable; with `tag`, also kept in the source repository.
    pub(crate) fn anchor(&self, target: &Target, tag: bool) -> Result<Anchored, Fault> {
        let entry = self.find(target)?;
        let workspace = entry.load(&self.stores)?;
        let head = workspace.head();
        let doing = format!("making `{}` durable", entry.name());
        let kept = self.stores.keep_head(entry.id, &workspace);
        kept.map_err(|errno| crate::faults::errno(&doing, errno))?;
        let tag = if tag { Some(tagged(&entry, &head)?) } else { None };
        let row = entry.row();
        Ok(Anchored {
            name: entry.name(),
            id: entry.id.to_string(),
            record: head.seq,
            chain: hex(&head.chain),
            anchor: word(entry.id, &head),
            time: Moment(self.stores.now()),
            tag,
            signed: false,
            repository: row.repo_path.map(|path| path.display().to_string()),
            base_commit: row.commit,
        })
    }
}

fn tagged(entry: &Entry, head: &Head) -> Result<String, Fault> {
    let row = entry.row();
    let commit = row.commit.as_deref().and_then(Oid::from_hex);
    let (Some(path), Some(commit)) = (&row.repo_path, commit) else { return Err(nowhere(&row.name)) };
    weald_git::anchor::put(&Repository::open(path)?, entry.id, head.seq, &head.chain, &commit)
}

/// The fault of a workspace without a repository.
pub(crate) fn nowhere(name: &str) -> Fault {
    let what = format!("`{name}` has no source repository to keep an anchor in");
    Fault::new(Code::BadRequest, what)
        .hint("keep the printed word elsewhere; compare with: weald verify --anchor WORD")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_survives_as_a_word_and_anything_else_is_none() {
        let (id, head) = (WorkspaceId(0x12), Head { seq: 77, chain: [0xab; 32] });
        let text = word(id, &head);
        assert_eq!(parse(&text), Some((id, head)));
        for bad in ["", "1:2", &text[1..], &format!("{text}:"), &text.replace("77", "x"), &text[..60]] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
