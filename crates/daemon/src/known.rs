//! Commits that only one workspace has.
//!
//! What a fork began with is in its parent as well, so removing either loses nothing: branches that stand on the
//! same commit in a relative are not counted.

use crate::create;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::head;
use std::collections::HashSet;
use std::sync::Arc;
use weald_engine::Workspace;
use weald_git::{Repository, UnpushedBranch};
use weald_model::{Code, Fault, WorkspaceId};
use weald_store::registry::State;

/// Relatives looked at; each costs a few lookups in memory.
const RELATIVES_MAX: usize = 64;

impl Forest {
    /// Refuses when the workspace has commits that are nowhere else. It must be mounted at its path.
    pub(crate) fn check_pushed(&self, entry: &Arc<Entry>) -> Result<(), Fault> {
        let row = entry.row();
        let mut elsewhere = Vec::from_iter(create::base_commit(&row));
        let mut found = weald_git::unpushed(&row.mount_path, &elsewhere)?;
        if !found.is_empty()
            && let Some(source) = row.repo_path.as_deref().and_then(|path| Repository::open(path).ok())
        {
            elsewhere.extend(source.work());
            found = weald_git::unpushed(&row.mount_path, &elsewhere)?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let workspace = entry.load(&self.stores)?;
        let relatives = self.relatives(entry);
        let only_here = |branch: &&UnpushedBranch| {
            let tip = tip(&workspace, &branch.branch);
            tip.is_none() || !relatives.iter().any(|relative| self::tip(relative, &branch.branch) == tip)
        };
        let lost: Vec<&UnpushedBranch> = found.iter().filter(only_here).collect();
        if lost.is_empty() { Ok(()) } else { Err(unpushed(&row.name, &lost)) }
    }

    /// Loaded workspaces that were forked from each other, however far apart.
    fn relatives(&self, entry: &Entry) -> Vec<Arc<Workspace>> {
        let root = self.root_of(entry);
        let active = self.in_state(State::Active);
        let others = active.iter().filter(|other| other.id != entry.id && self.root_of(other) == root);
        others.filter_map(|other| other.load(&self.stores).ok()).take(RELATIVES_MAX).collect()
    }

    /// The workspace a line of forks began with.
    pub(crate) fn root_of(&self, entry: &Entry) -> WorkspaceId {
        let mut id = entry.id;
        let mut seen = HashSet::from([id]);
        while let Some(origin) = self.by_id(id).and_then(|entry| entry.row().origin) {
            if !seen.insert(origin.parent) {
                break;
            }
            id = origin.parent;
        }
        id
    }
}

/// The commit a branch, a detached `HEAD` or the stash stands on.
fn tip(workspace: &Workspace, branch: &str) -> Option<String> {
    match branch {
        "HEAD" => head::head(workspace).commit,
        "stash" => head::resolve(workspace, b"refs/stash"),
        branch => head::resolve(workspace, format!("refs/heads/{branch}").as_bytes()),
    }
}

fn unpushed(name: &str, lost: &[&UnpushedBranch]) -> Fault {
    let commits = |number| if number == 1 { "1 commit".to_owned() } else { format!("{number} commits") };
    let list: Vec<String> = lost
        .iter()
        .take(5)
        .map(|branch| format!("{} on {}", commits(branch.commits), branch.branch))
        .collect();
    Fault::new(
        Code::UnpushedCommits,
        format!("`{name}` has commits that are nowhere else: {}", list.join(", ")),
    )
    .hint(format!("weald promote {name}, or insist: weald remove {name} --force (it can still be restored)"))
}
