//! Comparison of whole file systems, inode by inode.
//!
//! [`describe`] walks everything that can be reached by names and slots; [`same`] compares a description with the
//! reference's. Invariant: an inode number, once seen for an inode of the reference, stays its number for ever
//! ([`Numbers`]). Times that the reference gives in whole seconds come from the clock and compare as [`Clock`] says;
//! all others compare exactly.

use crate::file_system::FileSystem;
use crate::operation::{Outcome, Slots};
use crate::reference::Reference;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use weald_engine::Seek;
use weald_model::{Attr, Errno, FileKind, Ino, Result, Timestamp};

/// Everything about one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What stat(2) tells.
    pub attr: Attr,
    /// Content of a file, target of a symbolic link.
    pub content: Vec<u8>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a directory: where `..` leads.
    pub parent: Option<Ino>,
}

/// All nodes by path; what slots hold is under `<n>`.
pub type Description = BTreeMap<Vec<u8>, Node>;

/// Which number each inode of the reference has on the other side.
#[derive(Clone, Debug, Default)]
pub struct Numbers(BTreeMap<Ino, Ino>);

impl Numbers {
    /// Drops the numbers of inodes that are not there (any more).
    pub fn keep_known(&mut self, reference: &Reference) {
        self.0.retain(|ino, _| reference.knows(*ino));
    }
}

/// How times that come from the clock compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Both sides have the same clock: the second is equal.
    Shared,
    /// The other side has its own: not at all.
    Own,
}

/// Describes everything below the root and in the slots.
pub fn describe<F: FileSystem>(fs: &mut F, slots: &Slots) -> Result<Description> {
    let mut all = Description::new();
    let mut open = vec![(Vec::new(), Ino::ROOT)];
    for (slot, ino) in slots.held.iter().enumerate() {
        if let Some(ino) = ino {
            open.push((format!("<{slot}>").into_bytes(), *ino));
        }
    }
    while let Some((path, ino)) = open.pop() {
        let node = describe_node(fs, ino)?;
        if node.attr.kind == FileKind::Dir {
            for (name, (child, kind)) in fs.entries(ino, 5)? {
                let found = fs.lookup(ino, &name)?;
                if (found.ino, found.kind) != (child, kind) {
                    return Err(Errno::Stale);
                }
                open.push(([&path[..], b"/", &name].concat(), child));
            }
        }
        all.insert(path, node);
    }
    Ok(all)
}

fn describe_node<F: FileSystem>(fs: &mut F, ino: Ino) -> Result<Node> {
    let attr = fs.attr(ino)?;
    let size = attr.size as usize;
    Ok(Node {
        attr,
        content: match attr.kind {
            FileKind::File => fs.read(ino, 0, size + 10)?,
            FileKind::Symlink => fs.read_link(ino)?,
            _ => Vec::new(),
        },
        xattrs: fs.xattrs(ino)?,
        parent: if attr.kind == FileKind::Dir { Some(fs.parent_of(ino)?) } else { None },
    })
}

/// Checks that a file system, whose slots are given, is what the reference says; returns its description.
pub fn compare_trees<F: FileSystem>(
    fs: &mut F,
    slots: &Slots,
    reference: &mut Reference,
    reference_slots: &Slots,
    numbers: &mut Numbers,
) -> std::result::Result<Description, String> {
    let found = describe(fs, slots).map_err(|error| format!("the file system cannot be walked: {error}"))?;
    let wanted = describe(reference, reference_slots).expect("the reference can be walked");
    same(&found, &wanted, numbers, Clock::Shared)?;
    numbers.keep_known(reference);
    for node in found.values().filter(|node| node.attr.kind == FileKind::File) {
        check_holes(fs, node)?;
    }
    Ok(found)
}

/// Compares a description with that of the reference.
pub fn same(
    found: &Description,
    wanted: &Description,
    numbers: &mut Numbers,
    clock: Clock,
) -> std::result::Result<(), String> {
    let mut differences = String::new();
    for path in wanted.keys().filter(|path| !found.contains_key(*path)) {
        let _ = writeln!(differences, "{} is missing", show(path));
    }
    for (path, node) in found {
        match wanted.get(path) {
            None => {
                let _ = writeln!(differences, "{} is there but should not be", show(path));
            }
            Some(wanted) => {
                let number = *numbers.0.entry(wanted.attr.ino).or_insert(node.attr.ino);
                if number != node.attr.ino {
                    let ino = node.attr.ino;
                    let _ = writeln!(differences, "{}: inode number {ino:?}, before {number:?}", show(path));
                }
                compare_nodes(path, node, wanted, clock, &mut differences);
                compare_parents(path, node, wanted, numbers, &mut differences);
            }
        }
    }
    let mut owners = BTreeMap::new();
    for (wanted, found) in &numbers.0 {
        if let Some(other) = owners.insert(found, wanted) {
            let _ = writeln!(differences, "{found:?} is the number of two inodes ({other:?}, {wanted:?})");
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}

fn compare_nodes(path: &[u8], found: &Node, wanted: &Node, clock: Clock, out: &mut String) {
    let attr = comparable(&found.attr, &wanted.attr, clock);
    let expected = comparable(&wanted.attr, &wanted.attr, clock);
    if attr != expected {
        let _ = writeln!(out, "{}: found  {attr:?}\n  wanted {expected:?}", show(path));
    }
    if found.content != wanted.content {
        let at = found.content.iter().zip(&wanted.content).position(|(a, b)| a != b);
        let lens = (found.content.len(), wanted.content.len());
        let _ = writeln!(out, "{}: content differs at {at:?}, lengths {lens:?}", show(path));
    }
    if found.xattrs != wanted.xattrs {
        let _ = writeln!(out, "{}: xattrs {:?}, wanted {:?}", show(path), found.xattrs, wanted.xattrs);
    }
}

fn compare_parents(path: &[u8], found: &Node, wanted: &Node, numbers: &Numbers, out: &mut String) {
    if let (Some(parent), Some(expected)) = (found.parent, wanted.parent)
        && wanted.attr.nlink > 0
        && numbers.0.get(&expected).is_some_and(|number| *number != parent)
    {
        let _ = writeln!(out, "{}: `..` is {parent:?}, wanted {expected:?}", show(path));
    }
}

/// Attributes without what differs between implementations; see the head of this file for times.
fn comparable(attr: &Attr, reference: &Attr, clock: Clock) -> Attr {
    let like = |time, reference| like(time, reference, clock);
    // With a clock of its own a file system may also note each access.
    let own = clock == Clock::Own;
    Attr {
        ino: Ino::ROOT,
        blocks: 0,
        size: if attr.kind == FileKind::Dir { 0 } else { attr.size },
        atime: if own { reference.atime } else { like(attr.atime, reference.atime) },
        mtime: like(attr.mtime, reference.mtime),
        ctime: like(attr.ctime, reference.ctime),
        btime: if own { reference.btime } else { like(attr.btime, reference.btime) },
        ..*attr
    }
}

fn like(time: Timestamp, reference: Timestamp, clock: Clock) -> Timestamp {
    match clock {
        _ if reference.nanos != 0 => time,
        Clock::Shared => Timestamp::from_secs(time.secs),
        Clock::Own => Timestamp::default(),
    }
}

/// Checks that an operation answered as the reference did.
pub fn same_outcome(
    found: &Result<Outcome>,
    wanted: &Result<Outcome>,
    clock: Clock,
) -> std::result::Result<(), String> {
    let equal = match (found, wanted) {
        (Ok(Outcome::Attr(found)), Ok(Outcome::Attr(wanted))) => {
            comparable(found, wanted, clock) == comparable(wanted, wanted, clock)
        }
        (Ok(Outcome::Data(found)), Ok(Outcome::Data(wanted))) if found != wanted => {
            return Err(format!("read {} bytes, not the {} right ones", found.len(), wanted.len()));
        }
        _ => found == wanted,
    };
    if equal { Ok(()) } else { Err(format!("answered {found:?}\n  wanted {wanted:?}")) }
}

/// Walks a file by SEEK_DATA and SEEK_HOLE: what is called a hole must be zeros, and the walk must end at the size.
fn check_holes<F: FileSystem>(fs: &mut F, node: &Node) -> std::result::Result<(), String> {
    let (ino, size) = (node.attr.ino, node.content.len() as u64);
    let mut at = 0;
    while at < size {
        let data = match fs.seek(ino, at, Seek::Data) {
            Ok(data) if data >= at && data < size => data,
            Err(Errno::NoAddress) => size,
            other => return Err(format!("{ino:?}: SEEK_DATA from {at} of {size} gave {other:?}")),
        };
        if node.content[at as usize..data as usize].iter().any(|byte| *byte != 0) {
            return Err(format!("{ino:?}: data between {at} and {data} is called a hole"));
        }
        if data == size {
            break;
        }
        match fs.seek(ino, data, Seek::Hole) {
            Ok(hole) if hole > data && hole <= size => at = hole,
            other => return Err(format!("{ino:?}: SEEK_HOLE from {data} of {size} gave {other:?}")),
        }
    }
    match fs.seek(ino, size, Seek::Data) {
        Err(Errno::NoAddress) => Ok(()),
        other => Err(format!("{ino:?}: SEEK_DATA at the end gave {other:?}")),
    }
}

fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if path.is_empty() { "/".to_owned() } else { text.into_owned() }
}
