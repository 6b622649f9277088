//! Weald's own copies of URLs: one for each URL and depth, shared by all workspaces made from it.
//!
//! Invariants: a copy that is there is used as it is, without the network, unless news are asked for or it lacks the
//! revision; a remote that cannot be reached costs the news, not the workspace.

use crate::faults;
use crate::forest::Forest;
use crate::protocol::{CreateRequest, Depth, Target};
use crate::report::{CloneNews, Moment};
use weald_git::{CloneRequest, Holds, Repository};
use weald_model::{Code, Fault, Progress};
use weald_store::registry::RepoRow;

/// Commits of history in a clone when nothing is said.
const DEPTH: u32 = 1;

impl Forest {
    /// The copy of a URL: made when there is none, brought up to date when that is asked for.
    pub(crate) fn cloned(
        &self,
        ask: &CreateRequest,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<(Repository, RepoRow), Fault> {
        let registry = self.stores.home.registry();
        let (url, credential) = weald_git::credential::part(&ask.source)?;
        let rows = registry.repos().map_err(faults::registry)?;
        let known = rows.into_iter().filter(|row| row.url == url && row.path.is_dir());
        let Some(row) = known.filter(|row| has_depth(row, ask.depth)).max_by_key(has_more) else {
            return self.clone_anew(ask, url, notes, progress);
        };
        if let Some(credential) = credential {
            credential.keep(&row.path, &row.path)?;
        }
        let repo = Repository::open(&row.path)?;
        let has_revision = match repo.resolve(ask.rev.as_deref(), None) {
            Ok(_) => true,
            Err(fault) if fault.code == Code::UnknownRevision => false,
            Err(fault) => return Err(fault),
        };
        if has_revision && !ask.update {
            return Ok((repo, row));
        }
        let asked = self.update_clone(&row, ask.rev.as_deref(), progress);
        match asked {
            Ok((row, told)) => {
                notes.extend(told);
                Ok((Repository::open(&row.path)?, row))
            }
            Err(fault) if has_revision && fault.code == Code::UnreachableSource => {
                notes.push(format!("the source could not be asked for news: {fault}"));
                Ok((repo, row))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Asks the remote of a clone for news. Gives the row as it is now, and what is worth telling.
    pub(crate) fn update_clone(
        &self,
        row: &RepoRow,
        rev: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<(RepoRow, Vec<String>), Fault> {
        let notes = weald_git::fetch(&row.path, row.depth, rev, progress)?;
        let row = RepoRow { fetched_at: self.stores.now(), ..row.clone() };
        self.stores.home.registry().put_repo(&row).map_err(faults::registry)?;
        Ok((row, notes))
    }

    /// Asks a remote for news, by one of its workspaces or by URL.
    pub(crate) fn news(
        &self,
        target: Option<&Target>,
        url: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<CloneNews, Fault> {
        self.open_for_work()?;
        let rows = self.stores.home.registry().repos().map_err(faults::registry)?;
        let (row, entry) = match (url, target) {
            (Some(url), _) => {
                let (plain, _) = weald_git::credential::part(url)?;
                let row = rows.into_iter().filter(|row| row.url == plain).max_by_key(has_more);
                let unknown = || {
                    let url = weald_git::url::mask(url);
                    Fault::new(Code::UnknownSource, format!("{url} was not cloned yet"))
                        .hint(format!("weald create {url}"))
                };
                (row.ok_or_else(unknown)?, None)
            }
            (None, target) => {
                let entry = self.find(target.unwrap_or(&Target::default()))?;
                let id = entry.row().repo_id;
                let row = rows.into_iter().find(|row| Some(&row.id) == id.as_ref());
                let local = || {
                    let why =
                        format!("`{}` was not made from a URL, so there is nothing to fetch", entry.name());
                    Fault::new(Code::BadRequest, why).hint("git fetch, in the workspace or in its source")
                };
                (row.ok_or_else(local)?, Some(entry))
            }
        };
        let (row, notes) = self.update_clone(&row, None, progress)?;
        Ok(CloneNews {
            url: weald_git::url::mask(&row.url),
            clone: row.path.display().to_string(),
            asked_at: Moment(row.fetched_at),
            path: entry.as_ref().map(|entry| entry.row().mount_path.display().to_string()),
            workspace: entry.map(|entry| entry.name()),
            notes,
        })
    }

    fn clone_anew(
        &self,
        ask: &CreateRequest,
        plain: String,
        notes: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<(Repository, RepoRow), Fault> {
        let id = self.stores.fresh_id().to_string();
        let path = self.stores.home.paths().repos().join(format!("{id}.git"));
        let depth = match ask.depth {
            None => Some(DEPTH),
            Some(Depth::Commits(number)) => Some(number),
            Some(Depth::Full) => None,
        };
        let request = CloneRequest {
            url: &ask.source,
            dest: &path,
            depth,
            rev: ask.rev.as_deref(),
            silence_max: weald_git::clone::SILENCE_MAX,
        };
        if weald_git::clone(&request, progress)? == Holds::Everything {
            notes.push("the server cannot leave content out, so all of it was cloned at once".to_owned());
        }
        let row = RepoRow { id, url: plain, path, depth, fetched_at: self.stores.now() };
        self.stores.home.registry().put_repo(&row).map_err(faults::registry)?;
        Ok((Repository::open(&row.path)?, row))
    }
}

/// True when a clone has the history that was asked for.
fn has_depth(row: &RepoRow, asked: Option<Depth>) -> bool {
    match (row.depth, asked) {
        (_, None) | (None, Some(_)) => true,
        (Some(_), Some(Depth::Full)) => false,
        (Some(has), Some(Depth::Commits(asked))) => has == asked,
    }
}

/// The one with more history comes last, then the one asked last.
fn has_more(row: &RepoRow) -> (u32, i64) {
    (row.depth.unwrap_or(u32::MAX), row.fetched_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(depth: Option<u32>) -> RepoRow {
        RepoRow { id: "r".into(), url: "u".into(), path: "/p".into(), depth, fetched_at: 0 }
    }

    #[test]
    fn a_full_clone_fits_any_depth_and_a_shallow_one_its_own() {
        assert!(has_depth(&row(None), Some(Depth::Commits(3))) && has_depth(&row(None), Some(Depth::Full)));
        assert!(has_depth(&row(Some(1)), None) && has_depth(&row(Some(1)), Some(Depth::Commits(1))));
        assert!(!has_depth(&row(Some(1)), Some(Depth::Commits(2))));
        assert!(!has_depth(&row(Some(1)), Some(Depth::Full)));
        assert!(has_more(&row(None)) > has_more(&row(Some(9))));
    }
}
