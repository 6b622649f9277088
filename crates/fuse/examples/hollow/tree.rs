//! A tree in memory: names, attributes and content, each operation as few steps as it can be.
//!
//! Invariant: a node without a name stays until the kernel forgets it. Pages of removed files are used again, so that new
//! memory is not what is measured.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use weald_fuse::abi::fattr;
use weald_fuse::reply::{Dirent, Reply};
use weald_fuse::request::Setattr;
use weald_model::{Attr, Errno, FileKind, Ino, Result, Timestamp};

const PAGE_BYTES: usize = 4096;
/// What a directory says its size is.
const DIR_BYTES: u64 = 4096;
/// Places in a directory that belong to "." and "..".
const DOTS: u64 = 2;

type Page = Box<[u8; PAGE_BYTES]>;

/// The tree. The number of a node is its place in `nodes`; none is used twice.
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    spare: Vec<Page>,
}

struct Node {
    attr: Attr,
    body: Body,
}

enum Body {
    /// Pages; what was never written is missing.
    File(Vec<Option<Page>>),
    Dir(Dir),
    Link(Vec<u8>),
    Other,
}

struct Dir {
    parent: u64,
    /// Place and node of each name.
    names: HashMap<Box<[u8]>, (u64, u64)>,
    /// The same in the order they were made, which is the order they are listed in.
    places: BTreeMap<u64, (Box<[u8]>, u64)>,
    next: u64,
}

/// Owner and group of what is made.
pub(crate) type Owner = (u32, u32);

impl Tree {
    /// An empty directory.
    pub(crate) fn new(owner: Owner) -> Self {
        let mut tree = Self { nodes: vec![None], spare: Vec::new() };
        let root = tree.add(owner, FileKind::Dir.mode_bits() | 0o755, 0, dir(1));
        debug_assert_eq!(root.ino, Ino::ROOT);
        tree
    }

    /// Takes what lies in a directory into one of the tree's.
    pub(crate) fn load(&mut self, into: u64, from: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let meta = entry.metadata()?;
            let body = match FileKind::from_mode(meta.mode()) {
                Some(FileKind::Dir) => dir(into),
                Some(FileKind::Symlink) => {
                    Body::Link(std::fs::read_link(&path)?.as_os_str().as_bytes().to_owned())
                }
                Some(FileKind::File) => Body::File(pages(&std::fs::read(&path)?)),
                _ => Body::Other,
            };
            let size = meta.len();
            let is_dir = matches!(body, Body::Dir(_));
            let made = self.add((meta.uid(), meta.gid()), meta.mode(), meta.rdev() as u32, body);
            self.tie(into, name.as_bytes(), made.ino.0).map_err(number)?;
            let node = self.node_mut(made.ino.0).map_err(number)?;
            node.attr.mtime = modified(&meta);
            if is_dir {
                self.load(made.ino.0, &path)?;
            } else {
                resize(&mut node.attr, size);
            }
        }
        Ok(())
    }

    pub(crate) fn attr(&self, node: u64) -> Result<Attr> {
        Ok(self.node(node)?.attr)
    }

    pub(crate) fn lookup(&self, parent: u64, name: &[u8]) -> Result<Option<Attr>> {
        let found = self.dir(parent)?.names.get(name);
        found.map(|(_, node)| self.attr(*node)).transpose()
    }

    /// Where ".." leads.
    pub(crate) fn parent_of(&self, node: u64) -> Result<u64> {
        Ok(self.dir(node)?.parent)
    }

    pub(crate) fn link_target(&self, node: u64) -> Result<&[u8]> {
        match &self.node(node)?.body {
            Body::Link(target) => Ok(target),
            _ => Err(Errno::Invalid),
        }
    }

    /// Makes a file, a directory or a special file.
    pub(crate) fn make(
        &mut self,
        owner: Owner,
        parent: u64,
        name: &[u8],
        mode: u32,
        rdev: u32,
    ) -> Result<Attr> {
        let body = match FileKind::from_mode(mode).ok_or(Errno::Invalid)? {
            FileKind::File => Body::File(Vec::new()),
            FileKind::Dir => dir(parent),
            FileKind::Symlink => return Err(Errno::Invalid),
            _ => Body::Other,
        };
        self.make_with(owner, parent, name, mode, rdev, body)
    }

    pub(crate) fn make_link(
        &mut self,
        owner: Owner,
        parent: u64,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        let mode = FileKind::Symlink.mode_bits() | 0o777;
        self.make_with(owner, parent, name, mode, 0, Body::Link(target.to_owned()))
    }

    fn make_with(
        &mut self,
        owner: Owner,
        parent: u64,
        name: &[u8],
        mode: u32,
        rdev: u32,
        body: Body,
    ) -> Result<Attr> {
        if self.dir(parent)?.names.contains_key(name) {
            return Err(Errno::Exists);
        }
        let made = self.add(owner, mode, rdev, body);
        self.tie(parent, name, made.ino.0)?;
        self.attr(made.ino.0)
    }

    /// Gives a file one more name.
    pub(crate) fn link(&mut self, node: u64, parent: u64, name: &[u8]) -> Result<Attr> {
        if self.dir(parent)?.names.contains_key(name) {
            return Err(Errno::Exists);
        }
        let attr = &mut self.node_mut(node)?.attr;
        attr.nlink += 1;
        attr.ctime = now();
        self.tie(parent, name, node)?;
        self.attr(node)
    }

    /// Takes a name away, that of a directory when it is empty.
    pub(crate) fn remove(&mut self, parent: u64, name: &[u8]) -> Result<()> {
        let (_, node) = *self.dir(parent)?.names.get(name).ok_or(Errno::NotFound)?;
        if let Body::Dir(dir) = &self.node(node)?.body
            && !dir.names.is_empty()
        {
            return Err(Errno::NotEmpty);
        }
        self.untie(parent, name)?;
        let attr = &mut self.node_mut(node)?.attr;
        attr.nlink = if attr.kind == FileKind::Dir { 0 } else { attr.nlink - 1 };
        attr.ctime = now();
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), flags: u32) -> Result<()> {
        const NO_REPLACE: u32 = 1;
        let (_, node) = *self.dir(from.0)?.names.get(from.1).ok_or(Errno::NotFound)?;
        match self.dir(to.0)?.names.get(to.1) {
            Some(_) if flags == NO_REPLACE => return Err(Errno::Exists),
            Some((_, other)) if *other == node => return Ok(()),
            _ if flags & !NO_REPLACE != 0 => return Err(Errno::Invalid),
            Some(_) => self.remove(to.0, to.1)?,
            None => {}
        }
        self.untie(from.0, from.1)?;
        if let Body::Dir(dir) = &mut self.node_mut(node)?.body {
            dir.parent = to.0;
        }
        self.node_mut(node)?.attr.ctime = now();
        self.tie(to.0, to.1, node)
    }

    pub(crate) fn set_attr(&mut self, node: u64, set: &Setattr) -> Result<Attr> {
        let now = now();
        let Self { nodes, spare } = self;
        let Node { attr, body } = slot(nodes, node)?;
        let given = |bit| set.valid & bit != 0;
        if given(fattr::SIZE)
            && let Body::File(pages) = body
        {
            cut(pages, set.size as usize, spare);
            resize(attr, set.size);
            attr.mtime = now;
        }
        if given(fattr::MODE) {
            attr.perm = set.mode & 0o7777;
        }
        if given(fattr::UID) {
            attr.uid = set.uid;
        }
        if given(fattr::GID) {
            attr.gid = set.gid;
        }
        let time = |(secs, nanos): (u64, u32)| Timestamp { secs: secs as i64, nanos };
        if given(fattr::ATIME) {
            attr.atime = if given(fattr::ATIME_NOW) { now } else { time(set.atime) };
        }
        if given(fattr::MTIME) {
            attr.mtime = if given(fattr::MTIME_NOW) { now } else { time(set.mtime) };
        }
        attr.ctime = now;
        Ok(*attr)
    }

    /// Appends what a file holds there, as much as is asked for and there is.
    pub(crate) fn read(&self, node: u64, offset: u64, size: u32, to: &mut Vec<u8>) -> Result<()> {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        let node = self.node(node)?;
        let Body::File(pages) = &node.body else { return Err(Errno::IsDir) };
        let end = node.attr.size.min(offset.saturating_add(size.into())) as usize;
        let mut at = offset as usize;
        while at < end {
            let (page, from) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let until = (from + end - at).min(PAGE_BYTES);
            let bytes = pages.get(page).and_then(Option::as_deref).unwrap_or(&ZEROS);
            to.extend_from_slice(&bytes[from..until]);
            at += until - from;
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, node: u64, offset: u64, data: &[u8]) -> Result<()> {
        let Self { nodes, spare } = self;
        let Node { attr, body } = slot(nodes, node)?;
        let Body::File(pages) = body else { return Err(Errno::IsDir) };
        let end = offset as usize + data.len();
        if pages.len() < end.div_ceil(PAGE_BYTES) {
            pages.resize_with(end.div_ceil(PAGE_BYTES), || None);
        }
        let mut rest = data;
        let mut at = offset as usize;
        while !rest.is_empty() {
            let (page, from) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - from));
            let page = pages[page].get_or_insert_with(|| fresh(spare, now.len()));
            page[from..from + now.len()].copy_from_slice(now);
            rest = later;
            at += now.len();
        }
        resize(attr, attr.size.max(end as u64));
        attr.mtime = now();
        attr.ctime = attr.mtime;
        Ok(())
    }

    /// Appends entries from a place on until `limit`.
    pub(crate) fn read_dir(
        &self,
        node: u64,
        offset: u64,
        plus: bool,
        limit: usize,
        reply: &mut Reply,
    ) -> Result<()> {
        let dir = self.dir(node)?;
        let dots: [(u64, &[u8]); DOTS as usize] = [(node, b"."), (dir.parent, b"..")];
        for (next, (ino, name)) in (1..).zip(dots) {
            let dirent = Dirent { ino, generation: 0, next, kind: FileKind::Dir, name };
            // The kernel takes no reference for these, so their node stays 0.
            if next > offset && !reply.dirent(&dirent, plus.then_some(None), limit) {
                return Ok(());
            }
        }
        for (place, (name, ino)) in dir.places.range(offset.saturating_sub(DOTS)..) {
            let attr = &self.node(*ino)?.attr;
            let dirent = Dirent { ino: *ino, generation: 0, next: place + 1 + DOTS, kind: attr.kind, name };
            if !reply.dirent(&dirent, plus.then_some(Some(attr)), limit) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The kernel holds no reference any more.
    pub(crate) fn forget(&mut self, node: u64) {
        if self.node(node).is_ok_and(|node| node.attr.nlink == 0)
            && let Some(Node { body: Body::File(pages), .. }) = self.nodes[node as usize].take()
        {
            self.spare.extend(pages.into_iter().flatten());
        }
    }

    /// Whether the kernel's last reference would be news: the node has no name.
    pub(crate) fn is_nameless(&self, node: u64) -> bool {
        self.node(node).is_ok_and(|node| node.attr.nlink == 0)
    }

    fn node(&self, node: u64) -> Result<&Node> {
        self.nodes.get(node as usize).and_then(Option::as_ref).ok_or(Errno::Stale)
    }

    fn node_mut(&mut self, node: u64) -> Result<&mut Node> {
        slot(&mut self.nodes, node)
    }

    fn dir(&self, node: u64) -> Result<&Dir> {
        match &self.node(node)?.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::NotDir),
        }
    }

    /// Adds a node that has no name yet.
    fn add(&mut self, (uid, gid): Owner, mode: u32, rdev: u32, body: Body) -> Attr {
        let (kind, time) = (FileKind::from_mode(mode).unwrap_or(FileKind::File), now());
        let is_dir = kind == FileKind::Dir;
        let size = match &body {
            Body::Dir(_) => DIR_BYTES,
            Body::Link(target) => target.len() as u64,
            _ => 0,
        };
        let attr = Attr {
            ino: Ino(self.nodes.len() as u64),
            kind,
            perm: mode & 0o7777,
            nlink: if is_dir { 2 } else { 1 },
            uid,
            gid,
            rdev,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        };
        self.nodes.push(Some(Node { attr, body }));
        attr
    }

    /// Enters a name that is not there.
    fn tie(&mut self, parent: u64, name: &[u8], node: u64) -> Result<()> {
        let is_dir = self.attr(node)?.kind == FileKind::Dir;
        let Node { attr, body: Body::Dir(dir) } = self.node_mut(parent)? else { return Err(Errno::NotDir) };
        dir.names.insert(name.into(), (dir.next, node));
        dir.places.insert(dir.next, (name.into(), node));
        dir.next += 1;
        attr.nlink += u32::from(is_dir);
        attr.mtime = now();
        attr.ctime = attr.mtime;
        Ok(())
    }

    fn untie(&mut self, parent: u64, name: &[u8]) -> Result<()> {
        let Node { body: Body::Dir(dir), .. } = self.node_mut(parent)? else { return Err(Errno::NotDir) };
        let (place, node) = dir.names.remove(name).ok_or(Errno::NotFound)?;
        dir.places.remove(&place);
        let is_dir = self.attr(node)?.kind == FileKind::Dir;
        let attr = &mut self.node_mut(parent)?.attr;
        attr.nlink -= u32::from(is_dir);
        attr.mtime = now();
        attr.ctime = attr.mtime;
        Ok(())
    }
}

fn slot(nodes: &mut [Option<Node>], node: u64) -> Result<&mut Node> {
    nodes.get_mut(node as usize).and_then(Option::as_mut).ok_or(Errno::Stale)
}

fn dir(parent: u64) -> Body {
    Body::Dir(Dir { parent, names: HashMap::new(), places: BTreeMap::new(), next: 0 })
}

fn pages(content: &[u8]) -> Vec<Option<Page>> {
    let page = |bytes: &[u8]| {
        let mut page = Box::new([0; PAGE_BYTES]);
        page[..bytes.len()].copy_from_slice(bytes);
        Some(page)
    };
    content.chunks(PAGE_BYTES).map(page).collect()
}

/// A page of which so many bytes are written next; only the others are made zero.
fn fresh(spare: &mut Vec<Page>, written: usize) -> Page {
    let Some(mut page) = spare.pop() else { return Box::new([0; PAGE_BYTES]) };
    if written < PAGE_BYTES {
        page.fill(0);
    }
    page
}

/// Makes content end there; what is gone reads as zeros when the file grows again.
fn cut(pages: &mut Vec<Option<Page>>, size: usize, spare: &mut Vec<Page>) {
    if pages.len() > size.div_ceil(PAGE_BYTES) {
        spare.extend(pages.drain(size.div_ceil(PAGE_BYTES)..).flatten());
    }
    if let Some(Some(last)) = pages.get_mut(size / PAGE_BYTES) {
        last[size % PAGE_BYTES..].fill(0);
    }
}

fn resize(attr: &mut Attr, size: u64) {
    attr.size = size;
    attr.blocks = size.div_ceil(512);
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

fn modified(meta: &Metadata) -> Timestamp {
    Timestamp { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 }
}

fn number(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.number())
}
