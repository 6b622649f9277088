//! The state of a workspace as a tree, from what `git status` says is not as in HEAD: what `git add --all` and
//! `git write-tree` give, at the cost of what changed.
//!
//! Only plain cases are taken here: files whose content git stores as it is, and links. Invariant: in any other case (filters,
//! encodings, line ends to be converted, submodules, odd names, settings that change what git sees) the answer is None, and git
//! does it all. Read next: `scratch`, which does that.

use crate::ObjectFormat;
use crate::hash::{object_id, to_gix};
use crate::pack::{Packed, threads};
use crate::program::{Git, split};
use crate::promote::refuse;
use crate::repo::guarded;
use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::tree::{Editor, EntryKind};
use gix::objs::{Find as _, Kind, Tree, WriteTo as _};
use gix::zlib::Compression;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use weald_model::{Fault, Oid};

/// Most bytes of content taken here; they are held in memory, compressed.
const BYTES_MAX: u64 = 256 << 20;
/// Largest file with attributes that is looked at.
const ATTRIBUTES_BYTES_MAX: u64 = 1 << 20;
/// What in a file with attributes may change content for other reasons than the content itself.
const WORDS: [&[u8]; 3] = [b"filter", b"working-tree-encoding", b"[attr]"];
/// Words that matter for content with line ends of two bytes, and with keywords.
const LINE_WORDS: [&[u8]; 3] = [b"text", b"crlf", b"eol"];
const KEYWORD_WORDS: [&[u8]; 1] = [b"ident"];
/// Settings that make git see other than what is there, as `git var -l` tells them.
const SETTINGS: [&str; 8] = [
    "core.filemode=false",
    "core.symlinks=false",
    "core.ignorecase=true",
    "core.precomposeunicode=true",
    "core.sparsecheckout=true",
    "core.safecrlf=",
    "core.worktree=",
    "index.sparse=true",
];

/// A tree, and the objects that make it and HEAD has not.
pub(crate) struct Taken {
    pub(crate) tree: Oid,
    /// The content of the tree, if it is a new one.
    pub(crate) root: Option<Vec<u8>>,
    pub(crate) objects: Vec<Packed>,
}

/// What a path is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edit {
    Gone,
    /// Nothing, as in HEAD.
    Never,
    /// As it is staged.
    Staged(EntryKind, ObjectId),
    /// As it is in the working tree.
    There,
}

/// Where things are.
pub(crate) struct Place<'a> {
    pub(crate) workspace: &'a Path,
    pub(crate) name: &'a str,
    pub(crate) git_dir: &'a Path,
    pub(crate) odb: gix::odb::HandleArc,
    pub(crate) format: ObjectFormat,
}

impl Place<'_> {
    /// Takes the state. `head` is the tree of HEAD.
    ///
    /// Errors: `UnfinishedMerge` (paths in conflict), `GitFailed`.
    pub(crate) fn take(&self, head: Option<&Oid>) -> Result<Option<Taken>, Fault> {
        let Some(edits) = self.edits()? else { return Ok(None) };
        let root = match head {
            Some(tree) if edits.is_empty() => {
                return Ok(Some(Taken { tree: *tree, root: None, objects: Vec::new() }));
            }
            head => head.map(to_gix),
        };
        let said = Said::default();
        if !self.is_plain(&said)? {
            return Ok(None);
        }
        let Some(entries) = self.contents(&edits, &said) else { return Ok(None) };
        Ok(guarded(|| self.trees(root, entries)).flatten())
    }

    /// What is not as in HEAD.
    fn edits(&self) -> Result<Option<BTreeMap<Vec<u8>, Edit>>, Fault> {
        let git = Git::new(self.workspace).with("GIT_OPTIONAL_LOCKS", "0");
        let args = [
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=normal",
            "--no-renames",
            "--ignore-submodules=none",
        ];
        let lines = git.paths(&args)?;
        let conflicts: Vec<Vec<u8>> = lines.iter().filter_map(|line| conflict(line)).collect();
        refuse(&conflicts, self.name)?;
        let (mut edits, mut dirs) = (BTreeMap::new(), Vec::new());
        for line in &lines {
            match line.first() {
                Some(b'1') => {
                    let Some((path, edit)) = tracked(line) else { return Ok(None) };
                    edits.insert(path, edit);
                }
                Some(b'#') => {}
                Some(b'?') => match &line[2..] {
                    dir if dir.ends_with(b"/") => dirs.push(dir.to_vec()),
                    path => drop(edits.insert(path.to_vec(), Edit::There)),
                },
                _ => return Ok(None),
            }
        }
        if !dirs.is_empty() {
            let git = git.with("GIT_LITERAL_PATHSPECS", "1");
            let mut args =
                ["ls-files", "--others", "--exclude-standard", "-z", "--"].map(OsStr::new).to_vec();
            args.extend(dirs.iter().map(|dir| OsStr::from_bytes(dir)));
            let paths = split(&git.run(&args)?);
            // Another repository, which git would take for a submodule; or nothing, where a file was tracked.
            let has_some = |dir: &&Vec<u8>| paths.iter().any(|path| path.starts_with(dir));
            if paths.iter().any(|path| path.ends_with(b"/")) || !dirs.iter().all(|dir| has_some(&dir)) {
                return Ok(None);
            }
            edits.extend(paths.into_iter().map(|path| (path, Edit::There)));
        }
        let is_plain = |(path, edit): (&Vec<u8>, &Edit)| match edit {
            Edit::There => !is_odd(path),
            // Attributes that are only in the index count for what is added, too.
            Edit::Gone | Edit::Never => !path.ends_with(b".gitattributes"),
            Edit::Staged(..) => true,
        };
        Ok(edits.iter().all(is_plain).then_some(edits))
    }

    /// Whether no setting and no file with attributes outside of the tree is in the way.
    fn is_plain(&self, attributes: &Said) -> Result<bool, Fault> {
        let said = Git::new(self.workspace).said(&["var", "-l"], &[])?;
        let said = String::from_utf8_lossy(&said.out);
        if said.lines().any(|line| line.to_ascii_lowercase().starts_with("core.autocrlf=")) {
            attributes.lines.store(true, Ordering::Relaxed);
        }
        let is_set =
            |line: &str| SETTINGS.iter().any(|setting| line.to_ascii_lowercase().starts_with(setting));
        if said.lines().any(is_set) {
            return Ok(false);
        }
        let file =
            |name: &str| said.lines().rev().find_map(|line| line.strip_prefix(name)).map(PathBuf::from);
        // Before 2.42 git does not tell.
        let (Some(global), Some(system)) = (file("GIT_ATTR_GLOBAL="), file("GIT_ATTR_SYSTEM=")) else {
            return Ok(false);
        };
        let own = self.git_dir.join("info/attributes");
        Ok([global, system, own].iter().all(|path| attributes.file(path)))
    }

    /// The content of what is to be; None when some of it is not plain.
    fn contents(&self, edits: &BTreeMap<Vec<u8>, Edit>, said: &Said) -> Option<Vec<Entry>> {
        let edits: Vec<(&Vec<u8>, &Edit)> = edits.iter().collect();
        let (workspace, format) = (self.workspace, self.format);
        let next = AtomicUsize::new(0);
        let bytes = std::sync::atomic::AtomicU64::new(0);
        let work = |odb: gix::odb::HandleArc| {
            let mut entries = Vec::new();
            while let Some((path, edit)) = edits.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !said.on_the_way(workspace, path) {
                    return None;
                }
                let (kind, data) = match edit {
                    // Where a file is tracked and a directory stands, `git status` does not tell what is in it.
                    Edit::Gone | Edit::Never if workspace.join(OsStr::from_bytes(path)).is_dir() => {
                        return None;
                    }
                    Edit::Never => continue,
                    Edit::Gone => {
                        entries.push(Entry { path: path.to_vec(), kind: None, object: None });
                        continue;
                    }
                    Edit::Staged(kind, id) => (*kind, staged(&odb, id)?),
                    Edit::There => there(&workspace.join(OsStr::from_bytes(path)))?,
                };
                let sum = bytes.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
                if sum > BYTES_MAX {
                    return None;
                }
                if **edit == Edit::There && kind != EntryKind::Link {
                    said.content(&data);
                }
                let id = to_gix(&object_id(format, Kind::Blob, &data));
                let object = Packed::new(id, Kind::Blob, &data, Compression::BEST_SPEED).ok()?;
                entries.push(Entry { path: path.to_vec(), kind: Some(kind), object: Some(object) });
            }
            Some(entries)
        };
        let work = &work;
        std::thread::scope(|scope| {
            let count = threads(edits.len());
            let odbs: Vec<_> = (0..count).map(|_| self.odb.clone()).collect();
            let running: Vec<_> = odbs.into_iter().map(|odb| scope.spawn(move || work(odb))).collect();
            let parts: Vec<_> = running.into_iter().map(|thread| thread.join().ok().flatten()).collect();
            let parts = parts.into_iter().collect::<Option<Vec<_>>>()?;
            if said.may_convert() {
                return None;
            }
            Some(parts.into_iter().flatten().collect())
        })
    }

    /// The tree of HEAD with other entries.
    fn trees(&self, head: Option<ObjectId>, entries: Vec<Entry>) -> Option<Taken> {
        let hash = self.format.kind();
        let mut buffer = Vec::new();
        let root = match head {
            Some(id) if id != to_gix(&self.format.empty_tree()) => {
                let data = self.odb.try_find(&id, &mut buffer).ok()??;
                gix::objs::TreeRef::from_bytes(data.data, hash).ok()?.into()
            }
            _ => Tree::empty(),
        };
        let mut editor = Editor::new(root, &self.odb, hash);
        // What goes makes room for what comes: a file where a directory was.
        for entry in entries.iter().filter(|entry| entry.kind.is_none()) {
            editor.remove(entry.path.split(|byte| *byte == b'/').map(|name| name.as_bstr())).ok()?;
        }
        for entry in &entries {
            let Some((kind, object)) = entry.kind.zip(entry.object.as_ref()) else { continue };
            let names = entry.path.split(|byte| *byte == b'/').map(|name| name.as_bstr());
            editor.upsert(names, kind, object.id).ok()?;
        }
        let mut objects: Vec<Packed> = entries.into_iter().filter_map(|entry| entry.object).collect();
        let mut last = Vec::new();
        let root = editor.write(|tree| -> Result<ObjectId, ()> {
            last.clear();
            tree.write_to(&mut last).map_err(drop)?;
            let id = to_gix(&object_id(self.format, Kind::Tree, &last));
            objects.push(Packed::new(id, Kind::Tree, &last, Compression::BEST_SPEED).map_err(drop)?);
            Ok(id)
        });
        let root = root.ok()?;
        objects.sort_by_key(|object| object.id);
        objects.dedup_by_key(|object| object.id);
        Some(Taken { tree: crate::hash::from_gix(&root), root: Some(last), objects })
    }
}

/// A path of the new tree; without a kind it is gone.
struct Entry {
    path: Vec<u8>,
    kind: Option<EntryKind>,
    object: Option<Packed>,
}

/// The path of a conflict (git-status(1), porcelain format 2).
fn conflict(line: &[u8]) -> Option<Vec<u8>> {
    line.starts_with(b"u ").then(|| line.splitn(11, |byte| *byte == b' ').nth(10).map(<[u8]>::to_vec))?
}

/// What is said of a tracked path; None when it is not plain.
fn tracked(line: &[u8]) -> Option<(Vec<u8>, Edit)> {
    let fields: Vec<&[u8]> = line.splitn(9, |byte| *byte == b' ').collect();
    let [_, state, module, head_mode, staged_mode, _, _, staged_id, path] = fields.as_slice() else {
        return None;
    };
    if !module.starts_with(b"N") {
        return None;
    }
    let edit = match state.get(1)? {
        b'D' if *head_mode == b"000000" => Edit::Never,
        b'D' => Edit::Gone,
        b'.' if state[0] == b'D' => Edit::Gone,
        b'.' => Edit::Staged(kind_of(staged_mode)?, ObjectId::from_hex(staged_id).ok()?),
        b'M' | b'T' | b'A' => Edit::There,
        _ => return None,
    };
    Some((path.to_vec(), edit))
}

fn kind_of(mode: &[u8]) -> Option<EntryKind> {
    match mode {
        b"100644" => Some(EntryKind::Blob),
        b"100755" => Some(EntryKind::BlobExecutable),
        b"120000" => Some(EntryKind::Link),
        _ => None,
    }
}

/// Whether git might refuse the name, or look at it twice.
fn is_odd(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| {
        let name: Vec<u8> = name.iter().filter(|byte| byte.is_ascii()).map(u8::to_ascii_lowercase).collect();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
        name.starts_with(b"git~")
            || name.strip_prefix(b".git").is_some_and(|rest| !rest.first().is_some_and(is_word))
    })
}

/// What attributes and contents say, as far as it matters here.
#[derive(Default)]
struct Said {
    /// Line ends may be converted; there are contents with line ends of two bytes.
    lines: AtomicBool,
    returns: AtomicBool,
    /// Keywords may be taken out; there are contents with some.
    keywords: AtomicBool,
    ids: AtomicBool,
    /// Directories whose attributes were read.
    seen: Mutex<HashSet<Vec<u8>>>,
}

impl Said {
    /// Takes in a file with attributes; false when it may change content whatever that is.
    fn file(&self, path: &Path) -> bool {
        let text = match path.metadata() {
            Err(_) => return true,
            Ok(data) if !data.is_file() || data.len() > ATTRIBUTES_BYTES_MAX => return false,
            Ok(_) => std::fs::read(path),
        };
        let Ok(text) = text else { return false };
        let has = |words: &[&[u8]]| words.iter().any(|word| text.find(word).is_some());
        self.lines.fetch_or(has(&LINE_WORDS), Ordering::Relaxed);
        self.keywords.fetch_or(has(&KEYWORD_WORDS), Ordering::Relaxed);
        !has(&WORDS)
    }

    /// Takes in every `.gitattributes` on the way to a path.
    fn on_the_way(&self, workspace: &Path, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
        for end in ends.chain([0]) {
            let dir = &path[..end];
            let is_new = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_vec());
            let file = || workspace.join(OsStr::from_bytes(dir)).join(".gitattributes");
            if is_new && !self.file(&file()) {
                return false;
            }
        }
        true
    }

    fn content(&self, data: &[u8]) {
        self.returns.fetch_or(data.contains(&b'\r'), Ordering::Relaxed);
        self.ids.fetch_or(data.find(b"$Id").is_some(), Ordering::Relaxed);
    }

    /// Once all is taken in: whether git might store some content otherwise.
    fn may_convert(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        (is(&self.lines) && is(&self.returns)) || (is(&self.keywords) && is(&self.ids))
    }
}

fn staged(odb: &gix::odb::HandleArc, id: &ObjectId) -> Option<Vec<u8>> {
    let mut buffer = Vec::new();
    let kind = guarded(|| odb.try_find(id, &mut buffer).ok().flatten().map(|data| data.kind))??;
    (kind == Kind::Blob).then_some(buffer)
}

/// Kind and content of a file or link; None for anything else, and for what changes meanwhile.
fn there(path: &Path) -> Option<(EntryKind, Vec<u8>)> {
    let data: Metadata = path.symlink_metadata().ok()?;
    if data.is_symlink() {
        let target = std::fs::read_link(path).ok()?.into_os_string();
        return Some((EntryKind::Link, target.as_bytes().to_vec()));
    }
    if !data.is_file() || data.len() > BYTES_MAX {
        return None;
    }
    let is_executable = data.permissions().mode() & 0o100 != 0;
    let content = std::fs::read(path).ok().filter(|content| content.len() as u64 == data.len())?;
    Some((if is_executable { EntryKind::BlobExecutable } else { EntryKind::Blob }, content))
}

#[cfg(test)]
mod tests;
