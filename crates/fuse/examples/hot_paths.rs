//! The hot paths, each a thousand times, for `cargo xtask check instructions`, which counts instructions with callgrind.
//!
//! Arguments: a fresh directory and the name of a path. Invariant: the same every time: a fixed clock, one thread that works, and nothing in the
//! functions of `counted` but what is to be counted; all else is prepared before. With `list` alone it prints the names.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use weald_engine::{Base, Shared, Workspace};
use weald_fuse::Adapter;
use weald_fuse::connection::Handler;
use weald_fuse::reply::Reply;
use weald_fuse::request::Request;
use weald_model::{Attr, Caller, FileKind, Ino, Silent, Timestamp, WorkspaceId};
use weald_store::cas::Cas;
use weald_store::chunks::Chunks;
use weald_store::disk::{Disk, HostDisk, Map};
use weald_store::log::Logs;
use weald_store::manifest::Manifest;
use weald_testkit::clock::FakeClock;
use weald_testkit::source::{MemorySource, Tree};

/// How often each path is taken.
const TIMES: usize = 1_000;
/// Files of a directory of the base, and directories.
const FILES: usize = 100;
const DIRS: usize = 10;
const TIME: Timestamp = Timestamp::from_secs(1_700_000_000);

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Done = Result<()>;

/// A path by name.
type HotPath = (&'static str, fn(&Place) -> Done);

/// What is counted: the instructions of these functions and of all they call.
const ALL: &[HotPath] = &[
    ("manifest_child", |place| place.manifest_child()),
    ("lookup_in_base", |place| place.lookup_in_base()),
    ("lookup_changed", |place| place.lookup_changed()),
    ("attr", |place| place.attr()),
    ("read_base", |place| place.read_base()),
    ("read_changed", |place| place.read_changed()),
    ("write_small", |place| place.write_small()),
    ("create", |place| place.create()),
    ("replay", |place| place.replay()),
    ("reply_entry", |place| place.reply_entry()),
    ("request_lookup", |place| place.request_lookup()),
];

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => {
            ALL.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        [dir, name] => {
            let (_, path) = ALL.iter().find(|(known, _)| *known == name).ok_or("no such path")?;
            path(&Place::new(Path::new(dir))?)
        }
        _ => Err("needs a directory and the name of a path, or `list`".into()),
    }
}

/// The functions that callgrind is told of by name: see `xtask/src/instructions.rs`.
mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn each<T>(items: &[T], mut work: impl FnMut(&T) -> Done) -> Done {
        items.iter().try_for_each(|item| work(black_box(item)))
    }
}

/// A workspace on a base of a thousand files.
struct Place {
    shared: Arc<Shared>,
    manifest: Manifest,
    base: Base,
    workspace: Arc<Workspace>,
    who: Caller,
}

impl Place {
    fn new(dir: &Path) -> Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(HostDisk::new(dir));
        let [logs, cas, chunks] = ["logs", "cas", "chunks"].map(|name| dir.join(name));
        for dir in [&logs, &cas, &chunks] {
            disk.make_dir(dir)?;
        }
        let (logs, cas) = (Logs::new(disk.clone(), logs), Cas::new(disk.clone(), cas));
        let chunks = Arc::new(Chunks::new(disk.clone(), chunks));
        let shared = Shared::new(disk, logs, cas, chunks, Arc::new(FakeClock::default()), 64 << 20);
        let source = MemorySource::default();
        let tree = source.add(&tree());
        let bytes = Manifest::build(&source, &tree, TIME, &Silent)?;
        let manifest = Manifest::open(Map::from_bytes(bytes))?;
        let base = Base::new(manifest.clone(), Arc::new(source), 1000, 1000);
        let workspace = Workspace::create(shared.clone(), WorkspaceId(1), base.clone(), b"")?;
        let who = Caller { uid: 1000, gid: 1000, pid: 1, umask: 0o022, kill_privileges: false, request: 0 };
        Ok(Self { shared, manifest, base, workspace, who })
    }

    /// Directories and names of all files of the base.
    fn names(&self) -> Result<Vec<(Ino, Vec<u8>)>> {
        let mut names = Vec::with_capacity(TIMES);
        for dir in 0..DIRS {
            let parent = self.workspace.lookup(Ino::ROOT, &dir_name(dir))?.ino;
            names.extend((0..FILES).map(|file| (parent, file_name(file))));
        }
        Ok(names)
    }

    fn attrs(&self) -> Result<Vec<Attr>> {
        let looked_up = self.names()?.into_iter().map(|(dir, name)| Ok(self.workspace.lookup(dir, &name)?));
        looked_up.collect()
    }

    /// New files, each with a little in it.
    fn made(&self) -> Result<Vec<(Vec<u8>, Ino)>> {
        let mut made = Vec::with_capacity(TIMES);
        for number in 0..TIMES {
            let name = format!("made-{number:04}").into_bytes();
            let attr = self.workspace.make_node(&self.who, Ino::ROOT, &name, FileKind::File, 0o644, 0)?;
            self.workspace.write(&self.who, attr.ino, 0, &[7; 1000])?;
            made.push((name, attr.ino));
        }
        Ok(made)
    }
}

/// The paths themselves.
impl Place {
    fn manifest_child(&self) -> Done {
        counted::each(&self.names()?, |(dir, name)| {
            black_box(self.manifest.child(*dir, name)?);
            Ok(())
        })
    }

    fn lookup_in_base(&self) -> Done {
        counted::each(&self.names()?, |(dir, name)| {
            black_box(self.workspace.lookup(*dir, name)?);
            Ok(())
        })
    }

    fn lookup_changed(&self) -> Done {
        counted::each(&self.made()?, |(name, _)| {
            black_box(self.workspace.lookup(Ino::ROOT, name)?);
            Ok(())
        })
    }

    fn attr(&self) -> Done {
        counted::each(&self.attrs()?, |attr| {
            black_box(self.workspace.attr(attr.ino)?);
            Ok(())
        })
    }

    fn read_base(&self) -> Done {
        let (attrs, mut buffer) = (self.attrs()?, Vec::with_capacity(1 << 16));
        counted::each(&attrs, |attr| {
            buffer.clear();
            Ok(self.workspace.read(attr.ino, 0, 4096, &mut buffer)?)
        })
    }

    fn read_changed(&self) -> Done {
        let (made, mut buffer) = (self.made()?, Vec::with_capacity(1 << 16));
        counted::each(&made, |(_, ino)| {
            buffer.clear();
            Ok(self.workspace.read(*ino, 0, 4096, &mut buffer)?)
        })
    }

    fn write_small(&self) -> Done {
        counted::each(&self.made()?, |(_, ino)| Ok(self.workspace.write(&self.who, *ino, 100, &[9; 512])?))
    }

    fn create(&self) -> Done {
        let names: Vec<Vec<u8>> = (0..TIMES).map(|number| format!("new-{number:04}").into_bytes()).collect();
        counted::each(&names, |name| {
            black_box(self.workspace.make_node(&self.who, Ino::ROOT, name, FileKind::File, 0o644, 0)?);
            Ok(())
        })
    }

    /// Opening a workspace whose log has two records for each file made.
    fn replay(&self) -> Done {
        self.made()?;
        self.workspace.sync()?;
        counted::each(&[WorkspaceId(1)], |id| {
            black_box(Workspace::open(self.shared.clone(), *id, self.base.clone())?);
            Ok(())
        })
    }

    fn reply_entry(&self) -> Done {
        let mut reply = Reply::default();
        counted::each(&self.attrs()?, |attr| {
            reply.start();
            reply.entry(attr);
            black_box(reply.finish(1));
            Ok(())
        })
    }

    /// From the kernel's bytes to the answer's.
    fn request_lookup(&self) -> Done {
        let adapter = Adapter::new(self.workspace.clone())?;
        let messages: Vec<Vec<u8>> =
            self.names()?.iter().map(|(dir, name)| lookup_message(*dir, name)).collect();
        let mut reply = Reply::default();
        counted::each(&messages, |message| {
            let request = Request::decode(message).map_err(|error| format!("{error:?}"))?;
            reply.start();
            adapter.answer(&request, &mut reply)?;
            black_box(reply.finish(request.header.unique));
            Ok(())
        })
    }
}

fn tree() -> Tree {
    let file = |dir: usize, file: usize| Tree::file(format!("{dir} {file}\n").repeat(200));
    let dir = |dir| Tree::Dir((0..FILES).map(|name| (file_name(name), file(dir, name))).collect());
    Tree::Dir((0..DIRS).map(|name| (dir_name(name), dir(name))).collect())
}

fn dir_name(number: usize) -> Vec<u8> {
    format!("dir-{number}").into_bytes()
}

fn file_name(number: usize) -> Vec<u8> {
    format!("file-{number:04}.rs").into_bytes()
}

/// A LOOKUP as the kernel lays it out.
fn lookup_message(dir: Ino, name: &[u8]) -> Vec<u8> {
    const OPCODE: u32 = 1;
    const HEADER_BYTES: usize = 40;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((HEADER_BYTES + name.len() + 1) as u32).to_ne_bytes());
    bytes.extend_from_slice(&OPCODE.to_ne_bytes());
    bytes.extend_from_slice(&7_u64.to_ne_bytes());
    bytes.extend_from_slice(&dir.0.to_ne_bytes());
    [1000_u32, 1000, 1, 0].iter().for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()));
    bytes.extend_from_slice(name);
    bytes.push(0);
    bytes
}
