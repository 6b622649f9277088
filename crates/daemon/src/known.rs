//! Commits that only one workspace has.
//!
//! What a fork began with is in its parent as well, so removing either loses nothing: branches that stand on the
//! same commit in a relative are not counted.

use crate::create;
use crate::entry::Entry;
use crate::forest::Forest;
use crate::head;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
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
            let tip = tip(&workspace, branch);
            tip.is_none() || !relatives.iter().any(|relative| self::tip(relative, branch) == tip)
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
fn tip(workspace: &Workspace, lost: &UnpushedBranch) -> Option<String> {
    let name = match lost.branch.as_str() {
        "HEAD" => "HEAD".to_owned(),
        "stash" => "refs/stash".to_owned(),
        branch => format!("refs/heads/{branch}"),
    };
    let module = lost.module.as_ref().map(|module| module.below.as_os_str().as_bytes());
    head::resolve(workspace, module.unwrap_or_default(), name.as_bytes())
}

fn unpushed(name: &str, lost: &[&UnpushedBranch]) -> Fault {
    let commits = |number| if number == 1 { "1 commit".to_owned() } else { format!("{number} commits") };
    let list: Vec<String> = lost
        .iter()
        .take(5)
        .map(|branch| {
            let module = branch.module.as_ref();
            let of = module.map(|module| format!(" of the submodule {}", module.name)).unwrap_or_default();
            format!("{} on {}{of}", commits(branch.commits), branch.branch)
        })
        .collect();
    let way = match lost.iter().all(|branch| branch.module.is_some()) {
        true => "push them from the submodule".to_owned(),
        false => format!("weald promote {name}"),
    };
    Fault::new(
        Code::UnpushedCommits,
        format!("`{name}` has commits that are nowhere else: {}", list.join(", ")),
    )
    .hint(format!("{way}, or insist: weald remove {name} --force (it can still be restored)"))
}
