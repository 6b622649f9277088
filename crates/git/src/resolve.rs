//! From what the user asked for (a revision, a branch name) to the commit a workspace starts from.
//!
//! Read [`Repository::resolve`].

use crate::Repository;
use crate::fault::{detail, from_source, quote};
use crate::hash::{from_gix, to_gix};
use crate::refs::RefLine;
use crate::repo::guarded;
use crate::walk::count_missing;
use gix::bstr::{BStr, ByteSlice as _};
use gix::objs::Kind;
use weald_model::{Code, Fault, Oid, Timestamp};

/// Commits read at most to tell how far the base is behind; some 10 ms of work.
const BEHIND_VISITS_MAX: u64 = 2_000;

/// Longest summary kept, in characters.
const SUMMARY_CHARS_MAX: usize = 200;

/// The base of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Commit.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// First line of its message.
    pub summary: String,
    /// The branch the workspace will be on; `None` when detached.
    pub branch: Option<String>,
    /// True when the workspace will be on no branch.
    pub detached: bool,
    /// The ref of the source the base is measured against, short (`origin/main`), where there is one.
    pub upstream: Option<String>,
    /// Commits of the upstream that the base does not have; `None` when unknown or more than could be counted.
    pub behind: Option<u64>,
}

impl Repository {
    /// Finds the commit for a revision (`None`: HEAD) and the branch to be on.
    ///
    /// `branch` alone starts from the source's branch of that name, or makes a new one at HEAD; with `rev` it names
    /// a new branch at `rev`. `rev` that names a branch puts the workspace on it; any other revision detaches.
    ///
    /// Errors: `EmptyRepository`, `UnknownRevision`, `MissingObject`, `BadRequest` (a name git refuses).
    pub fn resolve(&self, rev: Option<&str>, branch: Option<&str>) -> Result<Resolved, Fault> {
        if let Some(name) = branch {
            check_branch(name)?;
        }
        let local = self.local();
        let (tip, own_branch) = match (rev, branch) {
            (None, Some(name)) => match self.branch_tip(&local, name) {
                Some(tip) => (tip, Some(name.to_owned())),
                None => (self.head_tip(&local)?.0, None),
            },
            (None | Some("HEAD"), _) => self.head_tip(&local)?,
            (Some(rev), _) => match self.branch_tip(&local, rev.strip_prefix("refs/heads/").unwrap_or(rev)) {
                Some(tip) => (tip, Some(rev.strip_prefix("refs/heads/").unwrap_or(rev).to_owned())),
                None => (self.parse_revision(&local, rev)?, None),
            },
        };
        let commit = self.peel_to_commit(&local, tip, rev.unwrap_or("HEAD"))?;
        let data =
            self.read_checked(&commit, Kind::Commit).map_err(|error| from_source(&error, self.path()))?;
        let (tree, commit_time, summary) = self.parse_commit(&commit, &data)?;
        let upstream = self.upstream(&local, own_branch.as_deref());
        let behind = upstream.as_ref().and_then(|(_, tip)| self.behind(&local, &commit, tip));
        let branch = branch.map(str::to_owned).or(own_branch);
        let detached = branch.is_none();
        let upstream = upstream.map(|(name, _)| name);
        Ok(Resolved { commit, tree, commit_time, summary, branch, detached, upstream, behind })
    }

    fn branch_tip(&self, local: &gix::Repository, name: &str) -> Option<Oid> {
        let full = format!("refs/heads/{name}");
        let mut reference = local.try_find_reference(full.as_str()).ok().flatten()?;
        // A short name must not match below another prefix.
        if reference.name().as_bstr() != full.as_str() {
            return None;
        }
        Some(from_gix(&reference.follow_to_object().ok()?))
    }

    fn head_tip(&self, local: &gix::Repository) -> Result<(Oid, Option<String>), Fault> {
        let branch = self.head_branch();
        let head = local.try_find_reference("HEAD").ok().flatten();
        // Only the refs are followed: that the commit is there is checked later, and told differently.
        match head.and_then(|mut head| head.follow_to_object().ok().map(|id| from_gix(&id))) {
            Some(id) => Ok((id, branch.and_then(|name| String::from_utf8(name).ok()))),
            None => Err(self.no_commit(branch)),
        }
    }

    fn no_commit(&self, branch: Option<Vec<u8>>) -> Fault {
        let at = self.path().display();
        let branches = self.branches();
        let head = String::from_utf8_lossy(&branch.unwrap_or_default()).into_owned();
        match branches.first() {
            None => Fault::new(Code::EmptyRepository, format!("the repository {at} has no commit yet"))
                .hint(format!("git -C {} commit", quote(self.path()))),
            Some(RefLine { name, .. }) => Fault::new(
                Code::EmptyRepository,
                format!("HEAD of the repository {at} is on `{head}`, which has no commit"),
            )
            .hint(format!("choose another branch: --rev {}", String::from_utf8_lossy(name))),
        }
    }

    fn parse_revision(&self, local: &gix::Repository, rev: &str) -> Result<Oid, Fault> {
        let unknown = |why: String| {
            Fault::new(
                Code::UnknownRevision,
                format!("`{rev}` names nothing in {}{why}", self.path().display()),
            )
            .hint(format!("git -C {} log --all --oneline", quote(self.path())))
        };
        if rev.is_empty() || rev.starts_with('-') || rev.chars().any(char::is_control) {
            return Err(unknown(": it is empty, starts with `-`, or has a control character".into()));
        }
        let parse = || local.rev_parse_single(BStr::new(rev)).map(|id| from_gix(&id));
        match guarded(|| parse().map_err(|error| detail(&error))) {
            Some(Ok(id)) => Ok(id),
            Some(Err(why)) => Err(unknown(format!(": {why}"))),
            None => Err(unknown(String::new())),
        }
    }

    fn peel_to_commit(&self, local: &gix::Repository, oid: Oid, rev: &str) -> Result<Oid, Fault> {
        let missing = || crate::fault::missing(&oid, self.path());
        let peeled = self.peel(local, oid).ok_or_else(missing)?;
        match self.kind_of(local, &peeled) {
            Some(Kind::Commit) => Ok(peeled),
            Some(kind) => Err(Fault::new(
                Code::UnknownRevision,
                format!("`{rev}` names a {kind} in {}, not a commit", self.path().display()),
            )),
            None => Err(missing()),
        }
    }

    fn parse_commit(&self, commit: &Oid, data: &[u8]) -> Result<(Oid, Timestamp, String), Fault> {
        let iter = || gix::objs::CommitRefIter::from_bytes(data, self.format().kind());
        let damaged = |error: gix::Error| crate::fault::damaged(commit, self.path(), &error);
        let tree = iter().tree_id().map_err(damaged)?;
        let committed =
            iter().committer().ok().and_then(|who| who.time().ok()).map_or(0, |time| time.seconds);
        let message = iter().message().unwrap_or_default();
        let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let summary =
            line.to_str_lossy().chars().filter(|c| !c.is_control()).take(SUMMARY_CHARS_MAX).collect();
        Ok((from_gix(&tree), Timestamp::from_secs(committed), summary))
    }

    /// What a base is measured against: the branch's own upstream; in a bare clone the branch itself, which is its
    /// remote's; for a revision that is no branch, the branch HEAD is on.
    fn upstream(&self, local: &gix::Repository, branch: Option<&str>) -> Option<(String, Oid)> {
        let head = self.head_branch().and_then(|name| String::from_utf8(name).ok());
        let Some(branch) = branch else {
            let head = head?;
            let tip = self.branch_tip(local, &head)?;
            return Some((head, tip));
        };
        if let Some(tracking) = self.tracking_ref(local, branch) {
            let mut reference = local.try_find_reference(tracking.as_str()).ok().flatten()?;
            let tip = from_gix(&reference.follow_to_object().ok()?);
            let short = tracking.strip_prefix("refs/remotes/").or(tracking.strip_prefix("refs/heads/"));
            return Some((short.unwrap_or(&tracking).to_owned(), tip));
        }
        if self.is_bare() && self.remote_url("origin").is_some() {
            return Some((format!("origin/{branch}"), self.branch_tip(local, branch)?));
        }
        None
    }

    fn tracking_ref(&self, local: &gix::Repository, branch: &str) -> Option<String> {
        let config = local.config_snapshot();
        let plumbing = config.plumbing();
        let section = plumbing.section("branch", Some(BStr::new(branch))).ok()?;
        let remote = section.value("remote")?;
        if remote == "." {
            return section.value("merge").and_then(|merge| merge.to_str().ok().map(str::to_owned));
        }
        let name = gix::refs::FullName::try_from(format!("refs/heads/{branch}")).ok()?;
        let tracking =
            local.branch_remote_tracking_ref_name(name.as_ref(), gix::remote::Direction::Fetch)?.ok()?;
        tracking.as_bstr().to_str().ok().map(str::to_owned)
    }

    fn behind(&self, local: &gix::Repository, base: &Oid, upstream: &Oid) -> Option<u64> {
        if base == upstream {
            return Some(0);
        }
        let (tips, hidden) = ([to_gix(upstream)], [to_gix(base)]);
        guarded(|| count_missing(&local.objects, self.format(), &tips, &hidden, BEHIND_VISITS_MAX)).flatten()
    }
}

/// Refuses names git would refuse for a branch (git-check-ref-format(1), `--branch`).
pub fn check_branch(name: &str) -> Result<(), Fault> {
    let full = format!("refs/heads/{name}");
    let valid = !name.starts_with('-')
        && name != "HEAD"
        && gix::validate::reference::name(full.as_bytes().as_bstr()).is_ok();
    if valid {
        return Ok(());
    }
    Err(Fault::new(Code::BadRequest, format!("`{}` is no branch name git accepts", name.escape_debug())))
}
