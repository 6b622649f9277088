//! Bringing commits with all they need into the source, and a ref to them.
//!
//! Invariants: the ref moves last, by the user's own `git` and only from where it was looked at; what it names is then on
//! the disk. Objects are written straight into the source, as one pack, when nothing there has a say in what comes in: no hook, no
//! setting for what is received. Else, and for much or large content, `git push` brings them.

use crate::hash::{from_gix, to_gix};
use crate::pack::{NewPack, Object, Packed, threads};
use crate::program::Git;
use crate::repo::{guarded, open_isolated};
use crate::scratch::Scratch;
use crate::{ObjectFormat, fault};
use gix::objs::{CommitRefIter, Kind, TreeRefIter};
use gix::prelude::HeaderExt as _;
use gix::zlib::Compression;
use gix::{ObjectId, odb};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use weald_model::{Fault, Oid};

/// Refs that Weald may set without a push: no setting of the source is about them.
const OWN_REFS: &str = "refs/weald/";
/// Hooks of a repository that is pushed to (githooks(5)); `reference-transaction` runs in any case.
const HOOKS: [&str; 6] =
    ["pre-receive", "update", "proc-receive", "post-receive", "post-update", "push-to-checkout"];
/// Settings that say how a push is received, in small letters.
const SETTINGS: [&str; 4] = ["receive.", "transfer.", "core.hookspath", "core.sharedrepository"];
/// Most commits and objects brought without a push.
const COMMITS_MAX: usize = 1000;
const OBJECTS_MAX: usize = 50_000;
/// Largest object brought without a push: it is held in memory.
const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// Packs in the source from which on git is asked to tidy up, as it is after a push.
const PACKS_MANY: usize = 40;

/// What the refs of a repository name.
pub(crate) struct Tips(HashMap<Vec<u8>, Oid>);

impl Tips {
    /// Reads them all, in one run.
    pub(crate) fn of(repo: &Git) -> Result<Self, Fault> {
        let list = repo.run(&["for-each-ref", "--format=%(objectname) %(refname)"])?;
        let line = |line: &[u8]| {
            let space = line.iter().position(|byte| *byte == b' ')?;
            let oid = Oid::from_hex(std::str::from_utf8(&line[..space]).ok()?)?;
            Some((line[space + 1..].to_vec(), oid))
        };
        Ok(Self(list.split(|byte| *byte == b'\n').filter_map(line).collect()))
    }

    /// What one names.
    pub(crate) fn get(&self, name: &str) -> Option<Oid> {
        self.0.get(name.as_bytes()).copied()
    }

    fn all(&self) -> HashSet<Oid> {
        self.0.values().copied().collect()
    }
}

/// What is to be brought where.
pub(crate) struct Delivery<'a> {
    pub(crate) scratch: &'a Scratch,
    /// Git directory of the source.
    pub(crate) source: &'a Path,
    pub(crate) tips: &'a Tips,
    pub(crate) reference: &'a str,
    pub(crate) before: Option<Oid>,
    pub(crate) commit: Oid,
    pub(crate) parents: &'a [Oid],
    /// What the commit has and its parents have not, but for the commit itself; empty when it is all in the scratch.
    pub(crate) objects: Vec<Packed>,
}

impl Delivery<'_> {
    /// Brings the commit, unless somebody moved the ref meanwhile.
    ///
    /// Errors: `GitFailed` (the ref was moved, a hook refused), `DiskFull`, `HostIo`.
    pub(crate) fn bring(&self) -> Result<(), Fault> {
        match self.way()? {
            Some((objects, ids)) => {
                if !ids.is_empty() || !self.objects.is_empty() {
                    self.pack(&objects, &ids)?;
                }
                self.set_ref()?;
                tidy(self.source, &objects);
                Ok(())
            }
            None => self.push(),
        }
    }

    /// The directory of objects and what to write there; None when it takes a push.
    fn way(&self) -> Result<Option<(PathBuf, Vec<ObjectId>)>, Fault> {
        if !self.reference.starts_with(OWN_REFS) {
            return Ok(None);
        }
        let Some(objects) = plain_objects(self.source)? else { return Ok(None) };
        let Some(commits) = self.commits()? else { return Ok(None) };
        let Some((odb, format)) = self.scratch.odb() else { return Ok(None) };
        let found = guarded(|| {
            let mut wanted = Wanted { odb: &odb, format, seen: HashSet::new(), ids: Vec::new() };
            for commit in &commits {
                match *commit == self.commit && !self.objects.is_empty() {
                    true => drop(wanted.take(to_gix(commit))),
                    false => wanted.commit(to_gix(commit))?,
                }
            }
            let ready: HashSet<ObjectId> = self.objects.iter().map(|object| object.id).collect();
            wanted.ids.retain(|id| !ready.contains(id));
            Some(wanted.ids)
        });
        Ok(found.flatten().map(|ids| (objects, ids)))
    }

    /// The commits that no ref of the source leads to; None when they are very many.
    fn commits(&self) -> Result<Option<Vec<Oid>>, Fault> {
        let there = self.tips.all();
        if there.contains(&self.commit) {
            return Ok(Some(Vec::new()));
        }
        if !self.parents.contains(&self.commit) && self.parents.iter().all(|parent| there.contains(parent)) {
            return Ok(Some(vec![self.commit]));
        }
        let mut input = format!("{}\n", self.commit);
        there.iter().for_each(|tip| input.push_str(&format!("^{tip}\n")));
        let most = format!("--max-count={}", COMMITS_MAX + 1);
        let args = ["rev-list", &most, "--ignore-missing", "--stdin"];
        let list = self.scratch.git().run_with(&args, input.as_bytes())?;
        let list = String::from_utf8_lossy(&list);
        let commits: Vec<Oid> = list.lines().filter_map(Oid::from_hex).collect();
        Ok((commits.len() <= COMMITS_MAX).then_some(commits))
    }

    fn pack(&self, objects: &Path, ids: &[ObjectId]) -> Result<(), Fault> {
        let Some((odb, format)) = self.scratch.odb() else { return self.push() };
        let source = self.source;
        let reader = |odb: odb::HandleArc| {
            move |id: &ObjectId| -> Result<Object, Fault> {
                let mut buffer = Vec::new();
                let kind = match guarded(|| find(&odb, id, &mut buffer)) {
                    Some(Ok(Some(kind))) => kind,
                    Some(Err(why)) => return Err(fault::damaged(&from_gix(id), source, &why)),
                    Some(Ok(None)) | None => return Err(fault::missing(&from_gix(id), source)),
                };
                Ok((kind, buffer))
            }
        };
        let readers = (0..threads(ids.len())).map(|_| reader(odb.clone())).collect();
        NewPack { objects, format, level: Compression::BEST_SPEED, durable: true }.write(
            &self.objects,
            ids,
            readers,
        )
    }

    fn set_ref(&self) -> Result<(), Fault> {
        let zeros = || "0".repeat(self.commit.as_bytes().len() * 2);
        let before = self.before.map_or_else(zeros, |before| before.to_string());
        let commit = self.commit.to_string();
        let args = ["update-ref", "-m", "weald promote", self.reference, &commit, &before];
        Git::new(self.source).run(&args).map(drop)
    }

    fn push(&self) -> Result<(), Fault> {
        self.scratch.keep(&self.objects)?;
        let reference = self.reference;
        let lease = self.before.as_ref().map(Oid::to_string).unwrap_or_default();
        let args = [
            "-c",
            "push.gpgSign=false",
            "-c",
            "push.followTags=false",
            "push",
            "--quiet",
            "--no-verify",
            "--recurse-submodules=no",
            &format!("--force-with-lease={reference}:{lease}"),
            "--",
            &self.source.to_string_lossy(),
            &format!("{}:{reference}", self.commit),
        ];
        self.scratch.git().run(&args).map(drop)
    }
}

/// The directory of objects of a repository in which nothing has a say in what is pushed.
fn plain_objects(source: &Path) -> Result<Option<PathBuf>, Fault> {
    let said = Git::new(source).run(&["config", "--list", "--name-only", "-z"])?;
    let is_said = |key: &[u8]| {
        let key = key.to_ascii_lowercase();
        SETTINGS.iter().any(|setting| key.starts_with(setting.as_bytes()))
    };
    if said.split(|byte| *byte == 0).any(is_said) {
        return Ok(None);
    }
    let Ok(git) = open_isolated(source) else { return Ok(None) };
    let common = git.to_thread_local().common_dir().to_owned();
    let runs = |name: &str| {
        let hook = common.join("hooks").join(name).metadata();
        hook.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    Ok((!HOOKS.iter().any(|name| runs(name))).then(|| common.join("objects")))
}

/// Has git put small packs together when there are many, in the background and only if its settings say so.
fn tidy(source: &Path, objects: &Path) {
    let packs = std::fs::read_dir(objects.join("pack")).map_or(0, |list| {
        let is_pack = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|end| end == "pack");
        list.flatten().filter(is_pack).count()
    });
    if packs > PACKS_MANY {
        // Best effort: the work is where it belongs.
        let _ = Git::new(source).said(&["gc", "--auto", "--quiet"], &[]);
    }
}

/// Kind and content of an object.
fn find(odb: &odb::HandleArc, id: &ObjectId, buffer: &mut Vec<u8>) -> Result<Option<Kind>, String> {
    match gix::objs::Find::try_find(odb, id, buffer) {
        Ok(found) => Ok(found.map(|data| data.kind)),
        Err(error) => Err(fault::detail(&error)),
    }
}

/// What commits have and their first parents have not.
struct Wanted<'a> {
    odb: &'a odb::HandleArc,
    format: ObjectFormat,
    seen: HashSet<ObjectId>,
    ids: Vec<ObjectId>,
}

impl Wanted<'_> {
    /// Takes in a commit that is new with what is new in it; None when it cannot be told, or is too much.
    fn commit(&mut self, id: ObjectId) -> Option<()> {
        if !self.take(id)? {
            return Some(());
        }
        let (tree, parents) = self.read_commit(&id)?;
        let old = match parents.first() {
            Some(parent) => Some(self.read_commit(parent)?.0),
            None => None,
        };
        let mut todo = vec![(old, tree)];
        while let Some((old, new)) = todo.pop() {
            if old == Some(new) || !self.take(new)? {
                continue;
            }
            let old = old.map_or_else(|| Some(HashMap::new()), |old| self.entries(&old))?;
            for (name, (is_tree, is_link, id)) in self.entries(&new)? {
                let before = old.get(&name);
                if is_link || before.is_some_and(|(.., before)| *before == id) {
                    continue;
                }
                if is_tree {
                    todo.push((before.filter(|(is_tree, ..)| *is_tree).map(|(.., id)| *id), id));
                } else if self.take(id)? && self.odb.header(id).ok()?.size() > OBJECT_BYTES_MAX {
                    return None;
                }
            }
        }
        Some(())
    }

    /// True when it was not taken before.
    fn take(&mut self, id: ObjectId) -> Option<bool> {
        let is_new = self.seen.insert(id);
        if is_new {
            self.ids.push(id);
        }
        (self.ids.len() <= OBJECTS_MAX).then_some(is_new)
    }

    fn read_commit(&self, id: &ObjectId) -> Option<(ObjectId, Vec<ObjectId>)> {
        let mut buffer = Vec::new();
        let kind = find(self.odb, id, &mut buffer).ok()??;
        let commit = || CommitRefIter::from_bytes(&buffer, self.format.kind());
        (kind == Kind::Commit).then(|| Some((commit().tree_id().ok()?, commit().parent_ids().collect())))?
    }

    /// Entries by name: whether it is a directory, whether a submodule, and its id.
    fn entries(&self, id: &ObjectId) -> Option<HashMap<Vec<u8>, (bool, bool, ObjectId)>> {
        let mut buffer = Vec::new();
        if find(self.odb, id, &mut buffer).ok()? != Some(Kind::Tree) {
            return (*id == to_gix(&self.format.empty_tree())).then(HashMap::new);
        }
        let mut entries = HashMap::new();
        for entry in TreeRefIter::from_bytes(&buffer, self.format.kind()) {
            let entry = entry.ok()?;
            let (is_tree, is_link) = (entry.mode.is_tree(), entry.mode.is_commit());
            entries.insert(entry.filename.to_vec(), (is_tree, is_link, entry.oid.to_owned()));
        }
        Some(entries)
    }
}
