//! The refs of a source as a workspace will see them: its branches as remote-tracking refs, its tags, its remotes.
//!
//! Invariant: names are valid ref names (gix checks them), so they never hold a newline or leave `refs/`.

use crate::Repository;
use crate::hash::from_gix;
use crate::repo::path_bytes;
use gix::bstr::ByteSlice as _;
use weald_model::Oid;

/// One ref. The name is full (`refs/tags/v1`) or below a prefix, as the function says that returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefLine {
    /// Name in bytes.
    pub name: Vec<u8>,
    /// What it points to.
    pub target: Oid,
    /// For an annotated tag: the object it finally names.
    pub peeled: Option<Oid>,
}

/// A remote as a workspace's configuration and remote-tracking refs will have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `origin` or `source`.
    pub name: String,
    /// URL or absolute path. May hold a token: mask it before printing.
    pub url: Vec<u8>,
    /// Branches below `refs/remotes/<name>/`, names without that prefix, sorted.
    pub branches: Vec<RefLine>,
    /// The branch its HEAD is on.
    pub head: Option<Vec<u8>>,
    /// For a source that is a partial clone: what it left out there (`blob:none`), so that git in the workspace
    /// knows where to get it.
    pub left_out: Option<Vec<u8>>,
    /// What git is to run for the credential of this remote (`credential.helper`).
    pub asking: Option<String>,
}

impl Repository {
    /// Its branches, sorted, names without `refs/heads/`.
    pub fn branches(&self) -> Vec<RefLine> {
        self.refs_below("refs/heads/")
    }

    /// Its tags, sorted, with what annotated ones name; names without `refs/tags/`.
    pub fn tags(&self) -> Vec<RefLine> {
        self.refs_below("refs/tags/")
    }

    /// The URL its own configuration gives a remote. May hold a token.
    pub fn remote_url(&self, name: &str) -> Option<Vec<u8>> {
        let key = format!("remote.{name}.url");
        self.local().config_snapshot().string(key.as_str()).map(Vec::from)
    }

    /// The remotes a workspace gets.
    ///
    /// A source that was cloned from somewhere keeps that place as `origin`, with the remote-tracking refs it has,
    /// so that `git push` and tools that look at the URL work; its own branches come under `source`. A bare clone
    /// has its remote's branches as its own. A source without an `origin` is itself the `origin`.
    pub fn remotes(&self) -> Vec<Remote> {
        let own = |name: &str, url: Vec<u8>| Remote {
            name: name.into(),
            url,
            branches: self.branches(),
            head: self.head_branch(),
            left_out: None,
            asking: None,
        };
        let here = path_bytes(self.path()).to_vec();
        let Some(url) = self.remote_url("origin") else {
            return vec![own("origin", here)];
        };
        let mut tracked = self.refs_below("refs/remotes/origin/");
        tracked.retain(|line| line.name != b"HEAD");
        if tracked.is_empty() && self.is_bare() {
            let asking = crate::credential::asking(self.common_dir());
            return vec![Remote { left_out: self.left_out(), asking, ..own("origin", url) }];
        }
        let head = self.symbolic("refs/remotes/origin/HEAD", b"refs/remotes/origin/");
        let (url, left_out) = (self.absolute_url(url), self.left_out());
        let origin = Remote { name: "origin".into(), url, branches: tracked, head, left_out, asking: None };
        vec![origin, own("source", here)]
    }

    /// Commits of its branches, and of what was promoted to it.
    pub fn work(&self) -> Vec<Oid> {
        let promoted = self.refs_below("refs/weald/");
        let is_work =
            |line: &RefLine| !line.name.starts_with(b"pins/") && !line.name.starts_with(b"anchors/");
        let promoted = promoted.into_iter().filter(is_work);
        self.branches().into_iter().chain(promoted).map(|line| line.target).collect()
    }

    /// The branch HEAD is on, born or not; `None` when detached.
    pub fn head_branch(&self) -> Option<Vec<u8>> {
        self.symbolic("HEAD", b"refs/heads/")
    }

    /// The filter of a partial clone from `origin`.
    fn left_out(&self) -> Option<Vec<u8>> {
        let local = self.local();
        let config = local.config_snapshot();
        let promisor = config.boolean("remote.origin.promisor").unwrap_or(false);
        promisor.then(|| config.string("remote.origin.partialclonefilter").map(Vec::from).unwrap_or_default())
    }

    /// A relative path as a remote's URL is meant relative to the source, not to the workspace.
    fn absolute_url(&self, url: Vec<u8>) -> Vec<u8> {
        let text = String::from_utf8_lossy(&url);
        if crate::url::is_url(&text) || url.starts_with(b"/") {
            return url;
        }
        let base = if self.is_bare() { self.common_dir() } else { self.path() };
        let mut path = path_bytes(base).to_vec();
        path.push(b'/');
        path.extend_from_slice(&url);
        path
    }

    fn symbolic(&self, name: &str, prefix: &[u8]) -> Option<Vec<u8>> {
        let local = self.local();
        let head = local.try_find_reference(name).ok().flatten()?;
        let target = head.target().try_name()?.as_bstr().to_vec();
        target.strip_prefix(prefix).map(<[u8]>::to_vec)
    }

    pub(crate) fn refs_below(&self, prefix: &str) -> Vec<RefLine> {
        let local = self.local();
        let mut lines = Vec::new();
        let Ok(platform) = local.references() else { return lines };
        let Ok(found) = platform.prefixed(prefix) else { return lines };
        let tags = prefix == "refs/tags/";
        // A broken ref is not handed on: git would complain about it in every workspace.
        for reference in found.flatten() {
            let reference = reference.detach();
            let name = reference.name.as_bstr();
            let Some(short) = name.strip_prefix(prefix.as_bytes()) else { continue };
            let target = match reference.target.try_id() {
                Some(id) => Some(from_gix(id)),
                None => self.follow(&local, name),
            };
            let Some(target) = target else { continue };
            let peeled = match reference.peeled {
                Some(id) => Some(from_gix(&id)),
                None if tags => self.peel(&local, target),
                None => None,
            };
            lines.push(RefLine { name: short.to_vec(), target, peeled: peeled.filter(|id| *id != target) });
        }
        lines.sort_by(|a, b| a.name.cmp(&b.name));
        lines
    }

    fn follow(&self, local: &gix::Repository, name: &gix::bstr::BStr) -> Option<Oid> {
        let mut reference = local.try_find_reference(name.to_str().ok()?).ok().flatten()?;
        Some(from_gix(&reference.follow_to_object().ok()?))
    }
}
